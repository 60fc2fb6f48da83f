//! `hana-app`: the window of whoever runs a show. Who is there and how, what has failed and why, what can be done
//! about it with one key each, and every parameter to play.

mod deeds;
mod desk;
mod keyboard;
mod logs;
mod mouse;
mod operators;
mod screen;
mod sliders;
mod theme;
mod toasts;

use std::time::{Duration, Instant};

use bevy::log::{DEFAULT_FILTER, LogPlugin};
use bevy::prelude::*;
use bevy::window::WindowResolution;
use bevy::winit::{UpdateMode, WinitSettings};
use hana_network::NodeConfig;
use hana_plugin::{ControllerPlugin, MeshNode};
use hana_protocol::id::NodeId;

use crate::desk::AppModel;

/// The window is drawn anew at least as often, so that nothing on it is older.
const REDRAW: Duration = Duration::from_millis(50);
/// Its size where nobody says otherwise.
const SIZE: (u32, u32) = (1280, 720);
const LEAST_SIZE: (f32, f32) = (640.0, 400.0);

fn main() -> AppExit {
    // Two operators on two machines are two apps.
    let id = own_id().unwrap_or_else(|| "app".into());
    App::new()
        .add_plugins((
            DefaultPlugins.set(window_plugin()).set(LogPlugin {
                filter: format!(
                    "{DEFAULT_FILTER},winit=error,bevy_render::renderer=error,zenoh=error"
                ),
                ..default()
            }),
            // Its header says so.
            ControllerPlugin::new(&id).without_notices(),
        ))
        .insert_resource(WinitSettings {
            focused_mode: UpdateMode::reactive(REDRAW),
            unfocused_mode: UpdateMode::reactive(REDRAW),
        })
        .insert_resource(ClearColor(theme::GROUND))
        .init_resource::<AppModel>()
        .add_plugins((
            keyboard::plugin,
            mouse::plugin,
            sliders::plugin,
            logs::plugin,
            operators::plugin,
            deeds::plugin,
        ))
        .add_plugins(screen::plugin)
        .configure_sets(Update, (AppSystems::Look, AppSystems::Act, AppSystems::Draw).chain())
        .add_systems(Update, look.in_set(AppSystems::Look))
        .run()
}

/// Made of the host's id, as the daemon here has it.
fn own_id() -> Option<String> {
    let config = NodeConfig::from_environment(NodeId::new("app").ok()?).ok()?;
    Some(format!("app-{}", config.with_host_of_daemon().host()))
}

/// What happens in a frame, one after the other.
#[derive(SystemSet, Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum AppSystems {
    /// Who is there.
    Look,
    /// What the operator does.
    Act,
    /// What the window shows of it.
    Draw,
}

fn window_plugin() -> WindowPlugin {
    let (width, height) = SIZE;
    WindowPlugin {
        primary_window: Some(Window {
            title: "hana".into(),
            name: Some("hana-app".into()),
            resolution: WindowResolution::new(width, height),
            resize_constraints: WindowResizeConstraints {
                min_width: LEAST_SIZE.0,
                min_height: LEAST_SIZE.1,
                ..default()
            },
            ..default()
        }),
        ..default()
    }
}

fn look(nodes: Query<&MeshNode>, mut desk: ResMut<AppModel>, mut looked: Local<Option<Instant>>) {
    let now = Instant::now();
    if looked.is_some_and(|at| now.saturating_duration_since(at) < REDRAW) {
        return;
    }
    *looked = Some(now);
    desk.see(nodes.iter().map(|node| (**node).clone()).collect(), now);
}
