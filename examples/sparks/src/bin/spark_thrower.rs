//! Publishes a spark every quarter of a second, and sends a flare to all catchers every second.

use bevy_app::{AppExit, Update};
use bevy_ecs::prelude::*;
use hana::prelude::*;
use sparks::{CATCHER, Caught, Colour, Flare, Spark, Sparks};

/// Number of frames between two sparks.
const PERIOD: u64 = 15;
/// Number of sparks between two flares.
const SPARKS: u64 = 4;

fn main() -> AppExit {
    sparks::headless_app()
        .add_plugins(VisualizationPlugin::<Sparks>::new("spark-thrower").draws_blackout_itself())
        .publish::<Spark>()
        .publish::<Flare>()
        .subscribe::<Caught>()
        .add_systems(Update, (throw, report_caught))
        .run()
}

fn throw(
    sparks: Res<Sparks>,
    spark_writer: Res<TopicWriter<Spark>>,
    flare_writer: Res<TopicWriter<Flare>>,
    mut frame: Local<u64>,
) {
    *frame += 1;
    if !frame.is_multiple_of(PERIOD) {
        return;
    }
    let number = *frame / PERIOD;
    #[allow(clippy::cast_precision_loss)]
    let angle = number as f32;
    let spark = Spark { number, angle, energy: sparks.energy.midpoint(1.0) };
    if let Err(problem) = spark_writer.publish(&spark) {
        tracing::warn!("{problem}");
    }
    if number.is_multiple_of(SPARKS)
        && let Ok(catchers) = NodeId::new(CATCHER)
    {
        let number = number / SPARKS;
        let colour = if number.is_multiple_of(2) { Colour::Green } else { Colour::Red };
        if let Err(problem) = flare_writer.send_to_kind(&catchers, &Flare { number, colour }) {
            tracing::warn!("{problem}");
        }
    }
}

fn report_caught(mut caught: MessageReader<FromMesh<Caught>>) {
    for caught in caught.read() {
        let by = caught.sender().map_or("an unnamed program", NodeId::as_str);
        sparks::say!("flare {} was caught by {by}", caught.message.number);
    }
}
