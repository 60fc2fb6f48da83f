//! A visualization that fails on command, in every possible way: for testing how a show copes.
//!
//! It does nothing, twenty times a second, until there is a file with its id as name in the folder
//! `STUMBLE_DIR`. It removes the file and fails as the file's content specifies: `exit CODE`, `panic`,
//! `segv`, `abort`, `freeze` (its loop sleeps for ever, its network goes on), `slow` (two frames a second).
//! `STUMBLE_START` makes it fail earlier: `never` never joins the mesh, `crash` exits with code 1 at once.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs, thread};

use bevy_app::{
    App, AppExit, ScheduleRunnerPlugin, TaskPoolPlugin, TerminalCtrlCHandlerPlugin, Update,
};
use bevy_ecs::prelude::*;
use bevy_reflect::Reflect;
use hana::prelude::*;
use tracing_subscriber::EnvFilter;

/// The parameters.
#[derive(Resource, Reflect, Default)]
struct Stumble {
    zoom: f32,
}

/// Frame interval.
const FRAME: Duration = Duration::from_millis(50);
/// Frame interval once it has become slow.
const SLOW_FRAME: Duration = Duration::from_millis(500);
/// How slowly it returns to its defaults when its controller is gone.
const EASE: Duration = Duration::from_secs(2);
/// Longer than any test waits.
const FOR_EVER: Duration = Duration::from_hours(24);

fn main() -> ExitCode {
    match env::var("STUMBLE_START").as_deref() {
        Ok("never") => thread::sleep(FOR_EVER),
        Ok("crash") => return ExitCode::FAILURE,
        _ => {},
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(EnvFilter::new("warn,zenoh=error"))
        .log_internal_errors(false)
        .init();
    let exit = App::new()
        .add_plugins((
            TaskPoolPlugin::default(),
            TerminalCtrlCHandlerPlugin,
            ScheduleRunnerPlugin::run_loop(FRAME),
            VisualizationPlugin::<Stumble>::new("stumble")
                .draws_blackout_itself()
                .on_controller_lost(OnControllerLost::FadeToDefault(EASE)),
        ))
        .add_systems(Update, stumble)
        .run();
    match exit {
        AppExit::Success => ExitCode::SUCCESS,
        AppExit::Error(code) => ExitCode::from(code.get()),
    }
}

/// Fails once, as the file's content specifies.
// The panic is intended.
#[allow(clippy::panic)]
fn stumble(
    link: Res<MeshSession<role::Visualization>>,
    mut exits: MessageWriter<AppExit>,
    mut is_slow: Local<bool>,
) {
    if *is_slow {
        thread::sleep(SLOW_FRAME);
    }
    let Some(node) = link.node() else { return };
    let Some(file) =
        env::var_os("STUMBLE_DIR").map(|dir| PathBuf::from(dir).join(node.id().as_str()))
    else {
        return;
    };
    let Ok(how) = fs::read_to_string(&file) else { return };
    if fs::remove_file(&file).is_err() {
        return;
    }
    match how.trim() {
        "panic" => panic!("stumbled, as it was told"),
        "segv" => segmentation_fault(),
        "abort" => std::process::abort(),
        "freeze" => thread::sleep(FOR_EVER),
        "slow" => *is_slow = true,
        exit => {
            let code = exit.strip_prefix("exit ").and_then(|code| code.parse().ok()).unwrap_or(1);
            exits.write(AppExit::from_code(code));
        },
    }
}

/// Ends as after an access through an invalid pointer, without one.
fn segmentation_fault() {
    // The first signal only removes Rust's handler for stack overflows; two pending signals merge into one.
    #[cfg(unix)]
    loop {
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::SEGV).ok();
        thread::sleep(Duration::from_millis(10));
    }
    #[cfg(not(unix))]
    std::process::abort();
}
