//! Events that the daemon publishes.

use hana_protocol::id::NodeId;
use hana_protocol::message::{Event, EventKind};

use crate::daemon::process_table::ProcessTable;

impl ProcessTable {
    /// Publishes that this daemon ends normally, so that other hosts do not consider it lost.
    pub(super) fn announce_shutdown(&self) {
        let about = self.node.id().clone();
        let text = "the daemon ended normally, with all launched processes".into();
        let event = Event { kind: EventKind::Closed, about, text };
        if let Err(problem) = self.node.events().publish(&event) {
            tracing::warn!(
                "cannot publish that the daemon ends, so other hosts may report it as lost: {problem}"
            );
        }
    }

    /// Publishes an event of a managed process.
    pub(super) fn report(&self, node: &NodeId, kind: EventKind, text: String) {
        if !self.processes.contains_key(node) {
            return;
        }
        if kind == EventKind::Crashed {
            tracing::warn!("'{node}' {text}");
        }
        let event = Event { kind, about: node.clone(), text };
        if let Err(problem) = self.node.events().publish(&event) {
            tracing::warn!("cannot publish an event of '{node}': {problem}");
        }
    }

    /// Publishes an event of the catalogue.
    pub(super) fn report_catalogue(&self, kind: EventKind, text: String) {
        let event = Event { kind, about: self.node.id().clone(), text };
        if let Err(problem) = self.node.events().publish(&event) {
            tracing::warn!("cannot publish an event of the catalogue: {problem}");
        }
    }
}
