use bevy::prelude::*;
use hana_network::LogTail;
use hana_plugin::MeshSession;
use hana_protocol::id::{NodeId, role};

use crate::app_systems::AppSystems;
use crate::model::app_model::AppModel;

/// The logs of the nodes in view: the selected one, and the one that failed last.
#[derive(Resource, Default)]
pub(crate) struct Logs {
    tails: Vec<LogTail>,
}

/// Lines kept for each node.
const LINES: usize = 200;

pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<Logs>()
        .add_systems(Update, follow.after(AppSystems::Act).before(AppSystems::Draw));
}

impl Logs {
    /// Returns the last lines of a node, the newest last; none if its log is not followed.
    pub(crate) fn last(&mut self, of: &NodeId, most: usize) -> Vec<String> {
        let Some(tail) = self.tails.iter_mut().find(|tail| tail.of() == of) else { return vec![] };
        let lines = tail.lines();
        let first = lines.len().saturating_sub(most);
        lines[first..].iter().map(|line| line.text.clone()).collect()
    }
}

fn follow(link: Res<MeshSession<role::App>>, desk: Res<AppModel>, mut logs: ResMut<Logs>) {
    let Some(node) = link.node() else { return };
    let failed = desk.toasts.pressing().map(|toast| &toast.node);
    let selected = desk.selected().map(|view| &view.node);
    let wanted: Vec<&NodeId> = selected.into_iter().chain(failed).collect();
    logs.tails.retain(|tail| wanted.contains(&tail.of()));
    for id in wanted {
        if !logs.tails.iter().any(|tail| tail.of() == id) {
            logs.tails.push(node.tail_log(id, LINES));
        }
    }
}
