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
    /// It changes nothing while the process runs, and replaces the delay before a restart.
    StartRequested,
    /// A person requested a restart, or a start if it is down.
    RestartRequested,
    /// A person requested an orderly stop.
    StopRequested,
    /// A person requested an immediate end.
    KillRequested,
    /// A person acknowledged the present fault, which suspends the policy and silences alarms until the state
    /// changes.
    ///
    /// An unresponsive process is not killed, and a slow start may take its time. Changes nothing if there is no
    /// fault; see [`Supervisor::is_acknowledged`].
    Acknowledged,
    /// An earlier daemon supervised the process. Only valid as the first event of a supervisor.
    Restored {
        /// The state that the earlier daemon recorded.
        snapshot: Box<SupervisorSnapshot<Instant>>,
        /// The findings of this daemon.
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
    /// The shutdown command could not be delivered or was refused, so the next step follows at once.
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
    /// Empty if there is none any more.
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
    /// It applies to an instance that has joined the mesh or was adopted, or to one that has just ended. Before a new
    /// instance has joined, it can only come from the previous one and is ignored.
    ClosedByPerson,
    /// Time has passed.
    Tick,
}

/// The findings of a daemon about a process that an earlier one supervised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptionOutcome {
    /// The process is running.
    Running {
        /// The process id.
        pid: u32,
    },
    /// The process ended unwatched.
    Ended(MissedExit),
    /// There was no process, or the processes of an unfinished launch are gone now.
    Nothing,
}

/// The cause of an unwatched end, as far as it is known.
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
    /// Send SIGKILL to the group. Repeated while the process does not end.
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
