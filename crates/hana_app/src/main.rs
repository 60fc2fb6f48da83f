//! `hana-app`: the window for operating a show.
//!
//! It shows all nodes and their health, faults and their causes, the available actions with one key each, and
//! every parameter to play.
//!
//! | folder | holds |
//! |---|---|
//! | `model` | the operator's view of the show, and the effects of keys; pure |
//! | `mesh` | the systems between the mesh and the model |
//! | `input` | keyboard, mouse and sliders |
//! | `panels` | the parts of the window |

mod app_systems;
#[cfg(test)]
mod headless_tests;
mod input;
mod mesh;
mod model;
mod panels;
#[cfg(test)]
mod test_views;
mod theme;

use bevy::log::{DEFAULT_FILTER, LogPlugin};
use bevy::prelude::*;
use bevy::window::WindowResolution;
use bevy::winit::{UpdateMode, WinitSettings};
use hana_network::NodeConfig;
use hana_plugin::ControllerPlugin;
use hana_protocol::id::NodeId;

use crate::mesh::nodes::REDRAW_INTERVAL;

const DEFAULT_SIZE: (u32, u32) = (1280, 720);
const MIN_SIZE: (f32, f32) = (640.0, 400.0);

fn main() -> AppExit {
    // Two operators on two machines need two apps with different ids.
    let id = host_specific_id().unwrap_or_else(|| "app".into());
    App::new()
        .add_plugins((
            DefaultPlugins.set(window_plugin()).set(LogPlugin {
                filter: format!(
                    "{DEFAULT_FILTER},winit=error,bevy_render::renderer=error,zenoh=error"
                ),
                ..default()
            }),
            // The header shows the notices.
            ControllerPlugin::new(&id).without_notices(),
        ))
        .insert_resource(WinitSettings {
            focused_mode: UpdateMode::reactive(REDRAW_INTERVAL),
            unfocused_mode: UpdateMode::reactive(REDRAW_INTERVAL),
        })
        .insert_resource(ClearColor(theme::BACKGROUND))
        .add_plugins((
            app_systems::plugin,
            model::app_model::plugin,
            mesh::nodes::plugin,
            mesh::status::plugin,
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

/// Returns the app's id, which is derived from the host's id in its daemon's configuration.
fn host_specific_id() -> Option<String> {
    let config = NodeConfig::from_environment(NodeId::new("app").ok()?).ok()?;
    Some(format!("app-{}", config.with_host_of_daemon().host()))
}

fn window_plugin() -> WindowPlugin {
    let (width, height) = DEFAULT_SIZE;
    WindowPlugin {
        primary_window: Some(Window {
            title: "hana".into(),
            name: Some("hana-app".into()),
            resolution: WindowResolution::new(width, height),
            resize_constraints: WindowResizeConstraints {
                min_width: MIN_SIZE.0,
                min_height: MIN_SIZE.1,
                ..default()
            },
            ..default()
        }),
        ..default()
    }
}
