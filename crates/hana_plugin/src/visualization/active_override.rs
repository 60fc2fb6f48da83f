use bevy_ecs::prelude::*;
use hana_protocol::message::Override;

/// The override that an operator has put in force: updated by the plugin before `Update`.
///
/// Most programs need not read it. A freeze is applied before the values reach the program. A blackout is drawn in
/// every window by the plugin's feature `ui`, which is a default feature. A program that draws without Bevy's
/// cameras, or moves something other than pixels, checks [`is_blackout`](Self::is_blackout) itself, and declares that
/// by
/// [`draws_blackout_itself`](crate::visualization::visualization_plugin::VisualizationPlugin::draws_blackout_itself).
/// A program that does neither refuses the command.
#[derive(Resource, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActiveOverride(pub(crate) Option<Override>);

impl ActiveOverride {
    /// Returns the override in force, if there is one.
    #[must_use]
    pub const fn get(self) -> Option<Override> {
        self.0
    }

    /// Whether the program must draw black.
    #[must_use]
    pub const fn is_blackout(self) -> bool {
        matches!(self.0, Some(Override::Blackout))
    }

    /// Whether the look is frozen.
    #[must_use]
    pub const fn is_freeze(self) -> bool {
        matches!(self.0, Some(Override::Freeze))
    }
}
