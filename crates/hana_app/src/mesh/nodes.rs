use std::time::{Duration, Instant};

use bevy::prelude::*;
use hana_plugin::MeshNode;
use hana_protocol::parameter::Parameter;

use crate::app_systems::AppSystems;
use crate::model::app_model::AppModel;

/// Maximum time between two redraws, and so the maximum age of the displayed state.
pub(crate) const REDRAW_INTERVAL: Duration = Duration::from_millis(50);

/// The parameters that the selected node declares.
#[derive(Resource, Debug, Default, PartialEq)]
pub(crate) struct SelectedParameters(pub(crate) Vec<Parameter>);

pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<SelectedParameters>()
        .add_systems(Update, update_model.in_set(AppSystems::Sync))
        .add_systems(Update, update_parameters.in_set(AppSystems::Apply));
}

fn update_model(
    nodes: Query<&MeshNode>,
    mut model: ResMut<AppModel>,
    mut updated_at: Local<Option<Instant>>,
) {
    let now = Instant::now();
    if updated_at.is_some_and(|at| now.saturating_duration_since(at) < REDRAW_INTERVAL) {
        return;
    }
    *updated_at = Some(now);
    model.update(nodes.iter().map(|node| (**node).clone()).collect(), now);
}

fn update_parameters(
    model: Res<AppModel>,
    nodes: Query<&MeshNode>,
    mut parameters: ResMut<SelectedParameters>,
) {
    let selected = model.selected().map(|view| &view.node);
    let info = nodes.iter().find(|node| Some(&node.node) == selected).and_then(MeshNode::info);
    let announced = info.map(|info| info.parameters.as_slice()).unwrap_or_default();
    if parameters.0 != announced {
        parameters.0 = announced.to_vec();
    }
}
