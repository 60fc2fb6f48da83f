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
    /// Whether the camera was active before it was suspended.
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
            (suspend_cameras, cover_windows)
                .run_if(|active: Res<ActiveOverride>| active.is_blackout()),
            restore_cameras.run_if(|active: Res<ActiveOverride>| !active.is_blackout()),
        ),
    );
}

/// Determines, once all plugins are built, whether the program has windows in which the plugin can draw black.
pub(crate) fn finish(app: &mut App) {
    let has_windows = app.world().contains_resource::<Messages<WindowCreated>>();
    if has_windows && app.get_sub_app(RenderApp).is_some() {
        app.insert_resource(CanDrawBlack);
    }
}

/// Disables every camera of the program that draws into a window.
///
/// Unlike a black overlay, a disabled camera needs no loading before the first frame, and works with every sample
/// count and texture format.
fn suspend_cameras(
    mut cameras: Query<
        (Entity, &mut Camera, &RenderTarget, Option<&mut SuspendedCamera>),
        Without<BlackoutCamera>,
    >,
    mut commands: Commands,
) {
    for (entity, mut camera, target, suspended) in &mut cameras {
        if !matches!(target, RenderTarget::Window(_)) {
            continue;
        }
        match suspended {
            None => {
                commands.entity(entity).insert(SuspendedCamera { was_active: camera.is_active });
            },
            Some(mut suspended) if camera.is_active => suspended.was_active = true,
            Some(_) => {},
        }
        if camera.is_active {
            camera.is_active = false;
        }
    }
}

/// Adds a camera that only clears: a window that no camera draws into would keep its last picture.
fn cover_windows(
    windows: Query<Entity, With<Window>>,
    covers: Query<(Entity, &BlackoutCamera)>,
    mut commands: Commands,
) {
    for (entity, cover) in &covers {
        if !windows.contains(cover.window) {
            commands.entity(entity).despawn();
        }
    }
    let is_covered = |window| covers.iter().any(|(_, cover)| cover.window == window);
    for window in windows.iter().filter(|window| !is_covered(*window)) {
        commands.spawn((
            BlackoutCamera { window },
            Camera2d,
            // Ordered below all other cameras, so that none of the program's UI chooses this camera.
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
fn restore_cameras(
    mut cameras: Query<(Entity, &mut Camera, &SuspendedCamera)>,
    covers: Query<Entity, With<BlackoutCamera>>,
    mut commands: Commands,
) {
    for (entity, mut camera, suspended) in &mut cameras {
        camera.is_active = suspended.was_active;
        commands.entity(entity).remove::<SuspendedCamera>();
    }
    for cover in &covers {
        commands.entity(cover).despawn();
    }
}
