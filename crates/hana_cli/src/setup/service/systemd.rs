//! Linux: a unit of systemd.
//!
//! `KillMode` decides how a stop, a crash and a freeze affect the unit's processes; the unit states the
//! choice and its reason.

mod unit;

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use crate::setup::service::error::ServiceError;
use crate::setup::service::installed_file::InstalledFile;
use crate::setup::service::manager::{Change, Installation, Manager, Removal, Restarted, Status};
use crate::setup::service::plan::{Plan, ServiceScope};
use crate::setup::service::systemd::unit::StartedBy;
use crate::setup::service::tool::Tool;
use crate::setup::service::{log_file, plan};

/// systemd: the machine's or a user's instance.
#[derive(Debug)]
pub(crate) struct Systemd {
    scope: ServiceScope,
    unit: InstalledFile,
    systemctl: Tool,
}

const MANAGER: &str = "systemd";
const UNIT: &str = "hanad.service";
/// The directory that exists while systemd manages the machine.
const RUNS_HERE: &str = "/run/systemd/system";
/// The variables that a program with a window needs.
const DISPLAY: [&str; 3] = ["DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY"];

impl Systemd {
    pub(crate) fn of(scope: ServiceScope) -> Result<Self, ServiceError> {
        if !Path::new(RUNS_HERE).exists() {
            let daemon = plan::daemon_beside()?.display().to_string();
            return Err(ServiceError::NoSystemd { why: "there is no /run/systemd/system", daemon });
        }
        let (directory, arguments): (PathBuf, &[&str]) = match scope {
            ServiceScope::System => ("/etc/systemd/system".into(), &["--system"]),
            ServiceScope::User => {
                let base = etcetera::choose_base_strategy().map_err(|_| ServiceError::NoHome)?;
                (base.config_dir().join("systemd/user"), &["--user"])
            },
        };
        let unit = InstalledFile::at(directory.join(UNIT));
        Ok(Self { scope, unit, systemctl: Tool::new("systemctl", arguments) })
    }

    /// Returns the environment that systemd gives its services, or an error if systemd does not print it.
    fn environment(&self) -> Result<String, ServiceError> {
        let output = self.systemctl.try_run(&["show-environment"])?;
        if output.is_success {
            return Ok(output.output);
        }
        let problem = output.problem;
        Err(match self.scope {
            ServiceScope::User => ServiceError::NoUserManager { problem },
            ServiceScope::System => ServiceError::NoAnswer { problem },
        })
    }

    fn started_by(&self) -> Result<StartedBy, ServiceError> {
        if self.scope == ServiceScope::System {
            let user = env::var("SUDO_USER").ok().filter(|user| !user.is_empty());
            return Ok(StartedBy::Boot { user: user.unwrap_or_else(|| "root".into()) });
        }
        let desktop = self.systemctl.try_run(&["is-active", "graphical-session.target"])?;
        Ok(if desktop.is_success { StartedBy::Desktop } else { StartedBy::Login })
    }

    /// Passes the display of this terminal, if it has one, to the user's systemd, which does not know the display at
    /// login.
    fn pass_on_display(&self) -> Result<(), ServiceError> {
        let set: Vec<&str> = DISPLAY
            .into_iter()
            .filter(|variable| env::var_os(variable).is_some_and(|value| !value.is_empty()))
            .collect();
        if self.scope == ServiceScope::User && !set.is_empty() {
            self.systemctl.run(&[&["import-environment"], &*set].concat())?;
        }
        Ok(())
    }

    fn properties(&self) -> Result<BTreeMap<String, String>, ServiceError> {
        const PROPERTIES: &str =
            "--property=ActiveState,SubState,MainPID,StateChangeTimestamp,NRestarts,StatusText";
        let output = self.systemctl.run(&["show", UNIT, PROPERTIES])?;
        Ok(properties_of(&output))
    }

    fn notes(&self, started_by: &StartedBy) -> Result<Vec<String>, ServiceError> {
        let mut notes = vec![];
        match started_by {
            StartedBy::Login => {
                notes.push(
                    "it runs while you are logged in; to run it from boot on: `loginctl enable-linger`".into(),
                );
                let environment = self.environment()?;
                let has_display = environment.lines().any(|line| {
                    line.starts_with("DISPLAY=") || line.starts_with("WAYLAND_DISPLAY=")
                });
                if !has_display {
                    notes.push(
                        "it has no display, so visualizations have no window; on the desktop, run `systemctl --user import-environment DISPLAY WAYLAND_DISPLAY XAUTHORITY`, then `systemctl --user restart hanad`".into(),
                    );
                }
            },
            StartedBy::Desktop => {
                notes.push("it starts and ends with your desktop, and uses its display".into());
            },
            StartedBy::Boot { user } => notes.push(format!(
                "it runs as '{user}', without a display; visualizations have no window unless the catalogue sets their environment"
            )),
        }
        Ok(notes)
    }

    fn log_of(&self, unit: &str) -> Option<PathBuf> {
        let mut environment = unit::environment_of(unit);
        if self.scope == ServiceScope::System {
            environment.entry("HANA_STATE".into()).or_insert_with(|| unit::STATE_OF_SYSTEM.into());
        }
        log_file::of_daemon_with(&environment)
    }
}

impl Manager for Systemd {
    fn install(&self, plan: &Plan) -> Result<Installation, ServiceError> {
        if !unit::can_start(&plan.daemon) {
            return Err(ServiceError::AwkwardPath { daemon: plan.daemon.clone() });
        }
        self.environment()?;
        let mut plan = plan.clone();
        if self.scope == ServiceScope::System {
            plan.environment
                .entry("HANA_STATE".into())
                .or_insert_with(|| unit::STATE_OF_SYSTEM.into());
        }
        let is_running = self.systemctl.try_run(&["is-active", UNIT])?.is_success;
        let is_trying = self.unit.read().is_some();
        if !is_running && !is_trying && hana_network::daemon_is_listening() {
            return Err(ServiceError::AlreadyRuns);
        }
        let started_by = self.started_by()?;
        let text = unit::text(&plan, &started_by);
        let change = self.unit.write(&text)?;
        self.systemctl.run(&["daemon-reload"])?;
        // The unit that starts the service may have changed.
        self.systemctl.run(&["reenable", UNIT])?;
        self.pass_on_display()?;
        let log = self.log_of(&text);
        if (!is_running || change != Change::Unchanged)
            && let Err(problem) = self.systemctl.run(&["restart", UNIT])
        {
            let message = log.as_deref().and_then(log_file::last_line);
            let message = message.unwrap_or_else(|| problem.to_string());
            return Err(ServiceError::DoesNotStart { message });
        }
        Ok(Installation {
            manager: MANAGER,
            scope: self.scope,
            change,
            file: Some(self.unit.path().into()),
            log,
            notes: self.notes(&started_by)?,
        })
    }

    fn remove(&self) -> Result<Removal, ServiceError> {
        let removed = self.unit.read().is_some();
        if removed {
            self.environment()?;
            self.systemctl.run(&["disable", "--now", UNIT])?;
            self.unit.remove()?;
            self.systemctl.run(&["daemon-reload"])?;
            // This call fails unless the unit is in the failed state, so its result is ignored.
            self.systemctl.try_run(&["reset-failed", UNIT])?;
        }
        Ok(Removal { manager: MANAGER, scope: self.scope, removed, notes: vec![] })
    }

    fn restart(&self) -> Result<Restarted, ServiceError> {
        self.environment()?;
        if self.unit.read().is_none() {
            return Err(ServiceError::NotInstalled);
        }
        let replaced = self.systemctl.try_run(&["is-active", UNIT])?.is_success;
        if replaced {
            // The same process executes the new program, so systemd does not see it end.
            self.systemctl.run(&["kill", "--kill-who=main", "--signal=SIGUSR2", UNIT])?;
        } else {
            self.systemctl.run(&["restart", UNIT])?;
        }
        Ok(Restarted { manager: MANAGER, scope: self.scope, replaced, notes: vec![] })
    }

    fn status(&self) -> Result<Status, ServiceError> {
        self.environment()?;
        let properties = self.properties()?;
        let text = self.unit.read();
        let property = |name| properties.get(name).filter(|value| !value.is_empty()).cloned();
        let word = |name| property(name).unwrap_or_default();
        let mut notes = vec![];
        let beside = plan::daemon_beside()?;
        if text.as_ref().is_some_and(|text| !unit::starts(text, &beside)) {
            notes.push(format!(
                "it runs another daemon than the one beside this program, {}; `hana service install` changes that",
                beside.display()
            ));
        }
        Ok(Status {
            manager: MANAGER,
            scope: self.scope,
            installed: text.is_some(),
            running: word("ActiveState") == "active",
            state: format!("{}, {}", word("ActiveState"), word("SubState")),
            pid: property("MainPID").and_then(|pid| pid.parse().ok()).filter(|pid| *pid != 0),
            since: text.as_ref().and_then(|_| property("StateChangeTimestamp")),
            restarts: property("NRestarts").and_then(|times| times.parse().ok()),
            says: property("StatusText"),
            file: text.as_ref().map(|_| self.unit.path().into()),
            log: text.as_ref().and_then(|text| self.log_of(text)),
            notes,
        })
    }
}

/// Parses the output of `systemctl show`: one `Name=value` per line.
fn properties_of(answer: &str) -> BTreeMap<String, String> {
    answer
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
