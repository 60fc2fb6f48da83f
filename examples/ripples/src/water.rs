//! The water: its parameters, its motion and its drawing.

use std::f32::consts::TAU;

use bevy::asset::embedded_asset;
use bevy::camera::ScalingMode;
use bevy::core_pipeline::tonemapping::Tonemapping;
use bevy::prelude::*;
use bevy::render::render_resource::{AsBindGroup, ShaderType};
use bevy::shader::ShaderRef;
use bevy::sprite_render::{Material2d, Material2dPlugin};
use hana::prelude::*;

/// Distance between two rings at `zoom` 0, in window heights.
const SPACING: f32 = 1.0 / 12.0;

/// Rings that leave the centre each second at `speed` 1.
const RATE: f32 = 1.0;

/// Extra brightness at the beginning of a bar while the transport plays; `BEAT` is that of the other beats.
const BAR: f32 = 1.2;
const BEAT: f32 = 0.5;

/// Number of rings after which the whole picture repeats.
const LOOP: f32 = 64.0;

/// The parameters. Each value is -1..1; a value outside is clamped.
#[derive(Resource, Reflect, Debug, Clone, Copy, PartialEq)]
#[reflect(Resource)]
pub(crate) struct Ripples {
    /// Distance between two rings: `height / 12 * 2^zoom` pixels, `height` being that of the window.
    #[reflect(@Description("distance of the rings: double at 1, half at -1"))]
    pub(crate) zoom: f32,
    /// Rings that leave the centre each second; negative values move them inwards, and at 0 the picture stands still.
    #[reflect(@Description("how fast the rings spread; 0 stands still"))]
    pub(crate) speed: f32,
    /// Turns every colour by `180 degrees * hue` around the colour wheel (HSV of sRGB).
    #[reflect(@Description("turns all colours, half the wheel at 1"))]
    pub(crate) hue: f32,
    /// Brightness, from black at -1 to full glow at 1.
    #[reflect(@Description("from black to full glow"))]
    pub(crate) intensity: f32,
}

impl Default for Ripples {
    fn default() -> Self {
        Self { zoom: 0.0, speed: 0.3, hue: 0.0, intensity: 0.5 }
    }
}

/// Moves the water according to [`Ripples`]. Needs no window and no GPU.
pub(crate) struct WaterPlugin;

impl Plugin for WaterPlugin {
    fn build(&self, app: &mut App) {
        app.register_type::<Ripples>()
            .init_resource::<Ripples>()
            .init_resource::<Phase>()
            .init_resource::<Pulse>()
            .add_systems(Update, (flow, pulse));
    }
}

/// Extra brightness from the beat, which rises with each beat and has vanished before the next one.
///
/// It is 0 while the transport does not play, and at `speed` 0, where the picture stands still.
#[derive(Resource, Default, PartialEq)]
struct Pulse(f32);

// The position in a beat does not need more precision than that of an `f32`.
#[allow(clippy::cast_possible_truncation)]
fn pulse(timeline: Res<Timeline>, ripples: Res<Ripples>, mut pulse: ResMut<Pulse>) {
    let next = if timeline.is_playing() && ripples.speed != 0.0 {
        let phase = timeline.phase();
        let height = if phase < 1.0 { BAR } else { BEAT };
        height * (1.0 - phase.fract() as f32).powi(3)
    } else {
        0.0
    };
    pulse.set_if_neq(Pulse(next));
}

/// Number of rings that have left the centre, 0..[`LOOP`].
///
/// All motion in the picture is derived from it, so that no pixel changes at `speed` 0.
#[derive(Resource, Default, PartialEq)]
struct Phase(f32);

fn flow(time: Res<Time>, ripples: Res<Ripples>, mut phase: ResMut<Phase>) {
    let rings = time.delta_secs() * ripples.speed.clamp(-1.0, 1.0) * RATE;
    let next = Phase((phase.0 + rings).rem_euclid(LOOP));
    phase.set_if_neq(next);
}

/// Draws the water over the whole window.
pub(crate) struct SurfacePlugin;

impl Plugin for SurfacePlugin {
    fn build(&self, app: &mut App) {
        embedded_asset!(app, "water.wgsl");
        let played_or_moved = resource_changed::<Ripples>
            .or_else(resource_changed::<Phase>)
            .or_else(resource_changed::<Pulse>);
        app.add_plugins(Material2dPlugin::<Water>::default())
            .insert_resource(ClearColor(Color::BLACK))
            .add_systems(Startup, spawn_surface)
            .add_systems(PostUpdate, shine.run_if(played_or_moved));
    }
}

/// The material of the surface.
#[derive(Asset, TypePath, AsBindGroup, Clone, Default)]
struct Water {
    #[uniform(0)]
    light: Light,
}

/// The shader's uniforms, with the same layout as `Light` in `water.wgsl`.
#[derive(ShaderType, Clone, Copy, Default)]
struct Light {
    /// The lesser sources, as returned by [`LesserSource::at`].
    lesser: [Vec4; 4],
    /// Distance between two rings, in window heights.
    spacing: f32,
    /// Number of rings that have left the centre.
    phase: f32,
    /// Rotation of the colour wheel, in whole turns.
    hue: f32,
    /// Brightness, 0..1, or more on a beat.
    glow: f32,
}

/// A source that circles the one in the centre. Lengths are counted in rings.
struct LesserSource {
    distance: f32,
    /// Angle at which it starts on its circle, in radians.
    start: f32,
    /// Number of revolutions in a [`LOOP`]. It must be whole, so that the loop closes.
    rounds: f32,
    /// Number of its waves between two rings.
    density: f32,
    /// Number of waves that leave it while one ring leaves the centre. It must be whole, so that the loop closes.
    beat: f32,
}

/// Sources chosen by eye: two as coarse as the rings, which they pull into webs, and two finer ones for detail.
const LESSER_SOURCES: [LesserSource; 4] = [
    LesserSource { distance: 4.6, start: 0.9, rounds: 1.0, density: 1.0, beat: 1.0 },
    LesserSource { distance: 6.1, start: 3.6, rounds: -1.0, density: 1.0, beat: 1.0 },
    LesserSource { distance: 3.4, start: 5.2, rounds: 2.0, density: 2.0, beat: 1.0 },
    LesserSource { distance: 8.3, start: 2.3, rounds: 1.0, density: 3.0, beat: 2.0 },
];

impl LesserSource {
    /// Returns the vector for the shader: position (x, y), density, and the number of waves that have left the
    /// source.
    fn at(&self, phase: f32) -> Vec4 {
        let angle = (self.rounds * phase / LOOP).mul_add(TAU, self.start);
        let position = self.distance * Vec2::from_angle(angle);
        position.extend(self.density).extend(self.beat * phase)
    }
}

impl Material2d for Water {
    fn fragment_shader() -> ShaderRef {
        "embedded://ripples/water.wgsl".into()
    }
}

fn spawn_surface(
    mut commands: Commands,
    mut meshes: ResMut<Assets<Mesh>>,
    mut materials: ResMut<Assets<Water>>,
) {
    // The camera sees one unit in each direction, whatever the shape of the window, so a unit square fills it.
    let projection = OrthographicProjection {
        scaling_mode: ScalingMode::Fixed { width: 1.0, height: 1.0 },
        ..OrthographicProjection::default_2d()
    };
    // The shader's colours are final: a tone curve would change their hue.
    commands.spawn((Camera2d, Projection::Orthographic(projection), Msaa::Off, Tonemapping::None));
    commands.spawn((
        Mesh2d(meshes.add(Rectangle::default())),
        MeshMaterial2d(materials.add(Water::default())),
    ));
}

fn shine(
    ripples: Res<Ripples>,
    phase: Res<Phase>,
    pulse: Res<Pulse>,
    mut materials: ResMut<Assets<Water>>,
) {
    let light = Light {
        lesser: LESSER_SOURCES.map(|source| source.at(phase.0)),
        spacing: SPACING * ripples.zoom.clamp(-1.0, 1.0).exp2(),
        phase: phase.0,
        hue: ripples.hue.clamp(-1.0, 1.0) / 2.0,
        glow: f32::midpoint(ripples.intensity.clamp(-1.0, 1.0), 1.0) * (1.0 + pulse.0),
    };
    for (_, water) in materials.iter_mut() {
        water.light = light;
    }
}
