use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a service could not be installed, removed or inspected.
#[derive(Debug, Error)]
pub(crate) enum ServiceError {
    #[error(
        "systemd does not run this machine ({why}); have its own init start `{daemon}` and start it again when it ends"
    )]
    NoSystemd { why: &'static str, daemon: String },
    #[error(
        "this user's systemd does not answer ({problem}); log in at this machine or with ssh rather than through su or sudo, or install for the whole machine: `sudo hana service install --system`"
    )]
    NoUserManager { problem: String },
    #[error("systemd does not answer: {problem}")]
    NoAnswer { problem: String },
    #[error("there is no {}; build or install hanad beside hana", daemon.display())]
    NoDaemon { daemon: PathBuf },
    #[error(
        "systemd starts no program with a quote or backslash in its path: {}; move hana elsewhere", daemon.display()
    )]
    AwkwardPath { daemon: PathBuf },
    #[error("where this program lies is not known: {0}")]
    NoPlace(#[source] io::Error),
    #[error("the home directory is not known; set HOME")]
    NoHome,
    #[error(
        "a daemon runs on this machine already that is no service (port 7447 is in use); end it, then install again"
    )]
    AlreadyRuns,
    #[error("{} may not be changed by this user; run the same with sudo", file.display())]
    NoPermission { file: PathBuf },
    #[error("{} cannot be changed: {source}", file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("{variable} has a line break; a service cannot have that")]
    LineBreak { variable: String },
    #[error("`{tool}` cannot be run: {source}")]
    Tool { tool: String, source: io::Error },
    #[error("`{command}` says: {said}")]
    Refused { command: String, said: String },
    #[error(
        "the service is installed, but the daemon does not start: {said}; it is tried again and again until `hana service remove`"
    )]
    DoesNotStart { said: String },
    #[error(
        "hanad is no service here; `hana service install` makes it one. One that runs without: `hanad --replace`"
    )]
    NotInstalled,
    #[error("one hanad cannot take over from another on this system; end it and start it again")]
    NoHandover,
    #[error("a service of the whole machine has no screen here; install without --system")]
    NoScreenForSystem,
    #[error(
        "hana knows no service manager of {system}; have it start hanad, and start it again when it ends"
    )]
    UnknownSystem { system: String },
}
