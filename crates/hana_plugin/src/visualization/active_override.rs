use bevy_ecs::prelude::*;
use hana_protocol::message::Override;

/// What a person has put in force over what is played: kept up to date by the plugin, before `Update`.
///
/// Nobody needs to heed it. A hold is seen to before the values reach the program, and a blackout is drawn over
/// whatever the program draws, with the plugin's feature `ui`, which is one of its default features. A program that draws
/// without Bevy's cameras, or moves something else than pixels, asks [`is_blackout`](Self::is_blackout) itself; built
/// without `ui`, it declares that it does by
/// [`draws_blackout_itself`](crate::visualization::visualization_plugin::VisualizationPlugin::draws_blackout_itself), else it refuses the command.
#[derive(Resource, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActiveOverride(pub(crate) Option<Override>);

impl ActiveOverride {
    /// What it is, if anything.
    #[must_use]
    pub const fn get(self) -> Option<Override> {
        self.0
    }

    /// Whether black is to be drawn.
    #[must_use]
    pub const fn is_blackout(self) -> bool {
        matches!(self.0, Some(Override::Blackout))
    }

    /// Whether the look is held as it was.
    #[must_use]
    pub const fn is_hold(self) -> bool {
        matches!(self.0, Some(Override::Freeze))
    }
}
