use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::id::node_id::NodeId;
use crate::id::topic_name::TopicName;
use crate::message::node_info::NodeInfo;
use crate::schema::message_schema::MessageSchema;
use crate::schema::message_schema::validate::ValidationError;
use crate::wire::lane::Lane;
use crate::wire::message::CustomMessage;

/// A custom message type as a node announces it in `info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomMessageInfo {
    /// Its name.
    pub name: String,
    /// The last chunk of its keys.
    pub topic: String,
    /// Its lane.
    pub lane: Lane,
    /// Its version.
    pub version: u32,
    /// Whether the node publishes the type, receives it, or both.
    #[serde(default)]
    pub flow: Direction,
    /// The JSON Schema of the type; `true`, which accepts every value, if the node does not announce one.
    #[serde(default = "anything")]
    pub schema: Value,
}

/// The direction in which a node handles a message type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The node publishes them.
    Published,
    /// The node receives them; other nodes can send them to it.
    Heard,
    /// Both; also the default for a node that does not announce a direction.
    #[default]
    Both,
}

impl Direction {
    /// Whether the node receives such messages.
    #[must_use]
    pub const fn is_heard(self) -> bool {
        matches!(self, Self::Heard | Self::Both)
    }

    /// Whether the node publishes such messages.
    #[must_use]
    pub const fn is_published(self) -> bool {
        matches!(self, Self::Published | Self::Both)
    }
}

const fn anything() -> Value {
    Value::Bool(true)
}

/// The reason why a message cannot be sent to a node, according to what the node announces.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendCheckError {
    /// The node does not receive messages on that topic.
    #[error("'{node}' hears no '{topic}'; {}", heard_words(heard))]
    NotHeard {
        /// The node, or the kind.
        node: NodeId,
        /// The topic.
        topic: TopicName,
        /// The topics that the node receives.
        heard: Vec<String>,
    },
    /// The message does not match the schema that the node announces.
    #[error("this is no {name} as '{node}' reads it (version {version}): {misfit}")]
    Misfit {
        /// The node, or the kind.
        node: NodeId,
        /// The name of the message type.
        name: String,
        /// Its version there.
        version: u32,
        /// The place where the message does not match.
        #[source]
        misfit: ValidationError,
    },
}

fn heard_words(heard: &[String]) -> String {
    if heard.is_empty() {
        "it hears no custom messages".into()
    } else {
        format!("it hears {}", heard.join(", "))
    }
}

impl CustomMessageInfo {
    /// Describes the type `M`.
    #[must_use]
    pub fn of<M: CustomMessage>(flow: Direction) -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.meta_schema = None);
        let mut schema = settings.into_generator().into_root_schema_for::<M>();
        schema.remove("title");
        Self {
            name: M::NAME.into(),
            topic: M::TOPIC.into(),
            lane: M::LANE,
            version: M::VERSION,
            flow,
            schema: schema.to_value(),
        }
    }

    /// Parses the announced schema.
    #[must_use]
    pub fn shape(&self) -> MessageSchema {
        MessageSchema::of_schema(&self.schema)
    }
}

impl NodeInfo {
    /// Returns the custom messages that the node receives.
    pub fn heard_messages(&self) -> impl Iterator<Item = &CustomMessageInfo> {
        self.messages.iter().filter(|message| message.flow.is_heard())
    }

    /// Returns the custom message type that the node has on a topic, if any.
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
        let Some(known) = self.heard_messages().find(|known| known.topic == topic.as_str()) else {
            return Err(SendCheckError::NotHeard {
                node: self.node.clone(),
                topic: topic.clone(),
                heard: self.heard_messages().map(|known| known.topic.clone()).collect(),
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
