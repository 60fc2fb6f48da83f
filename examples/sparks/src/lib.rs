//! Custom message types between visualizations, on one machine or several: published, sent to all nodes of a kind,
//! and sent to a single node.

use std::io::IsTerminal;
use std::time::Duration;

use bevy_app::{App, ScheduleRunnerPlugin, TaskPoolPlugin, TerminalCtrlCHandlerPlugin};
use bevy_reflect::Reflect;
use tracing_subscriber::EnvFilter;

/// A spark that flew off. Published to all subscribers.
#[hana::message(lane = UnreliableUnordered, version = 2)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spark {
    /// Number of sparks that flew before it.
    pub number: u64,
    /// Direction of its flight, in radians.
    pub angle: f32,
    /// Brightness, 0 to 1.
    pub energy: f32,
}

/// A bright flare. Sent to all catchers.
#[hana::message(lane = ReliableOrdered)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flare {
    /// Number of flares that flew before it.
    pub number: u64,
    /// The element that burns in it.
    pub colour: Colour,
}

/// The element that burns in a [`Flare`].
#[hana::data]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    /// Strontium burns red.
    Red,
    /// Barium burns green.
    Green,
}

/// A report that a flare was caught. Sent to its thrower, which acknowledges it.
#[hana::message(lane = ReliableUnordered)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caught {
    /// The number of the flare.
    pub number: u64,
}

/// The kind of all catchers, whatever their ids.
pub const CATCHER: &str = "spark-catcher";

/// The parameters of the thrower and the catcher.
#[derive(bevy_ecs::prelude::Resource, Reflect, Default)]
pub struct Sparks {
    /// The brightness of the sparks.
    pub energy: f32,
}

/// Prints a line. Unlike `println`, this does not end the program if the disk is full.
#[macro_export]
macro_rules! say {
    ($($words:tt)*) => {{
        use ::std::io::Write;
        ::std::writeln!(::std::io::stdout(), $($words)*).ok();
    }};
}

/// Creates a program without a window, which runs sixty frames a second.
pub fn headless_app() -> App {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(EnvFilter::new("info,zenoh=warn,zenoh::net::routing=error"))
        // Without this, a full disk would end the program.
        .log_internal_errors(false)
        .init();
    let mut app = App::new();
    app.add_plugins((
        TaskPoolPlugin::default(),
        TerminalCtrlCHandlerPlugin,
        ScheduleRunnerPlugin::run_loop(Duration::from_micros(16_667)),
    ));
    app
}
