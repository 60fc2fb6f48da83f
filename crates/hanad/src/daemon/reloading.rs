//! Reloading an edited catalogue during a show, without interrupting running programs.

use std::collections::BTreeMap;
use std::time::Instant;

use hana_network::Request;
use hana_process::{Catalogue, CatalogueChanges, CatalogueEntry, UnknownVisualization};
use hana_protocol::id::NodeId;
use hana_protocol::message::{Control, Event, EventKind};

use super::{Daemon, beside};
use crate::config::DaemonConfig;
use crate::reloader::{ReloadCause, Reloaded};

/// Returns the catalogue entry for a launch, or the last one if it was removed while the program runs.
pub(super) fn entry_of<'a>(
    catalogue: &'a Catalogue,
    retired: &'a BTreeMap<NodeId, CatalogueEntry>,
    name: &str,
) -> Result<&'a CatalogueEntry, UnknownVisualization> {
    catalogue.get(name).or_else(|unknown| {
        retired.values().find(|entry| entry.name.as_str() == name).ok_or(unknown)
    })
}

impl Daemon {
    /// Handles the result of a reload.
    pub(super) fn take_reloaded(&mut self, reloaded: Reloaded) {
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
        self.reload_complaint.is_over();
        let later = self.started_with.changed_for_later(&config);
        if later.is_empty() {
            self.later_complaint.is_over();
        } else if self.later_complaint.is_news(&later.join(", ")) {
            tracing::warn!(
                "{} changed in hanad.toml; that takes effect when hanad is started again (SIGUSR2 does that without ending what runs)",
                later.join(", ")
            );
        }
        let changes = CatalogueChanges::between(&self.catalogue, &config.catalogue);
        if changes.is_empty() {
            if !matches!(cause, ReloadCause::Changed | ReloadCause::Start(_)) {
                tracing::info!("the catalogue was read again; nothing changed");
            }
            return (changes, later);
        }
        let text = format!("the catalogue was read again; {changes}");
        tracing::info!("{text}");
        self.say_of_catalogue(EventKind::CatalogueChanged, text);
        self.put_in_force(config.catalogue);
        (changes, later)
    }

    /// Applies a new catalogue without interrupting running programs.
    ///
    /// A running program gets its new policy, or keeps its last one if its entry was removed. A changed program
    /// applies to the next launch.
    fn put_in_force(&mut self, catalogue: Catalogue) {
        let old = std::mem::replace(&mut self.catalogue, catalogue);
        self.pacer.set_pace(self.catalogue.pace());
        for keeper in self.keepers.values_mut() {
            let name = keeper.supervisor.name().to_owned();
            match (self.catalogue.get(&name), old.get(&name)) {
                (Ok(entry), _) => keeper.set_policy(entry.policy.clone()),
                (Err(_), Ok(last)) => {
                    self.retired.insert(last.name.clone(), last.clone());
                },
                (Err(_), Err(_)) => {},
            }
        }
        self.retired.retain(|name, _| self.catalogue.get(name.as_str()).is_err());
        // Deadlines may have changed.
        self.look_at = Instant::now();
        self.log_faulty_programs();
    }

    /// Logs which catalogue entries cannot be started here, before a start fails in the middle of a show.
    pub(super) fn log_faulty_programs(&self) {
        for entry in self.catalogue.entries() {
            match entry.check(&beside()) {
                Ok(()) => {},
                // A machine need not have every program of the catalogue.
                Err(missing @ hana_process::LaunchError::ProgramNotFound { .. }) => {
                    tracing::info!("'{}' cannot be started: {missing}", entry.name);
                },
                Err(fault) => tracing::warn!("'{}' cannot be started: {fault}", entry.name),
            }
        }
    }

    fn refuse_reload(&mut self, cause: ReloadCause, problem: String) {
        if self.reload_complaint.is_news(&problem) || matches!(cause, ReloadCause::Signal) {
            tracing::warn!("going on with the catalogue as it was: {problem}");
            self.say_of_catalogue(EventKind::CatalogueRefused, problem.clone());
        }
        match cause {
            ReloadCause::Changed | ReloadCause::Signal => {},
            ReloadCause::Command(request) => request.refuse(problem),
            ReloadCause::Start(request) => {
                let name = match request.control() {
                    Control::Start(start) => start.name.clone(),
                    other => other.name().into(),
                };
                match self.catalogue.get(&name) {
                    Ok(_) => self.start_if_known(request),
                    Err(unknown) => request.refuse(format!(
                        "{unknown}; and what is written there now cannot be used: {problem}"
                    )),
                }
            },
        }
    }

    /// Starts a program that the catalogue now has, and refuses one that it still lacks.
    fn start_if_known(&mut self, request: Request) {
        let Control::Start(start) = request.control().clone() else { return };
        match self.catalogue.get(&start.name) {
            Ok(_) => self.start_at(request, start),
            Err(unknown) => request.refuse(unknown.to_string()),
        }
    }

    fn say_of_catalogue(&self, kind: EventKind, text: String) {
        let event = Event { kind, about: self.node.id().clone(), text };
        if let Err(problem) = self.node.events().publish(&event) {
            tracing::warn!("what became of the catalogue is not published: {problem}");
        }
    }
}
