use bevy::prelude::*;
use hana_network::LogTail;
use hana_plugin::MeshSession;
use hana_protocol::id::{NodeId, role};

use crate::app_systems::AppSystems;
use crate::model::app_model::AppModel;

/// The logs of the selected node and of the node that failed last.
#[derive(Resource, Default)]
pub(crate) struct Logs {
    tails: Vec<LogTail>,
}

/// Maximum number of lines kept for each node.
const MAX_LINES: usize = 200;

pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<Logs>().add_systems(Update, follow.in_set(AppSystems::Apply));
}

impl Logs {
    /// Returns the last `count` lines of a node's log, the newest last; empty if the log is not followed.
    pub(crate) fn last(&mut self, node: &NodeId, count: usize) -> Vec<String> {
        let Some(tail) = self.tails.iter_mut().find(|tail| tail.node() == node) else {
            return vec![];
        };
        let lines = tail.lines();
        let first = lines.len().saturating_sub(count);
        lines[first..].iter().map(|line| line.text.clone()).collect()
    }
}

fn follow(session: Res<MeshSession<role::App>>, model: Res<AppModel>, mut logs: ResMut<Logs>) {
    let Some(own) = session.node() else { return };
    let failed = model.toasts.active().map(|toast| &toast.node);
    let selected = model.selected().map(|view| &view.node);
    let shown: Vec<&NodeId> = selected.into_iter().chain(failed).collect();
    logs.tails.retain(|tail| shown.contains(&tail.node()));
    for node in shown {
        if !logs.tails.iter().any(|tail| tail.node() == node) {
            logs.tails.push(own.tail_log(node, MAX_LINES));
        }
    }
}
