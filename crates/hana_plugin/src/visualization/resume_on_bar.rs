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

/// Exists while the program is black and waits for the next bar.
#[derive(Resource)]
pub(crate) struct AwaitingBar {
    since: Instant,
}

/// The longest wait: enough for a bar at a slow tempo, and the limit if no node publishes a timeline.
const MAX_WAIT: Duration = Duration::from_secs(8);

/// Keeps the program black until the next bar.
pub(crate) fn build(app: &mut App) {
    app.insert_resource(AwaitingBar { since: Instant::now() })
        .insert_resource(ActiveOverride(Some(Override::Blackout)))
        .add_systems(
            PreUpdate,
            resume
                .after(HanaSystems::Receive)
                .run_if(resource_exists::<AwaitingBar>.and_then(is_time)),
        );
}

fn is_time(timeline: Res<Timeline>, awaiting: Res<AwaitingBar>) -> bool {
    let is_bar = timeline.is_shared() && timeline.begins(timeline.quantum());
    is_bar || awaiting.since.elapsed() > MAX_WAIT
}

fn resume(
    session: Res<MeshSession<role::Visualization>>,
    mut active_override: ResMut<ActiveOverride>,
    mut commands: Commands,
) {
    commands.remove_resource::<AwaitingBar>();
    *active_override =
        ActiveOverride(session.node().and_then(|node| node.parameters().override_mode()));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bevy_ecs::system::RunSystemOnce;

    use super::*;

    #[test]
    fn it_resumes_on_a_shared_bar_or_after_the_longest_wait() {
        let mut world = World::new();
        world.init_resource::<Timeline>();
        world.insert_resource(AwaitingBar { since: Instant::now() });
        let shared = hana_time::Timeline::DEFAULT;
        let mut at = |timeline, at_ms: i64| {
            world.resource_mut::<Timeline>().look(timeline, at_ms * 1000);
            world.run_system_once(is_time).unwrap()
        };
        // A bar takes two seconds.
        assert!(!at(Some(shared), 1_000));
        assert!(!at(Some(shared), 1_600), "a beat is no bar");
        assert!(at(Some(shared), 2_005));
        assert!(!at(Some(shared), 2_020));
        assert!(!at(None, 4_005), "no node publishes it");
        world.resource_mut::<AwaitingBar>().since =
            Instant::now().checked_sub(MAX_WAIT * 2).unwrap();
        assert!(world.run_system_once(is_time).unwrap());
    }
}
