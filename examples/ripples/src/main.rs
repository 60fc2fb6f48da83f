//! Rings of light on dark water, played by four parameters.
//!
//! With `HANA_HEADLESS=1`, or on a machine without a display, it runs without window and GPU; `hana nodes` reports
//! that. `HANA_WINDOW=640x360` sets the size of its window.

mod water;

use std::io::Write;
use std::time::Duration;

use bevy::app::{ScheduleRunnerPlugin, TerminalCtrlCHandlerPlugin};
use bevy::log::{DEFAULT_FILTER, LogPlugin, tracing_subscriber};
use bevy::prelude::*;
use bevy::window::{PresentMode, WindowResolution};
use hana::prelude::*;

use crate::water::{Ripples, SurfacePlugin, WaterPlugin};

/// Size of the window in physical pixels if `HANA_WINDOW` is not set.
const DEFAULT_SIZE: (u32, u32) = (1280, 720);

/// Frames per second without a window. With a window, the screen sets the pace.
const HEADLESS_RATE: f64 = 60.0;

fn main() -> AppExit {
    let mut app = App::new();
    let mut plugin = VisualizationPlugin::<Ripples>::new("ripples");
    if let Err(cause) = find_display() {
        write_line(&cause);
        if !cause.is_headless() {
            return AppExit::error();
        }
        plugin = plugin.headless(cause.to_string());
        let frame = Duration::from_secs_f64(HEADLESS_RATE.recip());
        app.add_plugins((
            MinimalPlugins.set(ScheduleRunnerPlugin::run_loop(frame)),
            log_plugin(),
            TerminalCtrlCHandlerPlugin,
        ));
    } else {
        let plugins = DefaultPlugins.set(window_plugin()).set(log_plugin());
        app.add_plugins((plugins, SurfacePlugin));
    }
    app.add_plugins((WaterPlugin, plugin)).run()
}

/// Logs the reason why there is no window. Unlike `eprintln`, this does not panic if writing fails.
fn write_line(cause: &NoDisplay) {
    writeln!(std::io::stderr(), "ripples: {cause}").ok();
}

/// Keeps routine messages of the window system and the mesh out of the show's log.
fn log_plugin() -> LogPlugin {
    let quiet = "winit=error,bevy_render::renderer=error,zenoh=warn,zenoh::net::routing=error";
    LogPlugin {
        filter: format!("{DEFAULT_FILTER},{quiet}"),
        // This is Bevy's own layer, except that a full disk does not end the program.
        fmt_layer: |_| {
            let layer = tracing_subscriber::fmt::Layer::default();
            Some(Box::new(layer.with_writer(std::io::stderr).log_internal_errors(false)))
        },
        ..default()
    }
}

fn window_plugin() -> WindowPlugin {
    let (width, height) = std::env::var("HANA_WINDOW")
        .ok()
        .and_then(|size| parse_size(&size))
        .unwrap_or(DEFAULT_SIZE);
    WindowPlugin {
        primary_window: Some(Window {
            title: "ripples".into(),
            name: Some("ripples".into()),
            resolution: WindowResolution::new(width, height),
            present_mode: PresentMode::AutoVsync,
            ..default()
        }),
        ..default()
    }
}

/// Parses `WIDTHxHEIGHT`. Returns `None` unless both are positive integers.
fn parse_size(size: &str) -> Option<(u32, u32)> {
    let (width, height) = size.split_once('x')?;
    let (width, height) = (width.parse().ok()?, height.parse().ok()?);
    (width > 0 && height > 0).then_some((width, height))
}
