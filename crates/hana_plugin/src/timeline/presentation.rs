//! The time at which a frame is presented.

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_render::{ExtractSchedule, Render, RenderApp, RenderSystems};

use crate::timeline::frame_clock::PresentedAt;

pub(crate) fn build(app: &mut App) {
    app.add_plugins(PresentationPlugin);
}

/// Hooks into the renderer, if there is one, once all plugins are built.
struct PresentationPlugin;

impl Plugin for PresentationPlugin {
    fn build(&self, _: &mut App) {}

    fn finish(&self, app: &mut App) {
        let Some(presented) = app.world().get_resource::<PresentedAt>().cloned() else { return };
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
    presented: PresentedAt,
}

fn take_over(mut at_work: ResMut<AtWork>) {
    at_work.begun_us = at_work.presented.begun_us();
}

/// Records that the frame's picture was just presented.
fn tell(at_work: Res<AtWork>) {
    if at_work.begun_us > 0 {
        at_work.presented.now(at_work.begun_us);
    }
}
