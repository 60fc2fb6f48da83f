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
                .insert_resource(RenderedFrame { begun_us: 0, presented })
                .add_systems(ExtractSchedule, extract)
                .add_systems(Render, record_presented.in_set(RenderSystems::Cleanup));
        }
    }
}

/// The frame that the renderer works on.
#[derive(Resource)]
struct RenderedFrame {
    begun_us: i64,
    presented: PresentedAt,
}

fn extract(mut frame: ResMut<RenderedFrame>) {
    frame.begun_us = frame.presented.begun_us();
}

/// Records that the frame's picture was just presented.
fn record_presented(frame: Res<RenderedFrame>) {
    if frame.begun_us > 0 {
        frame.presented.now(frame.begun_us);
    }
}
