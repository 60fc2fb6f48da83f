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

/// A custom message type that a node knows, as it announces it in `info`.
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
    /// Whether the node publishes it, hears it, or both.
    #[serde(default)]
    pub flow: Direction,
    /// What a message looks like, as JSON Schema; `true` where that is not said, which fits everything.
    #[serde(default = "anything")]
    pub schema: Value,
}

/// Which way messages of a type go at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The node publishes them.
    Published,
    /// The node hears them, and they can be sent to it.
    Heard,
    /// Both; also what is taken for granted of a node that does not say.
    #[default]
    Both,
}

impl Direction {
    /// Whether the node hears such messages.
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

/// Why a message cannot be sent to a node, by what the node announces.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendCheckError {
    /// It hears nothing on that topic.
    #[error("'{node}' hears no '{topic}'; {}", heard_words(heard))]
    NotHeard {
        /// The node, or the kind.
        node: NodeId,
        /// The topic.
        topic: TopicName,
        /// What it hears.
        heard: Vec<String>,
    },
    /// The message is not of the shape that it reads.
    #[error("this is no {name} as '{node}' reads it (version {version}): {misfit}")]
    Misfit {
        /// The node, or the kind.
        node: NodeId,
        /// The name of the message type.
        name: String,
        /// Its version there.
        version: u32,
        /// Where it does not fit.
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
    /// What is announced of the type `M`.
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

    /// What a message looks like.
    #[must_use]
    pub fn shape(&self) -> MessageSchema {
        MessageSchema::of_schema(&self.schema)
    }
}

impl NodeInfo {
    /// The custom messages that it hears.
    pub fn heard_messages(&self) -> impl Iterator<Item = &CustomMessageInfo> {
        self.messages.iter().filter(|message| message.flow.is_heard())
    }

    /// The custom message type that it has on a topic, if any.
    #[must_use]
    pub fn message_on(&self, topic: &str) -> Option<&CustomMessageInfo> {
        self.messages.iter().find(|message| message.topic == topic)
    }

    /// Whether `message` can be sent to this node on `topic`: it hears that, and the message is of the shape
    /// that it announces.
    ///
    /// # Errors
    ///
    /// When it hears nothing there, or the message does not fit; says which field.
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
