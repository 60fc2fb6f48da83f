//! Reports that a program which could have a window has none.

use bevy_app::{App, Last};
use bevy_ecs::prelude::*;
use bevy_window::{Window, WindowCreated};
use hana_protocol::id::role;

use crate::session::MeshSession;

/// The report about a program without a window.
const NONE_OPEN: &str = "it has no window open";

pub(crate) fn build(app: &mut App) {
    // Without Bevy's `WindowPlugin` a program has no window by design, or reports the cause itself.
    app.add_systems(Last, report.run_if(resource_exists::<Messages<WindowCreated>>));
}

fn report(
    session: Res<MeshSession<role::Visualization>>,
    windows: Query<(), With<Window>>,
    mut reported: Local<Option<bool>>,
) {
    let Some(node) = session.node() else {
        *reported = None;
        return;
    };
    let is_open = !windows.is_empty();
    if reported.replace(is_open) != Some(is_open) {
        node.set_headless((!is_open).then(|| NONE_OPEN.into()));
    }
}
