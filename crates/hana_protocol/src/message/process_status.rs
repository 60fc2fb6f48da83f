use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// The state of a process that a daemon launched, on `hana/<host>/process/<viz>` (state).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// The id with which the process was launched.
    pub node: NodeId,
    /// The program's name in the catalogue.
    pub name: String,
    /// The state of the process.
    pub state: ProcessState,
    /// The reason for the state, as text.
    pub reason: String,
    /// The time of the last state change, in Unix milliseconds.
    pub since_ms: u64,
    /// The process id, while the process runs.
    #[serde(default)]
    pub pid: Option<u32>,
    /// The exit status, once the process has ended.
    #[serde(default)]
    pub exit: Option<Exit>,
    /// The number of restarts since an operator last started the process.
    #[serde(default)]
    pub restarts: u32,
    /// Whether an operator acknowledged this state, which suspends policy and alarms until the state changes.
    #[serde(default)]
    pub acknowledged: bool,
}

/// The state of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// The process was launched and is not yet on the mesh.
    Starting,
    /// The process is on the mesh, and its main loop advances.
    Running,
    /// The main loop advances, but below its expected rate.
    Slow,
    /// The process is alive, but its main loop does not advance.
    Unresponsive,
    /// The host or the daemon of the process cannot be reached.
    Unreachable,
    /// The process was ordered to exit.
    Stopping,
    /// The process ended on command.
    Stopped,
    /// An operator closed the process. It is never restarted automatically.
    Closed,
    /// The process ended without a command.
    Crashed,
    /// The process waits for an automatic restart.
    Restarting,
    /// The process crashed too often and is not restarted again.
    CrashLoop,
}

impl ProcessState {
    /// Returns the state's name as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Slow => "slow",
            Self::Unresponsive => "unresponsive",
            Self::Unreachable => "unreachable",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Closed => "closed",
            Self::Crashed => "crashed",
            Self::Restarting => "restarting",
            Self::CrashLoop => "crash_loop",
        }
    }

    /// Whether a process exists in this state.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        matches!(
            self,
            Self::Starting
                | Self::Running
                | Self::Slow
                | Self::Unresponsive
                | Self::Unreachable
                | Self::Stopping
        )
    }
}

impl fmt::Display for ProcessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The exit status of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// The process exited with this code.
    Code(i32),
    /// This signal ended the process.
    Signal(i32),
    /// The exit status is unknown, because the process was a child of an earlier daemon. Unknown values decode to
    /// this variant.
    #[serde(other)]
    Unknown,
}

impl Exit {
    /// Whether the process exited with code 0.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Code(0))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match signal_name(*number) {
                Some(name) => write!(f, "signal {number} ({name})"),
                None => write!(f, "signal {number}"),
            },
            Self::Unknown => f.write_str("unknown exit status"),
        }
    }
}

/// Returns the name of a signal whose number is the same on Linux and macOS.
const fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => return None,
    })
}

impl Message for ProcessStatus {
    const LANE: Lane = Lane::ReliableOrdered;
    /// Each change is published four times.
    const MAX_PER_SECOND: u32 = 100;
    const NAME: &'static str = "process";
}

impl ProcessState {
    /// Whether the state needs an operator's attention.
    #[must_use]
    pub const fn is_alarming(self) -> bool {
        matches!(
            self,
            Self::Slow
                | Self::Unresponsive
                | Self::Unreachable
                | Self::Crashed
                | Self::Restarting
                | Self::CrashLoop
        )
    }

    /// Returns a symbol for the state, so that it is readable without colours.
    #[must_use]
    pub const fn sign(self) -> char {
        match self {
            Self::Running => '●',
            Self::Starting | Self::Stopping => '…',
            Self::Slow => '▲',
            Self::Unresponsive => '‖',
            Self::Unreachable => '?',
            Self::Stopped | Self::Closed => '○',
            Self::Crashed | Self::CrashLoop => '✖',
            Self::Restarting => '↻',
        }
    }

    /// Returns the meaning of the state and the recommended action, in a sentence or two.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Starting => "Launched, but not drawing yet. If this lasts, check its log.",
            Self::Running => "All is well.",
            Self::Slow => "Draws too slowly. Reduce the load on its machine, or restart it.",
            Self::Unresponsive => {
                "The process runs but draws no new frames. Restart it: its look is restored. Acknowledge it if it will recover by itself."
            },
            Self::Unreachable => {
                "Its machine or daemon cannot be reached; it may still be drawing. Check the machine and its network."
            },
            Self::Stopping => "Stopping; it is killed if this takes too long.",
            Self::Stopped => "Stopped by a command. Restart it to bring it back.",
            Self::Closed => "Closed by a person, or finished. Restart it to bring it back.",
            Self::Crashed => "Crashed and not restarted. Check its log, then restart it.",
            Self::Restarting => "Crashed; restarts in a moment.",
            Self::CrashLoop => {
                "Crashed too often and not restarted. Fix the cause (see the log), then restart."
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn exit_is_readable_and_unknown_text_decodes_to_unknown() {
        for (exit, json) in [
            (Exit::Code(1), r#"{"code":1}"#),
            (Exit::Signal(9), r#"{"signal":9}"#),
            (Exit::Unknown, r#""unknown""#),
        ] {
            assert_eq!(serde_json::to_string(&exit).unwrap(), json);
            assert_eq!(serde_json::from_str::<Exit>(json).unwrap(), exit);
            let packed = rmp_serde::to_vec_named(&exit).unwrap();
            assert_eq!(rmp_serde::from_slice::<Exit>(&packed).unwrap(), exit);
        }
        assert_eq!(serde_json::from_str::<Exit>(r#""vanished""#).unwrap(), Exit::Unknown);
    }
}
