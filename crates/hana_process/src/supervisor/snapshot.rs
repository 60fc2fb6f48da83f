use std::time::Instant;

use hana_protocol::message::{Exit, ProcessState, StoppedBy};
use serde::{Deserialize, Serialize};

use crate::supervisor::instance::Instance;
use crate::supervisor::phase::{LaunchReason, OnExit, StopKind, StopStage};

/// The part of a `Supervisor`'s state that outlives its daemon.
///
/// It contains the status with its reason, the person's request, and the spent budget. `T` is the type of its times:
/// [`Instant`] in the supervisor, which has no meaning in another process, or Unix milliseconds in a file
/// ([`SupervisorSnapshot::map_time`]).
///
/// Fields that are missing in a file have default values, which describe a first instance that was running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de> + Default"))]
pub struct SupervisorSnapshot<T> {
    #[serde(default = "first")]
    pub(super) instance: Instance,
    #[serde(default = "running")]
    pub(super) state: ProcessState,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) since: T,
    #[serde(default)]
    pub(super) stage: PhaseSnapshot<T>,
    #[serde(default)]
    pub(super) exit: Option<Exit>,
    #[serde(default)]
    pub(super) stopped_by: Option<StoppedBy>,
    #[serde(default)]
    pub(super) restarts: u32,
    #[serde(default)]
    pub(super) failures: u32,
    #[serde(default = "Vec::new")]
    pub(super) recent: Vec<T>,
    #[serde(default)]
    pub(super) acknowledged: bool,
}

/// The supervisor's phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PhaseSnapshot<T> {
    Down,
    Waiting { until: T, after: String },
    Launching { origin: LaunchReason, halt: Option<StopKind> },
    Up { ran_at: Option<T> },
    Ending { after: OnExit, step: StopStage, ran_at: Option<T> },
}

impl<T> Default for PhaseSnapshot<T> {
    fn default() -> Self {
        Self::Up { ran_at: None }
    }
}

const fn first() -> Instance {
    Instance::FIRST
}

const fn running() -> ProcessState {
    ProcessState::Running
}

impl<T: Default> Default for SupervisorSnapshot<T> {
    /// Returns the phase of a running process without further information.
    fn default() -> Self {
        Self {
            instance: first(),
            state: running(),
            reason: String::new(),
            since: T::default(),
            stage: PhaseSnapshot::default(),
            exit: None,
            stopped_by: None,
            restarts: 0,
            failures: 0,
            recent: vec![],
            acknowledged: false,
        }
    }
}

impl<T> SupervisorSnapshot<T> {
    /// Returns the instance.
    #[must_use]
    pub const fn instance(&self) -> Instance {
        self.instance
    }

    /// Returns the state.
    #[must_use]
    pub const fn state(&self) -> ProcessState {
        self.state
    }

    /// Returns whether there was a process. If not, it had ended, or the outcome of its launch was unknown.
    #[must_use]
    pub const fn has_process(&self) -> bool {
        matches!(self.stage, PhaseSnapshot::Up { .. } | PhaseSnapshot::Ending { .. })
    }

    /// Returns whether a launch with an unknown outcome was in progress.
    #[must_use]
    pub const fn is_launching(&self) -> bool {
        matches!(self.stage, PhaseSnapshot::Launching { .. })
    }

    /// Converts all times to another type.
    #[must_use]
    pub fn map_time<U>(self, time: impl Fn(T) -> U) -> SupervisorSnapshot<U> {
        SupervisorSnapshot {
            instance: self.instance,
            state: self.state,
            reason: self.reason,
            since: time(self.since),
            stage: match self.stage {
                PhaseSnapshot::Down => PhaseSnapshot::Down,
                PhaseSnapshot::Waiting { until, after } => {
                    PhaseSnapshot::Waiting { until: time(until), after }
                },
                PhaseSnapshot::Launching { origin, halt } => {
                    PhaseSnapshot::Launching { origin, halt }
                },
                PhaseSnapshot::Up { ran_at } => PhaseSnapshot::Up { ran_at: ran_at.map(&time) },
                PhaseSnapshot::Ending { after, step, ran_at } => {
                    PhaseSnapshot::Ending { after, step, ran_at: ran_at.map(&time) }
                },
            },
            exit: self.exit,
            stopped_by: self.stopped_by,
            restarts: self.restarts,
            failures: self.failures,
            recent: self.recent.into_iter().map(&time).collect(),
            acknowledged: self.acknowledged,
        }
    }
}

impl SupervisorSnapshot<Instant> {
    /// Moves all past events that are later than `now` to `now`, in case a clock was changed.
    pub(super) fn not_after(mut self, now: Instant) -> Self {
        self.since = self.since.min(now);
        for at in &mut self.recent {
            *at = (*at).min(now);
        }
        if let PhaseSnapshot::Up { ran_at: Some(at) }
        | PhaseSnapshot::Ending { ran_at: Some(at), .. } = &mut self.stage
        {
            *at = (*at).min(now);
        }
        self
    }
}
