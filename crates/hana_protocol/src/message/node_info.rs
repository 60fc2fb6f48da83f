use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::id::node_id::NodeId;
use crate::id::role::Role;
use crate::id::topic_name::TopicName;
use crate::message::custom_message_info::CustomMessageInfo;
use crate::parameter::parameter::Parameter;
use crate::schema::message_schema::validate::ValidationError;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// The identity and capabilities of a node, on `hana/<node>/info` (state: late subscribers query it).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// The node.
    pub node: NodeId,
    /// The default id of its program: `ripples-2` is of the kind `ripples`.
    ///
    /// If omitted, the kind is the node's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<NodeId>,
    /// Its role.
    pub role: Role,
    /// The host on which the node runs, named by the id of its daemon, even if no daemon runs there.
    pub host: NodeId,
    /// Its process id on that host.
    pub pid: u32,
    /// The node's instance: the time it joined, in Unix microseconds.
    pub instance: u64,
    /// The time it joined, in Unix milliseconds.
    pub started_ms: u64,
    /// The version of hana with which the node is built.
    pub version: String,
    /// The name of its program.
    #[serde(default)]
    pub program: String,
    /// Its parameters, in the order it declares them; empty for nodes that cannot be played.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// The custom message types that it publishes or receives.
    #[serde(default)]
    pub messages: Vec<CustomMessageInfo>,
    /// The Zenoh endpoints at which it accepts direct links; empty for nodes that cannot be played.
    #[serde(default)]
    pub play: Vec<String>,
    /// The Zenoh endpoints at which a daemon listens; empty for other roles. Peers that lose the daemon reconnect
    /// there.
    #[serde(default)]
    pub listen: Vec<String>,
}

impl Message for NodeInfo {
    const LANE: Lane = Lane::ReliableOrdered;
    /// Four times the usual limit: the info contains the schemas of all custom messages of the node.
    const MAX_BYTES: usize = 256 * 1024;
    /// Published four times on joining. The limit leaves room for nodes that change their info at run time.
    const MAX_PER_SECOND: u32 = 50;
    const NAME: &'static str = "info";
}

/// The reason why a message cannot be sent to a node, according to what the node announces.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendCheckError {
    /// The node does not receive messages on that topic.
    #[error("'{node}' does not subscribe to '{topic}'; {}", heard_words(heard))]
    NotSubscribed {
        /// The node, or the kind.
        node: NodeId,
        /// The topic.
        topic: TopicName,
        /// The topics that the node receives.
        heard: Vec<String>,
    },
    /// The message does not match the schema that the node announces.
    #[error("not a valid {name} for '{node}' (version {version}): {misfit}")]
    Misfit {
        /// The node, or the kind.
        node: NodeId,
        /// The name of the message type.
        name: String,
        /// The version of the message type at that node.
        version: u32,
        /// The first mismatch between the message and the schema.
        #[source]
        misfit: ValidationError,
    },
}

fn heard_words(heard: &[String]) -> String {
    if heard.is_empty() {
        "it subscribes to no custom messages".into()
    } else {
        format!("it subscribes to {}", heard.join(", "))
    }
}

impl NodeInfo {
    /// Returns the kind, which defaults to the node's id.
    #[must_use]
    pub fn kind(&self) -> &NodeId {
        self.kind.as_ref().unwrap_or(&self.node)
    }

    /// Returns the custom messages that the node receives.
    pub fn subscribed_messages(&self) -> impl Iterator<Item = &CustomMessageInfo> {
        self.messages.iter().filter(|message| message.direction.is_subscribed())
    }

    /// Returns the custom message type that the node announces on a topic, if any.
    #[must_use]
    pub fn message_on(&self, topic: &str) -> Option<&CustomMessageInfo> {
        self.messages.iter().find(|message| message.topic == topic)
    }

    /// Checks that `message` can be sent to this node on `topic`: the node receives it, and the schema matches.
    ///
    /// # Errors
    ///
    /// When the node does not receive messages on `topic`, or the message does not match; the error names the field.
    pub fn check_message(
        &self,
        topic: &TopicName,
        message: &Value,
    ) -> Result<&CustomMessageInfo, SendCheckError> {
        let Some(known) = self.subscribed_messages().find(|known| known.topic == topic.as_str())
        else {
            return Err(SendCheckError::NotSubscribed {
                node: self.node.clone(),
                topic: topic.clone(),
                heard: self.subscribed_messages().map(|known| known.topic.clone()).collect(),
            });
        };
        known.shape().check(message).map(|()| known).map_err(|misfit| SendCheckError::Misfit {
            node: self.node.clone(),
            name: known.name.clone(),
            version: known.version,
            misfit,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn info() -> NodeInfo {
        let json = r#"{"node": "catcher-2", "kind": "catcher", "role": "visualization", "host": "h1", "pid": 1,
            "instance": 1, "started_ms": 1, "version": "0.1.0", "messages": [
                {"name": "Spark", "topic": "spark", "lane": "reliable_ordered", "version": 2,
                 "direction": "subscribed", "schema": {"type": "object",
                    "properties": {"energy": {"type": "number"}}, "required": ["energy"]}},
                {"name": "Caught", "topic": "caught", "lane": "reliable_ordered", "version": 1,
                 "direction": "published"}]}"#;
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn message_without_a_required_field_does_not_match() {
        let (info, spark) = (info(), TopicName::new("spark").unwrap());
        assert!(info.check_message(&spark, &serde_json::json!({"energy": 1})).is_ok());
        let error = info.check_message(&spark, &serde_json::json!({})).unwrap_err();
        assert!(matches!(error, SendCheckError::Misfit { version: 2, .. }), "{error}");
    }

    #[test]
    fn published_topic_is_not_subscribed() {
        let (info, caught) = (info(), TopicName::new("caught").unwrap());
        let error = info.check_message(&caught, &Value::Null).unwrap_err();
        assert!(error.to_string().ends_with("it subscribes to spark"), "{error}");
        assert!(info.message_on("caught").is_some());
    }

    #[test]
    fn kind_defaults_to_the_node() {
        assert_eq!(info().kind().as_str(), "catcher");
        assert_eq!(NodeInfo { kind: None, ..info() }.kind().as_str(), "catcher-2");
    }
}
