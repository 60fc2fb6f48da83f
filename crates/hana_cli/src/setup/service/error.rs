use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// The reason why a service could not be installed, removed or inspected.
#[derive(Debug, Error)]
pub(crate) enum ServiceError {
    #[error(
        "this machine does not run systemd ({why}); let its init start `{daemon}`, and restart it when it ends"
    )]
    NoSystemd { why: &'static str, daemon: String },
    #[error(
        "this user's systemd does not respond ({problem}); log in directly or with ssh instead of su or sudo, or install for the whole machine: `sudo hana service install --system`"
    )]
    NoUserManager { problem: String },
    #[error("systemd does not respond: {problem}")]
    NoAnswer { problem: String },
    #[error("{} does not exist; build or install hanad beside hana", daemon.display())]
    NoDaemon { daemon: PathBuf },
    #[error(
        "systemd cannot start a program with a quote or backslash in its path: {}; move hana to another directory", daemon.display()
    )]
    AwkwardPath { daemon: PathBuf },
    #[error("cannot determine the path of this executable: {0}")]
    NoPlace(#[source] io::Error),
    #[error("cannot determine the home directory; set HOME")]
    NoHome,
    #[error(
        "a daemon that is not a service runs on this machine already (port 7447 is in use); stop it, then install again"
    )]
    AlreadyRuns,
    #[error("no permission to change {}; run this with sudo", file.display())]
    NoPermission { file: PathBuf },
    #[error("cannot change {}: {source}", file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("{variable} has a line break, which a service does not support; remove it")]
    LineBreak { variable: String },
    #[error("cannot run `{tool}`: {source}")]
    Tool { tool: String, source: io::Error },
    #[error("`{command}` failed: {message}")]
    Refused { command: String, message: String },
    #[error(
        "the service is installed, but the daemon does not start: {message}; systemd keeps trying until `hana service remove`"
    )]
    DoesNotStart { message: String },
    #[error(
        "hanad is not installed as a service; run `hana service install`. To restart a daemon that is not a service: `hanad --replace`"
    )]
    NotInstalled,
    #[error("this system has no handover from one hanad to another; stop it and start it again")]
    NoHandover,
    #[error(
        "a service of the whole machine has no screen on this system; install without --system"
    )]
    NoScreenForSystem,
    #[error(
        "hana supports no service manager of {system}; let the system start hanad, and restart it when it ends"
    )]
    UnknownSystem { system: String },
}
