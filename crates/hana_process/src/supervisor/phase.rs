use std::time::Instant;

use hana_engine::roster::HealthVerdict;
use hana_protocol::message::ProcessState;
use serde::{Deserialize, Serialize};

/// The lifecycle phase of the process.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// There is no process, and none will be launched automatically.
    Down,
    /// There is no process; a launch is scheduled for this time.
    Waiting {
        until: Instant,
        after: String,
    },
    /// A launch was requested and is not complete.
    Launching {
        origin: LaunchReason,
        halt: Option<StopKind>,
        /// Whether the launch is known to be queued and can be cancelled.
        queued: bool,
    },
    Up(Up),
    Ending(Ending),
}

/// The origin of a launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LaunchReason {
    /// A person requested a start.
    Start,
    /// A person requested a restart of a running process.
    Restart,
    /// The policy requires a restart, for this reason.
    Policy { after: String },
}

/// A person's request to end the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StopKind {
    Stop,
    Kill,
}

/// A living process.
#[derive(Debug, Clone)]
pub(super) struct Up {
    pub(super) origin: UpOrigin,
    /// The time at which the process was launched or adopted.
    pub(super) spawned_at: Instant,
    /// The Zenoh session with which the process last joined the mesh.
    pub(super) session: Option<String>,
    /// The time at which the process left the mesh, or `None` if it is on the mesh or has not joined yet.
    pub(super) left_at: Option<Instant>,
    pub(super) verdict: Option<HealthVerdict>,
    /// The time at which the process was first found to be running.
    pub(super) ran_at: Option<Instant>,
    /// The status that an earlier daemon saw, until this one has made its own observation.
    pub(super) before: Option<PriorStatus>,
    /// The program's remark about itself.
    pub(super) remark: String,
    /// A number for how specific the current reason for slowness is.
    pub(super) slowness: u8,
}

/// The reason why this daemon supervises a living process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UpOrigin {
    Launched,
    Adopted,
}

/// The status of an adopted process before its adoption.
#[derive(Debug, Clone, Copy)]
pub(super) struct PriorStatus {
    pub(super) state: ProcessState,
    pub(super) since: Instant,
    pub(super) acknowledged: bool,
}

/// The parts of the status that determine deadlines.
#[derive(Debug, Clone, Copy)]
pub(super) struct StatusView {
    pub(super) state: ProcessState,
    /// The time at which the state began, no earlier than this daemon's first observation of the process.
    pub(super) since: Instant,
    pub(super) acknowledged: bool,
}

/// A process that is being ended.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) after: OnExit,
    pub(super) step: StopStage,
    pub(super) deadline: Instant,
    pub(super) ran_at: Option<Instant>,
}

/// The last step taken to end the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StopStage {
    /// The supervisor has taken no step, because the process is closing on its own.
    Wait,
    /// The shutdown command was sent.
    Polite,
    Terminate,
    Kill,
}

/// The next action once the process has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnExit {
    Stop,
    Close,
    /// Restart at a person's request.
    Restart,
    /// Proceed as after a crash, for this reason.
    Recover(String),
}

impl Up {
    pub(super) const fn new(origin: UpOrigin, spawned_at: Instant) -> Self {
        Self {
            origin,
            spawned_at,
            session: None,
            left_at: None,
            verdict: None,
            ran_at: None,
            before: None,
            remark: String::new(),
            slowness: 0,
        }
    }
}
