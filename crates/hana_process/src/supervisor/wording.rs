use std::time::Duration;

use hana_protocol::message::Exit;

use crate::supervisor::policy::RestartOn;

pub(super) const QUEUED: &str = "; queued behind other launches";
pub(super) const STUCK: &str = "; still running after SIGKILL (blocked in the kernel or a driver)";
pub(super) const OFF_MESH: &str = "never joins the mesh; monitored by its process alone";
pub(super) const ADOPTED: &str = "adopted after a restart of the daemon; not on the mesh yet";
/// The possible causes of an end with an unknown exit status. A policy restarts such a process if it does so after
/// any of them.
///
/// A code of 0 is possible too. In that case, a person who has closed the program sees it restart. The opposite
/// mistake would be worse: nothing would restart a dark, unattended show.
pub(super) const UNKNOWN_ENDS: [RestartOn; 2] = [RestartOn::ExitCode, RestartOn::Signal];
pub(super) const CLOSED_BY_PERSON: &str = "closed by a person";
pub(super) const CLOSED_WITH_CTRL_C: &str = "closed with Ctrl-C";
/// The exit code of a shell whose program was ended by Ctrl-C.
const CODE_AFTER_SIGINT: i32 = 130;
/// `STATUS_CONTROL_C_EXIT` of Windows, 0xC000013A.
const CODE_CONTROL_C: i32 = -1_073_741_510;
const SIGINT: i32 = 2;

/// The interpretation of an exit that was not requested: closed by a person, or crashed.
pub(super) enum UnexpectedExit {
    Closed(String),
    Crashed(&'static [RestartOn], String),
}

pub(super) fn unexpected_exit(exit: Exit) -> UnexpectedExit {
    match exit {
        Exit::Code(0) => UnexpectedExit::Closed("closed: ended by itself with exit code 0".into()),
        exit if is_ctrl_c(exit) => UnexpectedExit::Closed(CLOSED_WITH_CTRL_C.into()),
        Exit::Code(_) => UnexpectedExit::Crashed(&[RestartOn::ExitCode], ended_by(exit)),
        Exit::Signal(_) => UnexpectedExit::Crashed(&[RestartOn::Signal], ended_by(exit)),
        Exit::Unknown => UnexpectedExit::Crashed(&UNKNOWN_ENDS, ended_by(exit)),
    }
}

pub(super) const fn is_ctrl_c(exit: Exit) -> bool {
    matches!(exit, Exit::Signal(SIGINT) | Exit::Code(CODE_AFTER_SIGINT | CODE_CONTROL_C))
}

fn ended_by(exit: Exit) -> String {
    match exit {
        Exit::Code(_) => exit.to_string(),
        Exit::Signal(_) => format!("ended by {exit}"),
        Exit::Unknown => {
            "ended; its exit status is unknown, because an earlier daemon launched it".into()
        },
    }
}

/// Returns `reason`, with the exit status unless that is an ordinary success.
pub(super) fn with_exit(reason: &str, exit: Exit) -> String {
    match exit {
        Exit::Code(0) | Exit::Unknown => reason.into(),
        Exit::Code(_) | Exit::Signal(_) => format!("{reason} ({exit})"),
    }
}

pub(super) fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds >= 10.0 { format!("{seconds:.0} s") } else { format!("{seconds:.1} s") }
}
