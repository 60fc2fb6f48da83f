//! Reloading an edited catalogue during a show, without interrupting running programs.

use std::time::Instant;

use hana_network::Request;
use hana_process::{Catalogue, CatalogueChanges};
use hana_protocol::message::{Control, EventKind};

use crate::config::DaemonConfig;
use crate::daemon::daemon::Daemon;
use crate::reload::reloader::{ReloadCause, Reloaded};

impl Daemon {
    /// Handles the result of a reload.
    pub(super) fn on_reloaded(&mut self, reloaded: Reloaded) {
        let Reloaded { cause, outcome } = reloaded;
        let (changes, later) = match outcome {
            Ok(Some(config)) => self.apply(*config, &cause),
            Ok(None) => Default::default(),
            Err(problem) => return self.refuse_reload(cause, problem),
        };
        match cause {
            ReloadCause::Changed | ReloadCause::Signal => {},
            ReloadCause::Command(request) => {
                let CatalogueChanges { added, removed, changed, .. } = changes;
                request.accept(hana_protocol::message::Reloaded { added, removed, changed, later });
            },
            ReloadCause::Start(request) => self.start_if_known(request),
        }
    }

    fn apply(
        &mut self,
        config: DaemonConfig,
        cause: &ReloadCause,
    ) -> (CatalogueChanges, Vec<String>) {
        self.reload_log.clear();
        let later = self.started_with.changed_for_later(&config);
        if later.is_empty() {
            self.pending_settings_log.clear();
        } else if self.pending_settings_log.should_log(&later.join(", ")) {
            tracing::warn!(
                "{} changed in hanad.toml: takes effect when hanad restarts (SIGUSR2 restarts it and keeps all processes running)",
                later.join(", ")
            );
        }
        let changes = CatalogueChanges::between(&self.table.catalogue, &config.catalogue);
        if changes.is_empty() {
            if !matches!(cause, ReloadCause::Changed | ReloadCause::Start(_)) {
                tracing::info!("catalogue reloaded; nothing changed");
            }
            return (changes, later);
        }
        let text = format!("catalogue reloaded; {changes}");
        tracing::info!("{text}");
        self.table.report_catalogue(EventKind::CatalogueChanged, text);
        self.install_catalogue(config.catalogue);
        (changes, later)
    }

    /// Applies a new catalogue without interrupting running programs.
    ///
    /// A running program gets its new policy. If its entry was removed, it keeps its last policy. Other changes to a
    /// program apply from its next launch.
    fn install_catalogue(&mut self, catalogue: Catalogue) {
        let old = std::mem::replace(&mut self.table.catalogue, catalogue);
        self.dispatcher.set_limits(self.table.catalogue.launch_limits());
        for process in self.table.processes.values_mut() {
            let name = process.supervisor.name().to_owned();
            match (self.table.catalogue.get(&name), old.get(&name)) {
                (Ok(entry), _) => process.set_policy(entry.policy.clone()),
                (Err(_), Ok(last)) => {
                    self.table.retired.insert(last.name.clone(), last.clone());
                },
                (Err(_), Err(_)) => {},
            }
        }
        self.table.retired.retain(|name, _| self.table.catalogue.get(name.as_str()).is_err());
        // Deadlines may have changed.
        self.table.check_at = Instant::now();
        self.table.log_faulty_programs();
    }

    fn refuse_reload(&mut self, cause: ReloadCause, problem: String) {
        if self.reload_log.should_log(&problem) || matches!(cause, ReloadCause::Signal) {
            tracing::warn!(
                "cannot reload the catalogue, so the previous one stays in force: {problem}"
            );
            self.table.report_catalogue(EventKind::CatalogueRefused, problem.clone());
        }
        match cause {
            ReloadCause::Changed | ReloadCause::Signal => {},
            ReloadCause::Command(request) => request.refuse(problem),
            ReloadCause::Start(request) => {
                let name = match request.control() {
                    Control::Start(start) => start.name.clone(),
                    other => other.name().into(),
                };
                match self.table.catalogue.get(&name) {
                    Ok(_) => self.start_if_known(request),
                    Err(unknown) => request.refuse(format!(
                        "{unknown}; the changed catalogue cannot be used: {problem}"
                    )),
                }
            },
        }
    }

    /// Carries out a start if the catalogue now has the program. Refuses it otherwise.
    fn start_if_known(&mut self, request: Request) {
        let Control::Start(start) = request.control().clone() else { return };
        match self.table.catalogue.get(&start.name) {
            Ok(_) => self.schedule_start(request, start),
            Err(unknown) => request.refuse(unknown.to_string()),
        }
    }
}
