use std::any::{TypeId, type_name};
use std::collections::HashSet;

use bevy_app::{App, PreStartup};
use bevy_ecs::prelude::*;
use hana_network::NodeConfig;
use hana_protocol::id::role;
use hana_protocol::id::role::{NodeRole, Role};
use hana_protocol::message::Direction;
use hana_protocol::wire::CustomMessage;

use crate::session::MeshSession;

/// The custom message types of the program.
///
/// Types can be registered at any time before the app runs, before or after the plugins are added. One node of the
/// program announces and carries them: its visualization, or its controller if it has no visualization.
#[derive(Resource, Default)]
pub(crate) struct TopicRegistry {
    known: HashSet<(TypeId, bool)>,
    announce: Vec<fn(NodeConfig) -> NodeConfig>,
    /// The role of the node that carries the topics, once the app has started.
    carrier: Option<Role>,
}

impl TopicRegistry {
    /// Registers a message type. Returns `false` if the type is already registered, or the app has started.
    pub(crate) fn add<M: CustomMessage>(app: &mut App, direction: Direction) -> bool {
        let is_new = Self::mark::<M>(app, direction);
        if is_new {
            let announce: fn(NodeConfig) -> NodeConfig = if direction == Direction::Published {
                |config| config.with_message::<M>(Direction::Published)
            } else {
                |config| config.with_message::<M>(Direction::Subscribed)
            };
            app.world_mut().resource_mut::<Self>().announce.push(announce);
        }
        is_new
    }

    /// Records that a type is published or subscribed to. Returns `false` if that is already recorded, or the app has
    /// started.
    pub(crate) fn mark<M: 'static>(app: &mut App, direction: Direction) -> bool {
        let mut registry = app.world_mut().get_resource_or_init::<Self>();
        if registry.carrier.is_some() {
            tracing::error!(
                "cannot register the message type {}: the app has started; call `publish` and `subscribe` before `App::run`",
                type_name::<M>()
            );
            return false;
        }
        registry.known.insert((TypeId::of::<M>(), direction == Direction::Published))
    }

    /// Whether the node of that role publishes and subscribes to the custom message types.
    pub(crate) fn is_carried_by(&self, role: Role) -> bool {
        self.carrier == Some(role)
    }
}

/// Announces the custom message types when the app starts, on the node of the role `R`.
pub(crate) fn build<R: NodeRole>(app: &mut App) {
    app.init_resource::<TopicRegistry>().add_systems(PreStartup, announce::<R>);
}

fn announce<R: NodeRole>(world: &mut World) {
    if R::ROLE != Role::Visualization
        && world.contains_resource::<MeshSession<role::Visualization>>()
    {
        return;
    }
    world.resource_scope(|world, mut registry: Mut<TopicRegistry>| {
        registry.carrier = Some(R::ROLE);
        let mut session = world.resource_mut::<MeshSession<R>>();
        for announce in &registry.announce {
            session.configure(announce);
        }
    });
}

#[cfg(test)]
mod tests {
    use bevy_reflect::Reflect;
    use hana_protocol::custom_message;
    use hana_protocol::wire::Lane;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{ControllerPlugin, FromMesh, HanaAppExt, TopicWriter, VisualizationPlugin};

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Spark {
        number: u64,
    }

    custom_message!(Spark, topic: "spark", lane: Lane::ReliableOrdered);

    #[derive(Resource, Reflect, Default)]
    struct Sky {
        brightness: f32,
    }

    fn start(mut app: App) -> App {
        app.world_mut().run_schedule(PreStartup);
        app
    }

    fn announced(app: &App) -> (Option<Role>, usize) {
        let registry = app.world().resource::<TopicRegistry>();
        (registry.carrier, registry.announce.len())
    }

    #[test]
    fn messages_are_registered_before_or_after_the_plugin() {
        let mut before = App::new();
        before.publish::<Spark>().subscribe::<Spark>();
        before.add_plugins(VisualizationPlugin::<Sky>::new("sky"));
        let mut after = App::new();
        after.add_plugins(VisualizationPlugin::<Sky>::new("sky"));
        after.publish::<Spark>().subscribe::<Spark>();
        for app in [before, after] {
            let app = start(app);
            assert_eq!(announced(&app), (Some(Role::Visualization), 2));
            assert!(app.world().contains_resource::<TopicWriter<Spark>>());
            assert!(app.world().contains_resource::<Messages<FromMesh<Spark>>>());
        }
    }

    #[test]
    fn a_type_registered_twice_is_announced_once() {
        let mut app = App::new();
        app.add_plugins(ControllerPlugin::new("desk"));
        app.publish::<Spark>().publish::<Spark>().subscribe_all().subscribe_all();
        assert_eq!(announced(&start(app)), (Some(Role::App), 1));
    }

    #[test]
    fn of_two_nodes_the_visualization_carries_the_topics() {
        for is_first in [true, false] {
            let mut app = App::new();
            if is_first {
                app.add_plugins(ControllerPlugin::new("desk"));
            }
            app.add_plugins(VisualizationPlugin::<Sky>::new("sky")).publish::<Spark>();
            if !is_first {
                app.add_plugins(ControllerPlugin::new("desk"));
            }
            assert_eq!(announced(&start(app)), (Some(Role::Visualization), 1));
        }
    }

    #[test]
    fn a_type_registered_after_the_start_is_refused() {
        let mut app = App::new();
        app.add_plugins(VisualizationPlugin::<Sky>::new("sky"));
        let mut app = start(app);
        app.publish::<Spark>();
        assert!(!app.world().contains_resource::<TopicWriter<Spark>>());
    }
}
