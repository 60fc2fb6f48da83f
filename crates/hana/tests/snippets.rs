//! The Rust snippets of the book, compiled. A test of the repository compares them with the pages.
#![allow(
    dead_code,
    unreachable_pub,
    unused_variables,
    missing_docs,
    clippy::missing_const_for_fn,
    clippy::semicolon_if_nothing_returned
)]

use bevy::prelude::*;
use hana::prelude::*;

/// `docs/plugin.md`: run conditions.
mod run_conditions {
    use super::*;

    fn draw_dimmed() {}
    fn greet() {}
    fn say_goodbye() {}
    fn show_daemon_lamp() {}

    fn build(app: &mut App) {
        app.add_systems(
            Update,
            (
                draw_dimmed.run_if(not(is_connected::<role::Visualization>)),
                greet.run_if(just_connected::<role::Visualization>), // in the one frame
                say_goodbye.run_if(just_disconnected::<role::Visualization>),
                show_daemon_lamp.run_if(has_daemon::<role::Visualization>),
            ),
        );
    }
}

/// `docs/plugin.md`: events and topics. `docs/visualizations.md`: a message, saved state.
mod topics {
    use super::*;

    #[hana::data]
    #[derive(Resource, Default)]
    struct Beats {
        count: u64,
    }

    impl Persist for Beats {
        const NAME: &'static str = "beats";
    }

    mod with_version {
        #[hana::message(lane = UnreliableUnordered, version = 2)]
        pub struct Spark {
            pub number: u64,
            pub angle: f32,
            pub energy: f32,
        }
    }

    #[hana::message(lane = UnreliableUnordered)] // also: topic = "spark", version = 2
    struct Spark {
        angle: f32,
    }

    fn build(app: &mut App) {
        app.add_observer(|failed: On<DecodeFailed>| {
            warn!("{} {:?}: {}", failed.key, failed.field, failed.reason)
        });
        app.publish::<Spark>() // TopicWriter<Spark>
            .subscribe::<Spark>() // MessageReader<FromMesh<Spark>>
            .subscribe_all() // MessageReader<DynamicFromMesh>: messages of all types
            .persist::<Beats>(); // a resource that is saved and restored: `impl Persist for Beats`
    }
}

/// `docs/plugin.md`: parameters.
mod parameters {
    use super::*;

    #[derive(Resource, Reflect)]
    struct Sea {
        #[reflect(@0.0..=100.0, @Unit("windows/min"), @Description("how fast the bar moves"))]
        speed: f32, // hana set events speed=12
        lit: bool,      // hana set events lit=on
        course: Course, // hana set events course=to_and_fro
        tint: Color,    // hana set events tint=#ff8800
    }

    #[derive(Reflect, Clone, Copy)]
    enum Course {
        Along,
        ToAndFro,
        Still,
    }
}

/// `docs/plugin.md`: time.
mod time {
    use hana::{ScheduleAt, Set};

    use super::*;

    fn swing(timeline: Res<Timeline>) {
        let turn = timeline.phase() / timeline.quantum(); // 0 to 1 in each bar
    }

    fn flash() {}

    fn next_scene(session: Res<MeshSession<role::Visualization>>) {
        let Ok(zoom) = ParameterName::new("zoom") else { return };
        let set = Set::default().with(zoom, 0.5).at(ScheduleAt::NextBar);
        if let Some(Err(error)) = session.change(&set) {
            warn!("{error}");
        }
    }

    fn build(app: &mut App) {
        app.add_systems(
            Update,
            (
                swing,
                flash.run_if(on_beat(1.0)), // on_beat(0.5): twice a beat
                next_scene.run_if(on_bar),
            ),
        );
    }
}
