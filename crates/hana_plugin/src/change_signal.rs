use bevy_ecs::prelude::*;
use hana_network::ChangeCounter;

/// The counter of changes that the plugin must process in a frame, shared by all sources of changes.
#[derive(Resource, Default)]
pub(crate) struct ChangeSignal(pub(crate) ChangeCounter);

impl ChangeSignal {
    /// Returns the world's counter; adds one if the world has none.
    pub(crate) fn of(world: &mut World) -> ChangeCounter {
        world.get_resource_or_init::<Self>().0.clone()
    }
}
