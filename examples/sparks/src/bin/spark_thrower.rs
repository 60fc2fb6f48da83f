//! Throws a spark every quarter of a second, for whoever hears it.

use bevy_app::AppExit;
use bevy_app::Update;
use bevy_ecs::prelude::*;
use hana_plugin::TopicWriter;
use hana_plugin::VisualizationPlugin;
use sparks::Spark;
use sparks::Sparks;

/// Frames between two sparks.
const PERIOD: u64 = 15;

fn main() -> AppExit {
    sparks::headless_app()
        .add_plugins(VisualizationPlugin::<Sparks>::new("spark-thrower").publishes::<Spark>())
        .add_systems(Update, throw)
        .run()
}

fn throw(sparks: Res<Sparks>, writer: Res<TopicWriter<Spark>>, mut frame: Local<u64>) {
    *frame += 1;
    if !frame.is_multiple_of(PERIOD) {
        return;
    }
    let number = *frame / PERIOD;
    #[allow(clippy::cast_precision_loss)]
    let angle = number as f32;
    let spark = Spark { number, angle, energy: sparks.energy.midpoint(1.0) };
    if let Err(problem) = writer.publish(&spark) {
        tracing::warn!("{problem}");
    }
}
