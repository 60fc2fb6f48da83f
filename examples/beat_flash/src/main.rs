//! A screen that is white while its one parameter is on.
//!
//! It reports the times of the changes, to measure how precisely a change on the beat is shown.
//!
//! ```text
//! hana set beat_flash lit=on --at next-bar
//! ```
//!
//! For each change, it writes a line with the new state, the time at which its frame was presented, in microseconds
//! of this machine's clock, the beat at that time, and how much the last frames varied: the longest time between two
//! frames (`gap_us`), and the variation of the time from the beginning of a frame to its presentation (`spread_us`).
//! The last two show whether the machine kept up.
//!
//! `HANA_FPS` sets the frames per second, 60 by default. With `HANA_HEADLESS=1`, or on a machine without a screen,
//! the program runs without a window. A frame then counts as presented when it ends.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use bevy::app::{ScheduleRunnerPlugin, TerminalCtrlCHandlerPlugin};
use bevy::log::LogPlugin;
use bevy::prelude::*;
use bevy::render::{Extract, ExtractSchedule, Render, RenderApp, RenderSystems};
use bevy::window::{PresentMode, WindowResolution};
use hana::network::local_us;
use hana::prelude::*;

/// The parameters.
#[derive(Resource, Reflect, Default, Clone, Copy)]
struct Flash {
    lit: bool,
}

/// Size of the window in physical pixels, which is small so that drawing costs little.
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
    .init_resource::<Begun>()
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
                commands.spawn((Camera2d, Msaa::Off));
            })
            .add_systems(Update, draw);
    }
    let plugin = VisualizationPlugin::<Flash>::new("beat_flash").without_notices();
    app.add_plugins(if headless { plugin.headless("no screen") } else { plugin });
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
            title: "beat_flash".into(),
            resolution: WindowResolution::new(SIZE.0, SIZE.1),
            // `HANA_FPS` sets the pace. Waiting for the screen as well would mix the screen's rhythm into it.
            present_mode: PresentMode::AutoNoVsync,
            ..default()
        }),
        ..default()
    }
}

/// The time at which the next frame begins.
#[derive(Resource)]
struct NextFrame {
    at: Instant,
    every: Duration,
}

/// The time at which the current frame began, in microseconds of this machine's clock.
#[derive(Resource, Default, Clone, Copy)]
struct Begun(i64);

fn wait_for_frame(mut next: ResMut<NextFrame>, mut begun: ResMut<Begun>) {
    let now = Instant::now();
    thread::sleep(next.at.saturating_duration_since(now));
    let every = next.every;
    // Missed frames are skipped.
    next.at = if next.at + every < now { now + every } else { next.at + every };
    *begun = Begun(local_us());
}

fn draw(flash: Res<Flash>, mut background: ResMut<ClearColor>) {
    background.0 = if flash.lit { Color::WHITE } else { Color::BLACK };
}

/// The frame that the renderer is drawing.
#[derive(Resource, Default)]
struct Drawn {
    flash: Flash,
    timeline: Timeline,
    begun: Begun,
}

fn take_over(
    flash: Extract<Res<Flash>>,
    timeline: Extract<Res<Timeline>>,
    begun: Extract<Res<Begun>>,
    mut drawn: ResMut<Drawn>,
) {
    *drawn = Drawn { flash: **flash, timeline: **timeline, begun: **begun };
}

/// The last presented state, and the times and delays of the last presented frames, newest first.
#[derive(Resource, Default)]
struct Shown {
    flash: Flash,
    at_us: [i64; 6],
    after_us: [i64; 6],
}

impl Shown {
    fn show(&mut self, Drawn { flash, timeline, begun }: &Drawn) {
        let now = local_us();
        self.at_us.rotate_right(1);
        self.at_us[0] = now;
        self.after_us.rotate_right(1);
        self.after_us[0] = now - begun.0;
        if flash.lit != self.flash.lit && self.at_us.iter().all(|at| *at > 0) {
            let lit = if flash.lit { "on" } else { "off" };
            let beat = timeline.get().beat_at(now);
            let gap = self.at_us.windows(2).map(|of| of[0] - of[1]).max().unwrap_or_default();
            let (least, most) = (self.after_us.iter().min(), self.after_us.iter().max());
            let spread = most.zip(least).map(|(most, least)| most - least).unwrap_or_default();
            // `println` would panic if writing fails.
            let mut out = std::io::stdout();
            writeln!(
                out,
                "lit {lit} at_us {now} beat {beat:.4} gap_us {gap} spread_us {spread} after_us {}",
                self.after_us[0]
            )
            .ok();
        }
        self.flash = *flash;
    }
}

fn show(drawn: Res<Drawn>, mut shown: ResMut<Shown>) {
    shown.show(&drawn);
}

fn show_without_screen(
    flash: Res<Flash>,
    timeline: Res<Timeline>,
    begun: Res<Begun>,
    mut shown: ResMut<Shown>,
) {
    shown.show(&Drawn { flash: *flash, timeline: *timeline, begun: *begun });
}
