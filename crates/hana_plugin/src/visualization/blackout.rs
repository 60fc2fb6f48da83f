//! Black in every window.

use bevy_app::{App, Last};
use bevy_camera::visibility::RenderLayers;
use bevy_camera::{Camera, Camera2d, ClearColorConfig, RenderTarget};
use bevy_color::Color;
use bevy_ecs::prelude::*;
use bevy_render::RenderApp;
use bevy_window::{Window, WindowCreated, WindowRef};

use crate::visualization::active_override::ActiveOverride;
use crate::visualization::blackout_support::CanDrawBlack;

/// A camera of the program that is kept from drawing.
#[derive(Component)]
struct SuspendedCamera {
    /// Whether the program wants it to draw.
    was_active: bool,
}

/// A camera that shows nothing but black in a window.
#[derive(Component)]
struct BlackoutCamera {
    window: Entity,
}

pub(crate) fn build(app: &mut App) {
    // Runs after all systems of the program that change its cameras.
    app.add_systems(
        Last,
        (
            (darken, draw_curtains).run_if(|in_force: Res<ActiveOverride>| in_force.is_blackout()),
            lighten.run_if(|in_force: Res<ActiveOverride>| !in_force.is_blackout()),
        ),
    );
}

/// Finds out, once all plugins are built, whether the program has windows in which this draws.
pub(crate) fn finish(app: &mut App) {
    let has_windows = app.world().contains_resource::<Messages<WindowCreated>>();
    if has_windows && app.get_sub_app(RenderApp).is_some() {
        app.insert_resource(CanDrawBlack);
    }
}

/// Disables every camera of the program that draws into a window.
///
/// Unlike a black overlay, this needs no loading before the first frame, and works with every sample count
/// and texture format.
fn darken(
    mut cameras: Query<
        (Entity, &mut Camera, &RenderTarget, Option<&mut SuspendedCamera>),
        Without<BlackoutCamera>,
    >,
    mut commands: Commands,
) {
    for (entity, mut camera, target, darkened) in &mut cameras {
        if !matches!(target, RenderTarget::Window(_)) {
            continue;
        }
        match darkened {
            None => {
                commands.entity(entity).insert(SuspendedCamera { was_active: camera.is_active });
            },
            Some(mut darkened) if camera.is_active => darkened.was_active = true,
            Some(_) => {},
        }
        if camera.is_active {
            camera.is_active = false;
        }
    }
}

/// Adds a camera that only clears: a window that no camera draws into would keep its last picture.
fn draw_curtains(
    windows: Query<Entity, With<Window>>,
    curtains: Query<(Entity, &BlackoutCamera)>,
    mut commands: Commands,
) {
    for (entity, curtain) in &curtains {
        if !windows.contains(curtain.window) {
            commands.entity(entity).despawn();
        }
    }
    let is_covered = |window| curtains.iter().any(|(_, curtain)| curtain.window == window);
    for window in windows.iter().filter(|window| !is_covered(*window)) {
        commands.spawn((
            BlackoutCamera { window },
            Camera2d,
            // Ordered below all others, so that none of the program's UI chooses this camera.
            Camera {
                order: isize::MIN,
                clear_color: ClearColorConfig::Custom(Color::BLACK),
                ..Camera::default()
            },
            RenderTarget::Window(WindowRef::Entity(window)),
            RenderLayers::none(),
        ));
    }
}

/// Restores the program's cameras.
fn lighten(
    mut cameras: Query<(Entity, &mut Camera, &SuspendedCamera)>,
    curtains: Query<Entity, With<BlackoutCamera>>,
    mut commands: Commands,
) {
    for (entity, mut camera, darkened) in &mut cameras {
        camera.is_active = darkened.was_active;
        commands.entity(entity).remove::<SuspendedCamera>();
    }
    for curtain in &curtains {
        commands.entity(curtain).despawn();
    }
}
