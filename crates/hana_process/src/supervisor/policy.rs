use std::collections::BTreeSet;
use std::time::Duration;

use hana_engine::roster::HealthLimits;
use serde::Deserialize;

use crate::supervisor::backoff::Backoff;

/// The supervision settings of one visualization, usually starting from a [`Preset`].
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Whether the program joins the mesh, which determines how its health is judged.
    pub mesh: Monitoring,
    /// The rules for automatic restarts.
    pub restart: RestartPolicy,
    /// The time limits of a stop.
    pub stop: StopPolicy,
    /// The rules for judging a living process.
    pub health: HealthPolicy,
}

/// A predefined policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// For attended shows: restarts at once after a crash, then with backoff, up to a budget. Reports a freeze and
    /// never kills.
    #[default]
    Show,
    /// For unattended installations: always restarts after a crash, with backoff. Kills and restarts a process that
    /// has been frozen for 5 s.
    Installation,
    /// For development: does not restart after a crash; reports a freeze.
    Manual,
}

/// The criteria by which a process is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Monitoring {
    /// The program joins the mesh and is judged by its token and its health.
    Joins,
    /// The program never joins the mesh, like a shell script, and is judged by its process alone.
    Never,
}

/// The rules for restarting a process after an unexpected end.
#[derive(Debug, Clone, PartialEq)]
pub struct RestartPolicy {
    /// The kinds of ends after which the process is restarted; if empty, it is never restarted.
    pub on: BTreeSet<RestartOn>,
    /// The delay before each restart.
    pub backoff: Backoff,
    /// The running time after which an instance is stable, which resets the backoff.
    pub stable_after: Duration,
    /// The most restarts within `window`; one more crash is a crash loop. `None` for no limit.
    pub budget: Option<u32>,
    /// The period to which the budget applies.
    pub window: Duration,
}

/// A kind of end after which a process can be restarted automatically.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartOn {
    /// The program returned a code other than 0.
    ///
    /// If a process outlived its daemon, its exit status is unknown. That counts as both `ExitCode` and `Signal`.
    ExitCode,
    /// A signal that the daemon did not send ended the process.
    Signal,
    /// An automatic restart could not be launched, for instance because the program is being replaced.
    ///
    /// A start by a person that cannot be launched is reported and not retried.
    Launch,
}

impl RestartOn {
    /// All kinds of ends.
    pub const ALL: [Self; 3] = [Self::ExitCode, Self::Signal, Self::Launch];
}

/// The time limits of the steps of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopPolicy {
    /// The time from the shutdown command to SIGTERM.
    pub polite: Duration,
    /// The time from SIGTERM to SIGKILL.
    pub terminate: Duration,
}

/// The rules for judging a living process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HealthPolicy {
    /// The longest time from launch to the first health message. After that, the process is unresponsive.
    pub startup: Duration,
    /// The limits for slow and unresponsive processes.
    ///
    /// `unresponsive_after` also applies to a living process that has left the mesh.
    pub limits: HealthLimits,
    /// The response to an unresponsive process.
    pub when_unresponsive: WhenUnresponsive,
}

/// The response to an unresponsive process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenUnresponsive {
    /// Report it, and never kill it automatically.
    Report,
    /// Kill it once it has been unresponsive for this long, and restart it as after a crash.
    Restart(Duration),
}

impl Policy {
    /// Returns the policy of `preset`.
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
                stable_after: Duration::from_secs(10),
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
                when_unresponsive: WhenUnresponsive::Report,
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
    fn presets_match_the_documented_table() {
        let show = Policy::default();
        assert_eq!(show.restart.backoff.first, Duration::ZERO);
        assert_eq!((show.restart.budget, show.restart.window.as_secs()), (Some(5), 60));
        assert_eq!(show.health.when_unresponsive, WhenUnresponsive::Report);

        let installation = Policy::preset(Preset::Installation);
        assert_eq!(installation.restart.budget, None);
        let five = Duration::from_secs(5);
        assert_eq!(installation.health.when_unresponsive, WhenUnresponsive::Restart(five));

        let manual = Policy::preset(Preset::Manual);
        assert!(manual.restart.on.is_empty());
        assert_eq!(manual.health.when_unresponsive, WhenUnresponsive::Report);
    }
}
