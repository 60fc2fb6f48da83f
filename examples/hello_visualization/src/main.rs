//! The shortest possible visualization: a window whose colour is played.
//!
//! Run it, then: `hana set hello brightness=1 hue=-0.5`

use bevy::prelude::*;
use hana::prelude::*;

#[derive(Resource, Reflect, Default)]
struct Hello {
    brightness: f32,
    hue: f32,
}

fn main() -> AppExit {
    App::new()
        .add_plugins((DefaultPlugins, VisualizationPlugin::<Hello>::new("hello")))
        .add_systems(Startup, |mut commands: Commands| {
            commands.spawn(Camera2d);
        })
        .add_systems(Update, |hello: Res<Hello>, mut background: ResMut<ClearColor>| {
            background.0 =
                Color::hsv(hello.hue.mul_add(180.0, 180.0), 0.8, hello.brightness / 2.0 + 0.5);
        })
        .run()
}
