use std::time::{Duration, Instant};

use bevy::prelude::*;
use hana_plugin::MeshNode;

use crate::app_systems::AppSystems;
use crate::model::app_model::AppModel;

/// Maximum time between two redraws, and so the maximum age of what the window shows.
pub(crate) const REDRAW: Duration = Duration::from_millis(50);

pub(crate) fn plugin(app: &mut App) {
    app.init_resource::<AppModel>().add_systems(Update, look.in_set(AppSystems::Look));
}

fn look(nodes: Query<&MeshNode>, mut desk: ResMut<AppModel>, mut looked: Local<Option<Instant>>) {
    let now = Instant::now();
    if looked.is_some_and(|at| now.saturating_duration_since(at) < REDRAW) {
        return;
    }
    *looked = Some(now);
    desk.see(nodes.iter().map(|node| (**node).clone()).collect(), now);
}
