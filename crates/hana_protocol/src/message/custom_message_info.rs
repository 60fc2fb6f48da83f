use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schema::message_schema::MessageSchema;
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
    pub direction: Direction,
    /// The JSON Schema of the type. If the node announces no schema, `true`, which accepts every value.
    #[serde(default = "anything")]
    pub schema: Value,
}

/// The direction in which a node handles a message type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The node publishes messages of the type.
    Published,
    /// The node receives messages of the type; other nodes can send them to it.
    Subscribed,
    /// The node does both. The default for a node that does not announce a direction.
    #[default]
    Both,
}

impl Direction {
    /// Whether the node receives such messages.
    #[must_use]
    pub const fn is_subscribed(self) -> bool {
        matches!(self, Self::Subscribed | Self::Both)
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

impl CustomMessageInfo {
    /// Describes the type `M`.
    #[must_use]
    pub fn of<M: CustomMessage>(direction: Direction) -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| settings.meta_schema = None);
        let mut schema = settings.into_generator().into_root_schema_for::<M>();
        schema.remove("title");
        Self {
            name: M::NAME.into(),
            topic: M::TOPIC.into(),
            lane: M::LANE,
            version: M::VERSION,
            direction,
            schema: schema.to_value(),
        }
    }

    /// Parses the announced schema.
    #[must_use]
    pub fn shape(&self) -> MessageSchema {
        MessageSchema::of_schema(&self.schema)
    }
}
