use bevy::prelude::*;

/// The stages of a frame, in order.
#[derive(SystemSet, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum AppSystems {
    /// Copies the state of the mesh into the model.
    Sync,
    /// Handles the operator's input.
    Input,
    /// Sends the effects of the input, and fetches the details of the selected node.
    Apply,
    /// Draws the window.
    Draw,
}

pub(crate) fn plugin(app: &mut App) {
    app.configure_sets(
        Update,
        (AppSystems::Sync, AppSystems::Input, AppSystems::Apply, AppSystems::Draw).chain(),
    );
}
