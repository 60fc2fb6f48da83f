//! Keeps a restarted visualization black until the next bar.

use std::time::{Duration, Instant};

use bevy_app::{App, PreUpdate};
use bevy_ecs::prelude::*;
use hana_protocol::id::role;
use hana_protocol::message::Override;

use crate::session::MeshSession;
use crate::sets::HanaSystems;
use crate::timeline::timeline::Timeline;
use crate::visualization::active_override::ActiveOverride;

/// Exists while the program is black and waits for its bar.
#[derive(Resource)]
pub(crate) struct AwaitingBar {
    since: Instant,
}

/// The longest wait: a bar at a slow tempo, and the limit where no node publishes a timeline.
const PATIENCE: Duration = Duration::from_secs(8);

/// Keeps the program black until the next bar.
pub(crate) fn build(app: &mut App) {
    app.insert_resource(AwaitingBar { since: Instant::now() })
        .insert_resource(ActiveOverride(Some(Override::Blackout)))
        .add_systems(
            PreUpdate,
            come_back
                .after(HanaSystems::Receive)
                .run_if(resource_exists::<AwaitingBar>.and_then(is_time)),
        );
}

fn is_time(timeline: Res<Timeline>, waits: Res<AwaitingBar>) -> bool {
    let is_bar = timeline.is_shared() && timeline.begins(timeline.quantum());
    is_bar || waits.since.elapsed() > PATIENCE
}

fn come_back(
    link: Res<MeshSession<role::Visualization>>,
    mut in_force: ResMut<ActiveOverride>,
    mut commands: Commands,
) {
    commands.remove_resource::<AwaitingBar>();
    *in_force = ActiveOverride(link.node().and_then(|node| node.board().in_force()));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bevy_ecs::system::RunSystemOnce;

    use super::*;

    #[test]
    fn it_is_time_when_a_bar_begins_that_others_see_too_or_after_a_while() {
        let mut world = World::new();
        world.init_resource::<Timeline>();
        world.insert_resource(AwaitingBar { since: Instant::now() });
        let said = hana_time::Timeline::DEFAULT;
        let mut at = |said, at_ms: i64| {
            world.resource_mut::<Timeline>().look(said, at_ms * 1000);
            world.run_system_once(is_time).unwrap()
        };
        // A bar takes two seconds.
        assert!(!at(Some(said), 1_000));
        assert!(!at(Some(said), 1_600), "a beat is none");
        assert!(at(Some(said), 2_005));
        assert!(!at(Some(said), 2_020));
        assert!(!at(None, 4_005), "nobody has said it");
        world.resource_mut::<AwaitingBar>().since =
            Instant::now().checked_sub(PATIENCE * 2).unwrap();
        assert!(world.run_system_once(is_time).unwrap());
    }
}
