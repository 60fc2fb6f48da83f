use std::collections::BTreeSet;
use std::time::Duration;

use hana_engine::roster::HealthLimits;
use serde::Deserialize;

use crate::supervisor::backoff::Backoff;

/// How one visualization is kept: every knob. Begins as a [`Preset`].
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// By what it is judged.
    pub mesh: Monitoring,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// How it is stopped.
    pub stop: StopPolicy,
    /// How it is judged while it lives.
    pub health: HealthPolicy,
}

/// The presets people choose from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// A person is watching: restart a crash at once, then with backoff, up to a budget; tell of a freeze
    /// and never kill.
    #[default]
    Show,
    /// Nobody is watching: restart a crash for ever, with backoff; kill and restart what is frozen for 5 s.
    Installation,
    /// Development: a crash stays down; a freeze is told.
    Manual,
}

/// By what a process is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Monitoring {
    /// It joins the mesh: by its token and its health.
    Joins,
    /// It never joins, a shell script for one: by its process alone.
    Never,
}

/// When a process that ended without being asked to is started again.
#[derive(Debug, Clone, PartialEq)]
pub struct RestartPolicy {
    /// After which ends. Empty: never.
    pub on: BTreeSet<RestartOn>,
    /// How long to wait first.
    pub backoff: Backoff,
    /// A run of at least this length has settled: the backoff begins anew after it.
    pub settled: Duration,
    /// The most restarts within `window`; one more crash ends in a crash loop. `None`: no end.
    pub budget: Option<u32>,
    /// The time that the budget is for.
    pub window: Duration,
}

/// An end after which a process can be started again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartOn {
    /// It returned a code that is not 0. An end that is not known (it outlived the daemon that launched it)
    /// counts as this and as `Signal`.
    ExitCode,
    /// A signal ended it that the daemon did not send.
    Signal,
    /// An automatic restart could not be launched (the program is being replaced, say). A start by a person
    /// that cannot be launched is told, not tried again.
    Launch,
}

impl RestartOn {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ExitCode, Self::Signal, Self::Launch];
}

/// How long each step of a stop may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopPolicy {
    /// After the polite command, before SIGTERM.
    pub polite: Duration,
    /// After SIGTERM, before SIGKILL.
    pub terminate: Duration,
}

/// How a process is judged while it lives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HealthPolicy {
    /// How long it may take from its launch to the first health it sends; later, it is unresponsive.
    pub startup: Duration,
    /// What counts as slow and as unresponsive. One that has left the mesh but lives is unresponsive after
    /// `unresponsive_after` as well.
    pub limits: HealthLimits,
    /// What to do with an unresponsive one.
    pub when_unresponsive: WhenUnresponsive,
}

/// What to do with an unresponsive process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenUnresponsive {
    /// Tell people; never kill it by itself.
    Tell,
    /// Kill it once it has been unresponsive for this long, and restart it as after a crash.
    Restart(Duration),
}

impl Policy {
    /// The policy that `preset` stands for.
    #[must_use]
    pub fn preset(preset: Preset) -> Self {
        let show = Self {
            mesh: Monitoring::Joins,
            restart: RestartPolicy {
                on: RestartOn::ALL.into(),
                backoff: Backoff {
                    first: Duration::ZERO,
                    initial: Duration::from_millis(250),
                    factor: 2.0,
                    max: Duration::from_secs(8),
                    jitter: 0.2,
                },
                settled: Duration::from_secs(10),
                budget: Some(5),
                window: Duration::from_mins(1),
            },
            stop: StopPolicy {
                polite: Duration::from_millis(1500),
                terminate: Duration::from_millis(1500),
            },
            health: HealthPolicy {
                startup: Duration::from_secs(30),
                limits: HealthLimits::default(),
                when_unresponsive: WhenUnresponsive::Tell,
            },
        };
        match preset {
            Preset::Show => show,
            Preset::Installation => Self {
                restart: RestartPolicy {
                    backoff: Backoff { max: Duration::from_secs(30), ..show.restart.backoff },
                    budget: None,
                    ..show.restart
                },
                health: HealthPolicy {
                    when_unresponsive: WhenUnresponsive::Restart(Duration::from_secs(5)),
                    ..show.health
                },
                ..show
            },
            Preset::Manual => {
                Self { restart: RestartPolicy { on: BTreeSet::new(), ..show.restart }, ..show }
            },
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::preset(Preset::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_are_those_of_the_operators_table() {
        let show = Policy::default();
        assert_eq!(show.restart.backoff.first, Duration::ZERO);
        assert_eq!((show.restart.budget, show.restart.window.as_secs()), (Some(5), 60));
        assert_eq!(show.health.when_unresponsive, WhenUnresponsive::Tell);

        let installation = Policy::preset(Preset::Installation);
        assert_eq!(installation.restart.budget, None);
        let five = Duration::from_secs(5);
        assert_eq!(installation.health.when_unresponsive, WhenUnresponsive::Restart(five));

        let manual = Policy::preset(Preset::Manual);
        assert!(manual.restart.on.is_empty());
        assert_eq!(manual.health.when_unresponsive, WhenUnresponsive::Tell);
    }
}
