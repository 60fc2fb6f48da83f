use bevy::prelude::*;

/// The stages of a frame, in order.
#[derive(SystemSet, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum AppSystems {
    /// Read the state of the nodes.
    Look,
    /// Handle the operator's input.
    Act,
    /// Draw the window.
    Draw,
}
