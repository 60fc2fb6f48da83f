//! Lists, checks and sends custom messages, by the schema that the receiver announces.

use std::fmt::Write;
use std::time::Duration;

use anyhow::bail;
use hana_network::Node;
use hana_protocol::contract::Topics;
use hana_protocol::id::{NodeId, TopicName, role};
use hana_protocol::message::{CustomMessageInfo, NodeInfo, SendCheckError};
use hana_protocol::wire::Lane;
use serde::Serialize;
use serde_json::Value;

use crate::arguments::SendArguments;
use crate::output::Format;
use crate::suggest::did_you_mean;
use crate::{mesh, output};

/// How long the session may take to close.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// The printed form of a message type that can be sent.
#[derive(Serialize)]
struct ListedMessage<'a> {
    topic: &'a str,
    #[serde(rename = "type")]
    name: &'a str,
    version: u32,
    lane: Lane,
    schema: &'a Value,
    example: Value,
}

/// The printed form of a message that was sent.
#[derive(Serialize)]
struct Sent<'a> {
    /// The recipients: one node that has accepted the message, or all nodes of a kind, which do not reply.
    nodes: Vec<&'a NodeId>,
    topic: &'a TopicName,
    #[serde(rename = "type")]
    name: &'a str,
    version: u32,
    answer: Answered,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answered {
    Accepted,
    /// A message to a kind receives no reply.
    None,
}

pub(crate) fn run(arguments: &SendArguments, format: Format) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let infos = infos_of(&node, arguments)?;
    match (&arguments.topic, &arguments.message) {
        (Some(topic), Some(message)) if arguments.kind => {
            send_to_kind(node, &arguments.node, &infos, topic, message, format)
        },
        (Some(topic), Some(message)) => send_to_node(&node, &infos[0], topic, message, format),
        (topic, _) => list(arguments, &infos, topic.as_ref(), format),
    }
}

/// Returns the announcements of the nodes in question; never empty.
fn infos_of(node: &Node<role::App>, arguments: &SendArguments) -> anyhow::Result<Vec<NodeInfo>> {
    let SendArguments { node: id, kind: is_kind, .. } = arguments;
    let mut infos: Vec<NodeInfo> = if *is_kind {
        let found =
            mesh::query_all(node, &Topics::every_info(), |info: &NodeInfo| info.kind() == id)?;
        found.into_iter().map(|received| received.message).collect()
    } else {
        mesh::info_of(node, id)?.into_iter().collect()
    };
    infos.sort_by(|one, other| one.node.cmp(&other.node));
    infos.dedup_by(|one, other| one.node == other.node);
    if infos.is_empty() {
        if *is_kind {
            bail!("there is no node of the kind '{id}' on the mesh; `hana nodes` lists all nodes");
        }
        return Err(mesh::unknown_node(node, id));
    }
    Ok(infos)
}

fn send_to_node(
    node: &Node<role::App>,
    info: &NodeInfo,
    topic: &TopicName,
    message: &Value,
    format: Format,
) -> anyhow::Result<()> {
    let known = checked(info, topic, message)?;
    node.send_json(&info.node, topic, message, mesh::COMMAND).wait(mesh::COMMAND * 2)??;
    let CustomMessageInfo { name, version, .. } = known;
    let (nodes, version) = (vec![&info.node], *version);
    let sent = Sent { nodes, topic, name, version, answer: Answered::Accepted };
    output::print(format, &sent, || {
        format!("'{}' accepted the {name} (version {version})", info.node)
    })
}

fn send_to_kind(
    node: Node<role::App>,
    kind: &NodeId,
    infos: &[NodeInfo],
    topic: &TopicName,
    message: &Value,
    format: Format,
) -> anyhow::Result<()> {
    let accepts =
        |info: &&NodeInfo| info.subscribed_messages().any(|known| known.topic == topic.as_str());
    let subscribers: Vec<&NodeInfo> = infos.iter().filter(accepts).collect();
    // If no node subscribes to the topic, the error of the first node lists its topics instead.
    let mut known = checked(subscribers.first().copied().unwrap_or(&infos[0]), topic, message)?;
    for info in &subscribers {
        known = checked(info, topic, message)?;
    }
    node.send_json_to_kind(kind, topic, known.lane, message).wait(mesh::COMMAND)??;
    node.leave().wait(LEAVE_TIMEOUT)?;
    let nodes: Vec<&NodeId> = subscribers.iter().map(|info| &info.node).collect();
    let (name, version) = (&known.name, known.version);
    let sent = Sent { nodes, topic, name, version, answer: Answered::None };
    output::print(format, &sent, || {
        let ids: Vec<&str> = sent.nodes.iter().map(|id| id.as_str()).collect();
        format!("sent a {name} (version {version}) to all '{kind}': {}", ids.join(", "))
    })
}

/// Returns the type that a node receives on a topic, if the message fits. The error names the problem and the remedy.
fn checked<'a>(
    info: &'a NodeInfo,
    topic: &TopicName,
    message: &Value,
) -> anyhow::Result<&'a CustomMessageInfo> {
    let node = &info.node;
    match info.check_message(topic, message) {
        Ok(known) => Ok(known),
        Err(problem @ SendCheckError::Misfit { .. }) => {
            bail!("{problem}; `hana send {node} {topic}` shows an example")
        },
        Err(problem) => {
            let topics = info.subscribed_messages().map(|known| known.topic.as_str());
            bail!("{problem}{}", did_you_mean(topic.as_str(), topics).unwrap_or_default())
        },
    }
}

/// Prints the messages that can be sent.
fn list(
    arguments: &SendArguments,
    infos: &[NodeInfo],
    topic: Option<&TopicName>,
    format: Format,
) -> anyhow::Result<()> {
    let mut messages: Vec<&CustomMessageInfo> = vec![];
    for known in infos.iter().flat_map(NodeInfo::subscribed_messages) {
        let is_new = !messages.iter().any(|other| other.topic == known.topic);
        if is_new && topic.is_none_or(|topic| topic.as_str() == known.topic) {
            messages.push(known);
        }
    }
    if let (Some(topic), true) = (topic, messages.is_empty()) {
        checked(&infos[0], topic, &Value::Null)?;
    }
    let listed: Vec<ListedMessage<'_>> = messages
        .iter()
        .map(|known| ListedMessage {
            topic: &known.topic,
            name: &known.name,
            version: known.version,
            lane: known.lane,
            schema: &known.schema,
            example: known.shape().example(),
        })
        .collect();
    output::print(format, &listed, || describe(arguments, &messages))
}

/// Describes the message types for people: the fields with their types and meanings, and an example.
fn describe(arguments: &SendArguments, messages: &[&CustomMessageInfo]) -> String {
    let SendArguments { node, kind, .. } = arguments;
    if messages.is_empty() {
        return format!("'{node}' subscribes to no custom messages");
    }
    let flag = if *kind { "--kind " } else { "" };
    let mut text = String::new();
    for known in messages {
        let shape = known.shape();
        let CustomMessageInfo { name, topic, lane, version, .. } = known;
        // Writing to a string never fails.
        let _ = writeln!(text, "{topic}: {name}, version {version}, {lane}");
        let outline = shape.outline();
        let width = |of: fn(&hana_protocol::schema::FieldOutline) -> usize| {
            outline.iter().map(of).max().unwrap_or_default()
        };
        let (names, holds) = (width(|field| field.name.len()), width(|field| field.holds.len()));
        for field in &outline {
            let optional = if field.optional { " (optional)" } else { "" };
            let line = format!(
                "    {:names$}  {:holds$}  {}{optional}",
                field.name, field.holds, field.description
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let example = shape.example();
        let _ = writeln!(text, "    hana send {flag}{node} {topic} '{example}'");
    }
    text.truncate(text.trim_end().len());
    text
}
