use std::time::Instant;

use hana_engine::roster::HealthVerdict;
use hana_protocol::message::{EventKind, Exit};

use crate::supervisor::instance::Instance;
use crate::supervisor::snapshot::SupervisorSnapshot;

/// An event of a process, or a person's request.
#[derive(Debug, Clone, PartialEq)]
pub enum ProcessEvent {
    /// A person requested a start.
    ///
    /// The event changes nothing while the process runs. While a restart is delayed, the launch is made at once.
    StartRequested,
    /// A person requested a restart, which is a start if the process is down.
    RestartRequested,
    /// A person requested an orderly stop.
    StopRequested,
    /// A person requested an immediate end.
    KillRequested,
    /// A person acknowledged the current fault.
    ///
    /// This suspends the policy and silences alarms until the state changes.
    ///
    /// An unresponsive process is not killed, and a slow start has no time limit. The event changes nothing if there
    /// is no fault; see `Supervisor::is_acknowledged`.
    Acknowledged,
    /// An earlier daemon supervised the process. Only valid as the first event of a supervisor.
    Restored {
        /// The state that the earlier daemon recorded.
        snapshot: Box<SupervisorSnapshot<Instant>>,
        /// The outcome of the adoption by this daemon.
        found: AdoptionOutcome,
    },
    /// [`Action::Spawn`] is waiting for other launches.
    Queued {
        /// The instance.
        instance: Instance,
    },
    /// [`Action::Spawn`] was carried out.
    Spawned {
        /// The instance.
        instance: Instance,
        /// The process id.
        pid: u32,
    },
    /// [`Action::Spawn`] failed.
    SpawnFailed {
        /// The instance.
        instance: Instance,
        /// The cause and the remedy.
        reason: String,
    },
    /// The process has ended.
    Exited {
        /// The instance.
        instance: Instance,
        /// The exit status.
        exit: Exit,
    },
    /// The shutdown command could not be delivered or was refused, so the next step of the stop follows at once.
    ShutdownFailed {
        /// The instance.
        instance: Instance,
    },
    /// The program's token appeared on the mesh.
    Joined {
        /// The Zenoh id of its session, which distinguishes it from the token of an older instance.
        session: String,
    },
    /// A token of the program disappeared from the mesh.
    Left {
        /// The Zenoh id of its session.
        session: String,
    },
    /// The last output of an instance that has just ended, which explains a crash.
    ///
    /// It comes right before [`ProcessEvent::Exited`], or before [`ProcessEvent::Restored`] if the instance ended
    /// unwatched.
    LastWords(String),
    /// A remark of a healthy program about itself that a person should know, such as that it has no window.
    ///
    /// The text is empty if the program has withdrawn its remark.
    Remark {
        /// The instance.
        instance: Instance,
        /// The remark, in plain words.
        remark: String,
    },
    /// The verdict on the program's health.
    Verdict {
        /// The instance.
        instance: Instance,
        /// The verdict.
        verdict: HealthVerdict,
    },
    /// The program announced that a person closed it.
    ///
    /// The event applies to an instance that has joined the mesh, was adopted, or has just ended. Before a new
    /// instance has joined, the event can only come from the previous instance and is ignored.
    ClosedByPerson,
    /// Time has passed.
    Tick,
}

/// The outcome of a daemon's search for a process that an earlier daemon supervised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptionOutcome {
    /// The process is running.
    Running {
        /// The process id.
        pid: u32,
    },
    /// The process ended unwatched.
    Ended(MissedExit),
    /// There was no process, or the processes of an unfinished launch have been killed.
    Nothing,
}

/// The cause of an end that no daemon watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissedExit {
    /// The cause is unknown, which counts as a crash.
    Unknown,
    /// The program left a note that a person closed it.
    ClosedByPerson,
}

/// An action for the daemon. Actions must be carried out in the given order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Launch the process, then reply with [`ProcessEvent::Spawned`] or [`ProcessEvent::SpawnFailed`].
    Spawn(Instance),
    /// Cancel an [`Action::Spawn`] that was reported as [`ProcessEvent::Queued`].
    Withdraw(Instance),
    /// Send the shutdown command over the mesh.
    RequestShutdown(Instance),
    /// Send SIGTERM to the group.
    Terminate(Instance),
    /// Send SIGKILL to the group. The action is repeated while the process does not end.
    Kill(Instance),
    /// Kill the rest of an ended process's group and reap it.
    KillRemaining(Instance),
    /// Report an event to people.
    Report {
        /// The kind of event.
        kind: EventKind,
        /// The event in plain words, with its cause.
        text: String,
    },
    /// Publish the changed status.
    Publish,
}
