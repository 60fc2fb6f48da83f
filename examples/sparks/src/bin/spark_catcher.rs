//! Catches sparks, whoever throws them, and says so.

use std::io::Write;

use bevy_app::AppExit;
use bevy_app::Update;
use bevy_ecs::prelude::*;
use hana_plugin::FromMesh;
use hana_plugin::VisualizationPlugin;
use sparks::Spark;
use sparks::Sparks;

fn main() -> AppExit {
    sparks::headless_app()
        .add_plugins(VisualizationPlugin::<Sparks>::new("spark-catcher").hears::<Spark>())
        .add_systems(Update, catch)
        .run()
}

fn catch(mut sparks: MessageReader<FromMesh<Spark>>) {
    for FromMesh { envelope, message, .. } in sparks.read() {
        let from = envelope.as_ref().map_or("an unnamed sender", |envelope| envelope.from.as_str());
        // Not `println`, which ends the program when the disk that its output goes to is full.
        writeln!(
            std::io::stdout(),
            "spark {} from {from}: {:.2} rad, energy {:.2}",
            message.number,
            message.angle,
            message.energy
        )
        .ok();
    }
}
