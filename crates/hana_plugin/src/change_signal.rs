use bevy_ecs::prelude::*;
use hana_network::ChangeCounter;

/// Counts the changes that the plugin must look for in a frame, shared by all sources of changes.
#[derive(Resource, Default)]
pub(crate) struct ChangeSignal(pub(crate) ChangeCounter);

impl ChangeSignal {
    /// Returns the counter of the world, which is added if it has none.
    pub(crate) fn of(world: &mut World) -> ChangeCounter {
        world.get_resource_or_init::<Self>().0.clone()
    }
}
