//! An app that displays and sends custom messages without defining any of their types.
//!
//! ```text
//! message_monitor                          displays published messages, with their announced names
//! message_monitor NODE TOPIC JSON          also sends a message, once the node is on the mesh
//! ```

use std::fmt::Arguments;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use bevy_app::{App, ScheduleRunnerPlugin, TaskPoolPlugin, TerminalCtrlCHandlerPlugin, Update};
use bevy_ecs::prelude::*;
use hana::prelude::*;
use hana::serde_json;
use hana::serde_json::Value;
use tracing_subscriber::EnvFilter;

/// The message to send, until it is sent.
#[derive(Resource)]
struct ToSend(Option<(NodeId, TopicName, Value)>);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let to_send = match to_send(&words) {
        Ok(to_send) => to_send,
        Err(problem) => {
            let line =
                format!("message_monitor: {problem}; usage: message_monitor [NODE TOPIC JSON]");
            writeln!(std::io::stderr(), "{line}").ok();
            return ExitCode::from(2);
        },
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(EnvFilter::new("info,zenoh=warn,zenoh::net::routing=error"))
        // If the output fails, `tracing` would report that on standard error, and panic if that fails too.
        .log_internal_errors(false)
        .init();
    App::new()
        .add_plugins((
            TaskPoolPlugin::default(),
            TerminalCtrlCHandlerPlugin,
            ScheduleRunnerPlugin::run_loop(Duration::from_micros(16_667)),
            ControllerPlugin::new("message_monitor"),
        ))
        .subscribe_all()
        .insert_resource(ToSend(to_send))
        .add_observer(|answered: On<MessageDelivered>| match &answered.outcome {
            Ok(()) => print(format_args!("'{}' has taken the {}", answered.node, answered.topic)),
            Err(problem) => print(format_args!("not sent: {problem}")),
        })
        .add_systems(Update, (show, send))
        .run();
    ExitCode::SUCCESS
}

fn to_send(words: &[String]) -> Result<Option<(NodeId, TopicName, Value)>, String> {
    match words {
        [] => Ok(None),
        [node, topic, message] => Ok(Some((
            NodeId::new(node).map_err(|problem| problem.to_string())?,
            TopicName::new(topic).map_err(|problem| problem.to_string())?,
            serde_json::from_str(message).map_err(|problem| problem.to_string())?,
        ))),
        _ => Err("three words or none".into()),
    }
}

fn show(mut messages: MessageReader<DynamicFromMesh>, nodes: Query<&MeshNode>) {
    for DynamicFromMesh { node, topic, value, .. } in messages.read() {
        let info = nodes.iter().find(|known| known.node == *node).and_then(MeshNode::info);
        match info.and_then(|info| info.message_on(topic.as_str())) {
            Some(known) => print(format_args!("{node} {} v{}: {value}", known.name, known.version)),
            None => print(format_args!("{node} {topic}: {value}")),
        }
    }
}

/// Sends the message once the node is on the mesh and has announced its topics.
fn send(mut to_send: ResMut<ToSend>, nodes: Query<&MeshNode>, mut mesh: MeshCommands) {
    let is_there = |id: &NodeId| nodes.iter().any(|node| node.node == *id && node.info().is_some());
    if to_send.0.as_ref().is_none_or(|(node, ..)| !is_there(node)) {
        return;
    }
    let Some((node, topic, message)) = to_send.0.take() else { return };
    if let Err(problem) = mesh.send_value(&node, &topic, &message) {
        print(format_args!("not sent: {problem}"));
    }
}

/// Writes a line. Unlike `println`, this does not end the program if writing fails.
fn print(line: Arguments) {
    writeln!(std::io::stdout(), "{line}").ok();
}
