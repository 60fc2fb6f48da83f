//! When a frame is handed to the screen.

use std::sync::Arc;

use bevy_app::App;
use bevy_app::Plugin;
use bevy_ecs::prelude::*;
use bevy_render::Extract;
use bevy_render::ExtractSchedule;
use bevy_render::Render;
use bevy_render::RenderApp;
use bevy_render::RenderSystems;

use crate::timeline::Pace;
use crate::timeline::Presented;

pub(crate) fn build(app: &mut App) {
    app.add_plugins(PresentationPlugin);
}

/// Looks at the renderer, if there is one, once all plugins are there.
struct PresentationPlugin;

impl Plugin for PresentationPlugin {
    fn build(&self, _: &mut App) {}

    fn finish(&self, app: &mut App) {
        let Some(pace) = app.world().get_resource::<Pace>() else { return };
        let presented = Arc::clone(&pace.presented);
        if let Some(renderer) = app.get_sub_app_mut(RenderApp) {
            renderer
                .insert_resource(AtWork { begun_us: 0, presented })
                .add_systems(ExtractSchedule, take_over)
                .add_systems(Render, tell.in_set(RenderSystems::Cleanup));
        }
    }
}

/// The frame that the renderer works on.
#[derive(Resource)]
struct AtWork {
    begun_us: i64,
    presented: Arc<Presented>,
}

fn take_over(pace: Extract<Res<Pace>>, mut at_work: ResMut<AtWork>) {
    at_work.begun_us = pace.begun_us();
}

/// Its picture has just been handed over.
fn tell(at_work: Res<AtWork>) {
    if at_work.begun_us > 0 {
        at_work.presented.now(at_work.begun_us);
    }
}
