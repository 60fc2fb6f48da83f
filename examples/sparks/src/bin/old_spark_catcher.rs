//! A catcher of the former version, in which a spark's energy was a word.
//!
//! It reports that it cannot decode current sparks, and still catches flares.

use bevy_app::{AppExit, Update};
use bevy_ecs::prelude::*;
use hana::prelude::*;
use sparks::{CATCHER, Flare, Sparks};

/// A spark of the former version.
#[hana::message(lane = UnreliableUnordered, version = 1)]
#[derive(Debug, Clone)]
struct Spark {
    number: u64,
    angle: f32,
    energy: String,
}

fn main() -> AppExit {
    sparks::headless_app()
        .add_plugins(VisualizationPlugin::<Sparks>::new(CATCHER).draws_blackout_itself())
        .subscribe::<Spark>()
        .subscribe::<Flare>()
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
