//! A catcher of the days when the energy of a spark was a word. It cannot read the sparks of today, and says so;
//! flares it still catches.

use bevy_app::AppExit;
use bevy_app::Update;
use bevy_ecs::prelude::*;
use hana_plugin::FromMesh;
use hana_plugin::PeerIncompatible;
use hana_plugin::VisualizationPlugin;
use hana_protocol::Lane;
use hana_protocol::custom_message;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use sparks::CATCHER;
use sparks::Flare;
use sparks::Sparks;

/// A spark as it was.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Spark {
    number: u64,
    angle: f32,
    energy: String,
}

custom_message!(Spark, topic: "spark", lane: Lane::UnreliableUnordered, version: 1);

fn main() -> AppExit {
    sparks::headless_app()
        .add_plugins(
            VisualizationPlugin::<Sparks>::new(CATCHER)
                .draws_blackout_itself()
                .hears::<Spark>()
                .hears::<Flare>(),
        )
        .add_observer(|mismatch: On<PeerIncompatible>| {
            sparks::say!("mismatch: {}", mismatch.0.text);
        })
        .add_systems(Update, catch)
        .run()
}

fn catch(mut sparks: MessageReader<FromMesh<Spark>>, mut flares: MessageReader<FromMesh<Flare>>) {
    for FromMesh { message, .. } in sparks.read() {
        sparks::say!("spark {}: {}", message.number, message.energy);
    }
    for FromMesh { message, .. } in flares.read() {
        sparks::say!("flare {}: {:?}", message.number, message.colour);
    }
}
