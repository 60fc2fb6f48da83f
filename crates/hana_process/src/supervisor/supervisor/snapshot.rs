use std::time::Instant;

use hana_protocol::message::{Exit, ProcessState, StoppedBy};
use serde::{Deserialize, Serialize};

use crate::supervisor::supervisor::{
    Ending, Instance, LaunchReason, OnExit, Phase, StopKind, StopStage, Supervisor,
};

/// What of a [`Supervisor`] is to outlive the daemon that has it.
///
/// Where it stood and why, what a person wanted, and what of its budget is spent. `T` is a moment: an [`Instant`] for
/// the machine, which means nothing to another process, and Unix milliseconds where it is written down
/// ([`SupervisorSnapshot::map_time`]).
///
/// Whatever is missing in what is read has a default: that of a first run, about which nothing is known but that it
/// ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de> + Default"))]
pub struct SupervisorSnapshot<T> {
    #[serde(default = "first")]
    pub(super) incarnation: Instance,
    #[serde(default = "running")]
    pub(super) state: ProcessState,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) since: T,
    #[serde(default)]
    pub(super) stage: Stage<T>,
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
    pub(super) ignored: bool,
}

/// In which part of its life it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage<T> {
    Down,
    Waiting { until: T, after: String },
    Launching { origin: LaunchReason, halt: Option<StopKind> },
    Up { ran_at: Option<T> },
    Ending { after: OnExit, step: StopStage, ran_at: Option<T> },
}

impl<T> Default for Stage<T> {
    fn default() -> Self {
        Self::Up { ran_at: None }
    }
}

const fn first() -> Instance {
    Instance(1)
}

const fn running() -> ProcessState {
    ProcessState::Running
}

impl<T: Default> Default for SupervisorSnapshot<T> {
    /// Of one that runs, about which nothing else is known.
    fn default() -> Self {
        Self {
            incarnation: first(),
            state: running(),
            reason: String::new(),
            since: T::default(),
            stage: Stage::default(),
            exit: None,
            stopped_by: None,
            restarts: 0,
            failures: 0,
            recent: vec![],
            ignored: false,
        }
    }
}

impl<T> SupervisorSnapshot<T> {
    /// Which run it was.
    #[must_use]
    pub const fn incarnation(&self) -> Instance {
        self.incarnation
    }

    /// Where it stood.
    #[must_use]
    pub const fn state(&self) -> ProcessState {
        self.state
    }

    /// Whether it had a process then. Without one it had ended, or its launch was not known to have succeeded.
    #[must_use]
    pub const fn has_process(&self) -> bool {
        matches!(self.stage, Stage::Up { .. } | Stage::Ending { .. })
    }

    /// Whether a launch had been asked for, of which was not known what became.
    #[must_use]
    pub const fn is_launching(&self) -> bool {
        matches!(self.stage, Stage::Launching { .. })
    }

    /// The same with its moments told otherwise.
    #[must_use]
    pub fn map_time<U>(self, time: impl Fn(T) -> U) -> SupervisorSnapshot<U> {
        SupervisorSnapshot {
            incarnation: self.incarnation,
            state: self.state,
            reason: self.reason,
            since: time(self.since),
            stage: match self.stage {
                Stage::Down => Stage::Down,
                Stage::Waiting { until, after } => Stage::Waiting { until: time(until), after },
                Stage::Launching { origin, halt } => Stage::Launching { origin, halt },
                Stage::Up { ran_at } => Stage::Up { ran_at: ran_at.map(&time) },
                Stage::Ending { after, step, ran_at } => {
                    Stage::Ending { after, step, ran_at: ran_at.map(&time) }
                },
            },
            exit: self.exit,
            stopped_by: self.stopped_by,
            restarts: self.restarts,
            failures: self.failures,
            recent: self.recent.into_iter().map(&time).collect(),
            ignored: self.ignored,
        }
    }
}

impl SupervisorSnapshot<Instant> {
    /// Nothing that has happened is later than `now`, whatever became of the clocks meanwhile.
    pub(super) fn not_after(mut self, now: Instant) -> Self {
        self.since = self.since.min(now);
        for at in &mut self.recent {
            *at = (*at).min(now);
        }
        if let Stage::Up { ran_at: Some(at) } | Stage::Ending { ran_at: Some(at), .. } =
            &mut self.stage
        {
            *at = (*at).min(now);
        }
        self
    }
}

impl Supervisor {
    /// What is to be written down, for a daemon that comes after this one. It is another whenever something has
    /// changed that matters then: to be asked after each event, and written before what the event calls for is done.
    #[must_use]
    pub fn memory(&self) -> SupervisorSnapshot<Instant> {
        // What this daemon has not seen for itself yet is as the one before it saw it.
        let before = match &self.phase {
            Phase::Up(up) => up.before,
            _ => None,
        };
        let (state, since, ignored) = before
            .map_or((self.state, self.since, self.ignored), |before| {
                (before.state, before.since, before.ignored)
            });
        SupervisorSnapshot {
            incarnation: self.incarnation,
            state,
            reason: self.reason.clone(),
            since,
            stage: match &self.phase {
                Phase::Down => Stage::Down,
                Phase::Waiting { until, after } => {
                    Stage::Waiting { until: *until, after: after.clone() }
                },
                Phase::Launching { origin, halt, .. } => {
                    Stage::Launching { origin: origin.clone(), halt: *halt }
                },
                Phase::Up(up) => Stage::Up { ran_at: up.ran_at },
                Phase::Ending(Ending { after, step, ran_at, .. }) => {
                    Stage::Ending { after: after.clone(), step: *step, ran_at: *ran_at }
                },
            },
            exit: self.exit,
            stopped_by: self.stopped_by,
            restarts: self.restarts,
            failures: self.failures,
            recent: self.recent.iter().copied().collect(),
            ignored,
        }
    }
}
