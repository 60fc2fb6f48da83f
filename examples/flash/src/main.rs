//! A screen that is white while its one parameter is on, and says when that was seen: to look how exactly a change on the
//! beat is shown.
//!
//!     hana set flash lit=on --at next-bar
//!
//! For each change it writes a line: what it shows, when the frame with it was handed to the screen, and when the one
//! before, in microseconds of this machine's clock; and on which beat that was. `HANA_FPS` sets how many frames it draws in
//! a second, 60 otherwise; `HANA_HEADLESS=1`, and a machine without a screen, runs it without a window: then a frame is
//! shown when it is over.

use std::io::Write;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use bevy::app::{ScheduleRunnerPlugin, TerminalCtrlCHandlerPlugin};
use bevy::log::LogPlugin;
use bevy::prelude::*;
use bevy::render::{Extract, ExtractSchedule, Render, RenderApp, RenderSystems};
use bevy::window::{PresentMode, WindowResolution};
use hana_network::local_us;
use hana_plugin::{Timeline, VisualizationPlugin};

/// What can be played.
#[derive(Resource, Reflect, Default, Clone, Copy)]
struct Flash {
    lit: bool,
}

/// Size of the window, in physical pixels: small, so that drawing it costs nothing.
const SIZE: (u32, u32) = (160, 90);
const LOG: &str = "warn,winit=error,bevy_render::renderer=error,zenoh=error";

fn main() -> AppExit {
    let headless = std::env::var_os("HANA_HEADLESS").is_some_and(|value| value == "1")
        || (cfg!(target_os = "linux") && std::env::var_os("DISPLAY").is_none());
    let fps = std::env::var("HANA_FPS").ok().and_then(|fps| fps.parse().ok()).unwrap_or(60.0_f64);
    let log = LogPlugin { filter: LOG.into(), ..default() };
    let mut app = App::new();
    app.insert_resource(NextFrame {
        at: Instant::now(),
        every: Duration::from_secs_f64(1.0 / fps),
    })
    .add_systems(First, wait_for_frame);
    if headless {
        app.add_plugins((
            MinimalPlugins.set(ScheduleRunnerPlugin::run_loop(Duration::ZERO)),
            log,
            TerminalCtrlCHandlerPlugin,
        ))
        .init_resource::<Shown>()
        .add_systems(Last, show_without_screen);
    } else {
        app.add_plugins(DefaultPlugins.set(log).set(window()));
        app.insert_resource(ClearColor(Color::BLACK))
            .add_systems(Startup, |mut commands: Commands| {
                commands.spawn(Camera2d);
            })
            .add_systems(Update, draw);
    }
    app.add_plugins(VisualizationPlugin::<Flash>::new("flash"));
    if let Some(renderer) = app.get_sub_app_mut(RenderApp) {
        renderer
            .init_resource::<Shown>()
            .init_resource::<Drawn>()
            .add_systems(ExtractSchedule, take_over)
            .add_systems(Render, show.in_set(RenderSystems::Cleanup));
    }
    app.run()
}

fn window() -> WindowPlugin {
    WindowPlugin {
        primary_window: Some(Window {
            title: "flash".into(),
            resolution: WindowResolution::new(SIZE.0, SIZE.1),
            // `HANA_FPS` paces it; to wait for the screen as well would add its rhythm to that.
            present_mode: PresentMode::AutoNoVsync,
            ..default()
        }),
        ..default()
    }
}

/// When the next frame begins.
#[derive(Resource)]
struct NextFrame {
    at: Instant,
    every: Duration,
}

fn wait_for_frame(mut next: ResMut<NextFrame>) {
    let now = Instant::now();
    thread::sleep(next.at.saturating_duration_since(now));
    let every = next.every;
    // Frames that were missed are not made up for.
    next.at = if next.at + every < now { now + every } else { next.at + every };
}

fn draw(flash: Res<Flash>, mut background: ResMut<ClearColor>) {
    background.0 = if flash.lit { Color::WHITE } else { Color::BLACK };
}

/// What the renderer works on.
#[derive(Resource, Default)]
struct Drawn {
    flash: Flash,
    timeline: Timeline,
}

fn take_over(
    flash: Extract<Res<Flash>>,
    timeline: Extract<Res<Timeline>>,
    mut drawn: ResMut<Drawn>,
) {
    *drawn = Drawn { flash: **flash, timeline: **timeline };
}

/// What was shown last, and when.
#[derive(Resource, Default)]
struct Shown {
    flash: Flash,
    at_us: i64,
}

impl Shown {
    fn show(&mut self, flash: Flash, timeline: &Timeline) {
        let now = local_us();
        if flash.lit != self.flash.lit && self.at_us > 0 {
            let lit = if flash.lit { "on" } else { "off" };
            let (before, beat) = (self.at_us, timeline.get().beat_at(now));
            // Not `println`, which panics where it cannot be written.
            writeln!(std::io::stdout(), "lit {lit} at_us {now} before_us {before} beat {beat:.4}")
                .ok();
        }
        *self = Self { flash, at_us: now };
    }
}

fn show(drawn: Res<Drawn>, mut shown: ResMut<Shown>) {
    shown.show(drawn.flash, &drawn.timeline);
}

fn show_without_screen(flash: Res<Flash>, timeline: Res<Timeline>, mut shown: ResMut<Shown>) {
    shown.show(*flash, &timeline);
}
