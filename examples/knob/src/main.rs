//! A small app: it lists the nodes of the mesh and turns a knob.
//!
//! Up and down select a visualization, left and right turn its first parameter, and S stops the visualization.

use bevy::prelude::*;
use hana::Role;
use hana::prelude::*;

/// Speed of the knob, in parameter ranges per second.
const TURN: f32 = 0.5;

/// The index of the selected visualization.
#[derive(Resource, Default)]
struct Chosen(usize);

fn main() -> AppExit {
    App::new()
        .add_plugins((
            DefaultPlugins.set(WindowPlugin {
                primary_window: Some(Window { title: "knob".into(), ..default() }),
                ..default()
            }),
            ControllerPlugin::new("knob"),
        ))
        .init_resource::<Chosen>()
        .add_systems(Startup, |mut commands: Commands| {
            commands.spawn(Camera2d);
            commands.spawn((Text::default(), Node { margin: UiRect::all(px(24)), ..default() }));
        })
        .add_systems(Update, (choose, turn, list).chain())
        .run()
}

fn choose(keys: Res<ButtonInput<KeyCode>>, nodes: Query<&MeshNode>, mut chosen: ResMut<Chosen>) {
    let count = visualizations(&nodes).len();
    if keys.just_pressed(KeyCode::ArrowDown) {
        chosen.0 += 1;
    }
    if keys.just_pressed(KeyCode::ArrowUp) {
        chosen.0 = chosen.0.saturating_sub(1);
    }
    chosen.0 = chosen.0.min(count.saturating_sub(1));
}

fn turn(
    keys: Res<ButtonInput<KeyCode>>,
    time: Res<Time>,
    chosen: Res<Chosen>,
    nodes: Query<&MeshNode>,
    mut mesh: MeshCommands,
    mut knob: Local<f32>,
) {
    let visualizations = visualizations(&nodes);
    let Some(node) = visualizations.get(chosen.0) else { return };
    if keys.just_pressed(KeyCode::KeyS)
        && let Some(host) = &node.host
    {
        mesh.stop(host, &node.node);
    }
    let direction = match (keys.pressed(KeyCode::ArrowLeft), keys.pressed(KeyCode::ArrowRight)) {
        (true, false) => -1.0,
        (false, true) => 1.0,
        _ => {
            let shown = node.parameters.as_ref().and_then(|values| values.values().next());
            *knob = shown.copied().unwrap_or_default();
            return;
        },
    };
    let Some(parameter) = node
        .info()
        .and_then(|info| info.parameters.iter().min_by_key(|parameter| parameter.name.clone()))
    else {
        return;
    };
    let range = parameter.max - parameter.min;
    *knob = (direction * TURN * range)
        .mul_add(time.delta_secs(), *knob)
        .clamp(parameter.min, parameter.max);
    mesh.play(&node.node, &parameter.name, *knob);
}

fn list(chosen: Res<Chosen>, nodes: Query<&MeshNode>, mut text: Single<&mut Text>) {
    let mut lines = vec!["up/down choose, left/right turn, S stops".to_owned(), String::new()];
    for (index, node) in visualizations(&nodes).into_iter().enumerate() {
        let mark = if index == chosen.0 { ">" } else { " " };
        let host = node.host.as_ref().map_or("?", |host| host.as_str());
        let fps = node.fps.map_or(String::new(), |fps| format!("{fps:.0} fps"));
        let values: Vec<String> = node
            .parameters
            .iter()
            .flatten()
            .map(|(name, value)| format!("{name} {value:+.2}"))
            .collect();
        lines.push(format!(
            "{mark} {} on {host}: {} {fps}  {}",
            node.node,
            node.state,
            values.join("  ")
        ));
    }
    let text_now = lines.join("\n");
    if text.0 != text_now {
        text.0 = text_now;
    }
}

fn visualizations<'a>(nodes: &'a Query<&MeshNode>) -> Vec<&'a MeshNode> {
    let mut found: Vec<&MeshNode> =
        nodes.iter().filter(|node| node.role == Role::Visualization).collect();
    found.sort_by(|a, b| a.node.cmp(&b.node));
    found
}
