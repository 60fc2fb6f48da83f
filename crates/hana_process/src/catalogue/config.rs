//! The format of the catalogue file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use hana_protocol::id::NodeId;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::catalogue::ranges::{Budget, Factor, Number, ProgramName, Rate, Seconds, Share};
use crate::launch::launch_queue::LaunchLimits;
use crate::supervisor::policy::{Monitoring, Policy, Preset, RestartOn, WhenUnresponsive};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CatalogueFile {
    #[serde(default)]
    pub(super) launch: LaunchLimitsConfig,
    #[serde(default)]
    pub(super) visualizations: BTreeMap<NodeId, EntryConfig>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LaunchLimitsConfig {
    at_once: Option<Number>,
    spacing_s: Option<Seconds>,
    start_timeout_s: Option<Seconds>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryConfig {
    pub(super) program: ProgramName,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    pub(super) dir: Option<PathBuf>,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) policy: Preset,
    mesh: Option<bool>,
    pub(super) notices: Option<bool>,
    #[serde(default)]
    restart: RestartConfig,
    #[serde(default)]
    stop: StopConfig,
    #[serde(default)]
    health: HealthConfig,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RestartConfig {
    on: Option<BTreeSet<RestartOn>>,
    first_s: Option<Seconds>,
    initial_s: Option<Seconds>,
    factor: Option<Factor>,
    max_s: Option<Seconds>,
    jitter: Option<Share>,
    stable_after_s: Option<Seconds>,
    budget: Option<Budget>,
    window_s: Option<Seconds>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StopConfig {
    polite_s: Option<Seconds>,
    terminate_s: Option<Seconds>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HealthConfig {
    startup_s: Option<Seconds>,
    slow_fps: Option<Rate>,
    slow_s: Option<Seconds>,
    unresponsive_s: Option<Seconds>,
    when_unresponsive: Option<UnresponsiveConfig>,
    restart_after_s: Option<Seconds>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum UnresponsiveConfig {
    Report,
    Restart,
}

impl CatalogueFile {
    /// Splits a file into documents that can be read separately: first everything outside the entries, then each
    /// entry.
    pub(super) fn parts(file: Spanned<DeTable<'_>>) -> Vec<Deserializer<'_>> {
        let span = file.span();
        let document = |table| Deserializer::from(Spanned::new(span.clone(), table));
        let mut rest = file.into_inner();
        let Some((key, value)) = rest.remove_entry("visualizations") else {
            return vec![document(rest)];
        };
        let value_span = value.span();
        let spanned = |value| Spanned::new(value_span.clone(), value);
        match value.into_inner() {
            DeValue::Table(entries) => {
                let entries = entries.into_iter().map(|entry| {
                    let entry = spanned(DeValue::Table(DeTable::from_iter([entry])));
                    document(DeTable::from_iter([(key.clone(), entry)]))
                });
                std::iter::once(document(rest)).chain(entries).collect()
            },
            other => {
                rest.insert(key, spanned(other));
                vec![document(rest)]
            },
        }
    }
}

impl EntryConfig {
    /// Returns the policy of the preset with the changes of this entry.
    pub(super) fn to_policy(&self) -> Policy {
        let mut policy = Policy::preset(self.policy);
        if let Some(joins) = self.mesh {
            policy.mesh = if joins { Monitoring::Joins } else { Monitoring::Never };
        }
        self.restart.apply(&mut policy);
        self.stop.apply(&mut policy);
        self.health.apply(&mut policy);
        policy
    }
}

fn set<T>(setting: &mut T, value: Option<impl Into<T>>) {
    if let Some(value) = value {
        *setting = value.into();
    }
}

impl LaunchLimitsConfig {
    pub(super) fn into_limits(self) -> LaunchLimits {
        let mut limits = LaunchLimits::default();
        set(&mut limits.at_once, self.at_once);
        set(&mut limits.spacing, self.spacing_s);
        set(&mut limits.start_timeout, self.start_timeout_s);
        limits
    }
}

impl RestartConfig {
    fn apply(&self, policy: &mut Policy) {
        let restart = &mut policy.restart;
        set(&mut restart.on, self.on.clone());
        set(&mut restart.backoff.first, self.first_s);
        set(&mut restart.backoff.initial, self.initial_s);
        set(&mut restart.backoff.factor, self.factor);
        set(&mut restart.backoff.max, self.max_s);
        set(&mut restart.backoff.jitter, self.jitter);
        set(&mut restart.stable_after, self.stable_after_s);
        set(&mut restart.budget, self.budget);
        set(&mut restart.window, self.window_s);
    }
}

impl StopConfig {
    fn apply(&self, policy: &mut Policy) {
        set(&mut policy.stop.polite, self.polite_s);
        set(&mut policy.stop.terminate, self.terminate_s);
    }
}

impl HealthConfig {
    /// The delay before a kill if the file sets `when_unresponsive = "restart"` without a time.
    const RESTART_AFTER: Duration = Duration::from_secs(5);

    fn apply(&self, policy: &mut Policy) {
        let health = &mut policy.health;
        set(&mut health.startup, self.startup_s);
        set(&mut health.limits.slow_below_fps, self.slow_fps);
        set(&mut health.limits.slow_after, self.slow_s);
        set(&mut health.limits.unresponsive_after, self.unresponsive_s);
        health.when_unresponsive = match (self.when_unresponsive, health.when_unresponsive) {
            (Some(UnresponsiveConfig::Report), _) | (None, WhenUnresponsive::Report) => {
                WhenUnresponsive::Report
            },
            (Some(UnresponsiveConfig::Restart), WhenUnresponsive::Report) => {
                WhenUnresponsive::Restart(
                    self.restart_after_s.map_or(Self::RESTART_AFTER, Into::into),
                )
            },
            (_, WhenUnresponsive::Restart(after)) => {
                WhenUnresponsive::Restart(self.restart_after_s.map_or(after, Into::into))
            },
        };
    }
}
