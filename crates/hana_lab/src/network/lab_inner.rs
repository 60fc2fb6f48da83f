use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Pid;

/// The parts of a lab that its hosts need.
pub(crate) struct LabInner {
    /// How a command enters the namespaces.
    pub(crate) entrance: Entrance,
    /// The process with pid 1 on the switch, by its pid on this machine.
    pub(crate) switch: Pid,
    /// The folder of the lab's files.
    pub(crate) directory: PathBuf,
}

/// How a command enters the namespaces of the lab.
///
/// An ordinary user needs a separate user namespace, in which they are root.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    AsRoot,
    ThroughUserNamespace,
}

impl LabInner {
    /// Returns a command that runs its arguments in namespaces of the process `target`, of the given kinds.
    pub(crate) fn enter(&self, target: Pid, kinds: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &target.to_string()]);
        if self.entrance == Entrance::ThroughUserNamespace {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(kinds).arg("--");
        command
    }

    /// Runs a shell script on the switch.
    pub(crate) fn run_on_switch(&self, script: &str) {
        // The script does not run in the switch's pid namespace, because `ip` must find hosts by their pids on this
        // machine.
        shell(self.enter(self.switch, &["--net"]), script);
    }
}

pub(crate) fn shell(mut command: Command, script: &str) {
    let output = command
        .args(["sh", "-e", "-c", script])
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run nsenter: {error}"));
    assert!(
        output.status.success(),
        "{script}\nfailed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
