//! Catches sparks from all throwers and prints them, and reports each caught flare to its thrower.

use bevy_app::{AppExit, Update};
use bevy_ecs::prelude::*;
use hana::prelude::*;
use sparks::{CATCHER, Caught, Flare, Spark, Sparks};

fn main() -> AppExit {
    sparks::headless_app()
        .add_plugins(VisualizationPlugin::<Sparks>::new(CATCHER).draws_blackout_itself())
        .subscribe::<Spark>()
        .subscribe::<Flare>()
        .publish::<Caught>()
        .add_systems(Update, (catch, catch_flares))
        .run()
}

fn catch(mut sparks: MessageReader<FromMesh<Spark>>) {
    for spark in sparks.read() {
        let from = spark.sender().map_or("an unnamed sender", NodeId::as_str);
        let audience = spark.recipients();
        let Spark { number, angle, energy } = spark.message;
        sparks::say!(
            "spark {number} from {from}: {angle:.2} rad, energy {energy:.2}, to {audience:?}"
        );
    }
}

fn catch_flares(mut flares: MessageReader<FromMesh<Flare>>, writer: Res<TopicWriter<Caught>>) {
    for flare in flares.read() {
        let Flare { number, colour } = flare.message;
        sparks::say!("flare {number}: {colour:?}, to {:?}", flare.recipients());
        let Some(thrower) = flare.sender() else { continue };
        if let Err(problem) = writer.send_to(thrower, &Caught { number }) {
            tracing::warn!("{problem}");
        }
    }
}
