//! `hana-app`: the window for operating a show.
//!
//! It shows all nodes and their health, faults and their causes, the remedies with one key each, and every
//! parameter to play.

mod app_systems;
mod input;
mod mesh;
mod model;
mod panels;
mod theme;

use bevy::log::{DEFAULT_FILTER, LogPlugin};
use bevy::prelude::*;
use bevy::window::WindowResolution;
use bevy::winit::{UpdateMode, WinitSettings};
use hana_network::NodeConfig;
use hana_plugin::ControllerPlugin;
use hana_protocol::id::NodeId;

use crate::app_systems::AppSystems;
use crate::mesh::nodes::REDRAW;

/// The default size of the window.
const SIZE: (u32, u32) = (1280, 720);
const LEAST_SIZE: (f32, f32) = (640.0, 400.0);

fn main() -> AppExit {
    // Two operators on two machines need two apps with different ids.
    let id = own_id().unwrap_or_else(|| "app".into());
    App::new()
        .add_plugins((
            DefaultPlugins.set(window_plugin()).set(LogPlugin {
                filter: format!(
                    "{DEFAULT_FILTER},winit=error,bevy_render::renderer=error,zenoh=error"
                ),
                ..default()
            }),
            // The header shows them.
            ControllerPlugin::new(&id).without_notices(),
        ))
        .insert_resource(WinitSettings {
            focused_mode: UpdateMode::reactive(REDRAW),
            unfocused_mode: UpdateMode::reactive(REDRAW),
        })
        .insert_resource(ClearColor(theme::GROUND))
        .configure_sets(Update, (AppSystems::Look, AppSystems::Act, AppSystems::Draw).chain())
        .add_plugins((
            mesh::nodes::plugin,
            mesh::operators::plugin,
            mesh::logs::plugin,
            mesh::effects::plugin,
            input::keyboard::plugin,
            input::mouse::plugin,
            input::slider::plugin,
            panels::layout::plugin,
        ))
        .run()
}

/// Returns the app's id, derived from the host's id as its daemon has it.
fn own_id() -> Option<String> {
    let config = NodeConfig::from_environment(NodeId::new("app").ok()?).ok()?;
    Some(format!("app-{}", config.with_host_of_daemon().host()))
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
