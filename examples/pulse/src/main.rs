//! A visualization without window or GPU, which prints the state of a simulated light.
//!
//! It is for trials, and for machines without a screen.

use std::fmt::Arguments;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use bevy_app::{
    App, AppExit, ScheduleRunnerPlugin, TaskPoolPlugin, TerminalCtrlCHandlerPlugin, Update,
};
use bevy_ecs::prelude::*;
use bevy_reflect::Reflect;
use bevy_time::{Time, TimePlugin};
use hana::prelude::*;
use tracing_subscriber::EnvFilter;

/// The same parameters as `ripples`.
#[derive(Resource, Reflect)]
struct Pulse {
    #[reflect(@Description("size of the light"))]
    zoom: f32,
    #[reflect(@Description("how fast it beats; 0 stands still"))]
    speed: f32,
    #[reflect(@Description("colour, once around the wheel"))]
    hue: f32,
    #[reflect(@Description("brightness"))]
    intensity: f32,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { zoom: 0.0, speed: 0.3, hue: 0.0, intensity: 0.5 }
    }
}

/// The number of beats over all instances since a person started the program; the value survives a crash.
#[hana::data]
#[derive(Resource, Default)]
struct Beats {
    count: u64,
}

impl Persist for Beats {
    const NAME: &'static str = "beats";
}

/// Frames per second.
const RATE: f64 = 60.0;

fn main() -> AppExit {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(EnvFilter::new("info,zenoh=warn,zenoh::net::routing=error"))
        // If the output fails, `tracing` would report that on standard error, and panic if that fails too.
        .log_internal_errors(false)
        .init();
    App::new()
        .add_plugins((
            TaskPoolPlugin::default(),
            TimePlugin,
            TerminalCtrlCHandlerPlugin,
            ScheduleRunnerPlugin::run_loop(Duration::from_secs_f64(1.0 / RATE)),
            VisualizationPlugin::<Pulse>::new("pulse").draws_blackout_itself(),
        ))
        .init_resource::<Beats>()
        .persist::<Beats>()
        .add_observer(say_who_i_am)
        .add_systems(
            Update,
            (
                say_what_is_in_force.run_if(resource_changed::<ActiveOverride>),
                say_what_is_played.run_if(resource_changed::<Pulse>),
                beat.run_if(not(is_black)),
                say_the_bar.run_if(on_bar),
            ),
        )
        .run()
}

fn say_who_i_am(connected: On<Connected>, mut was_said: Local<bool>) {
    if !std::mem::replace(&mut *was_said, true) {
        say(format_args!("I am '{}'", connected.node));
    }
}

fn say_what_is_played(pulse: Res<Pulse>) {
    let Pulse { zoom, speed, hue, intensity } = *pulse;
    say(format_args!(
        "zoom {zoom:+.3}  speed {speed:+.3}  hue {hue:+.3}  intensity {intensity:+.3}"
    ));
}

fn say_what_is_in_force(in_force: Res<ActiveOverride>, mut was: Local<ActiveOverride>) {
    if *in_force != *was {
        *was = *in_force;
        match in_force.get() {
            Some(what) => say(format_args!("{what}")),
            None => say(format_args!("resumed")),
        }
    }
}

fn is_black(in_force: Res<ActiveOverride>) -> bool {
    in_force.is_blackout()
}

fn beat(time: Res<Time>, pulse: Res<Pulse>, mut beats: ResMut<Beats>, mut phase: Local<f32>) {
    let before = *phase;
    *phase = pulse.speed.mul_add(time.delta_secs(), before).rem_euclid(1.0);
    if *phase < before && pulse.speed > 0.0 {
        beats.count += 1;
        say(format_args!("beat {}", beats.count));
    }
}

/// Prints a line for each bar while the transport plays.
fn say_the_bar(timeline: Res<Timeline>) {
    if timeline.is_playing() {
        let (beat, bpm) = (timeline.beat(), timeline.bpm());
        say(format_args!("bar at {beat:.0}  {bpm:.2} bpm"));
    }
}

/// Writes a line. Unlike `println`, this does not end the program if the disk is full.
fn say(line: Arguments) {
    writeln!(std::io::stdout(), "{line}").ok();
}
