//! The names of the prelude together with Bevy's, and the attributes in a program that has no other dependency.
#![allow(clippy::unwrap_used, missing_docs)]

use bevy::prelude::*;
use hana::prelude::*;
use hana::serde_json;

/// The names of the prelude: each that is also in Bevy's prelude is ambiguous here, and does not compile.
mod names {
    mod both {
        #[allow(unused_imports)]
        pub(crate) use bevy::prelude::*;
        pub(crate) use hana::prelude::*;
    }

    #[allow(unused_imports)]
    use both::{
        ActiveOverride, Additive, AttachMode, ClaimKept, ClaimLost, ClaimRejected,
        CommandCompleted, CommandId, Connected, Connectivity, ControllerPlugin, DaemonLost,
        DecodeFailed, Description, Disconnected, DisconnectedBy, DynamicFromMesh, FromMesh, Group,
        HanaAppExt, HanaSystems, IdTaken, JoinFailed, Lane, MeshCommands, MeshNode, MeshSession,
        MeshState, MeshStatePlugin, MessageDelivered, MessageDropped, MessageRefused, NoDisplay,
        NodeAdded, NodeChanged, NodeConnectivity, NodeHealth, NodeId, NodeIdentity, NodeLook,
        NodeRemoved, NodeState, NoteReceived, Notices, OnControllerLost, Online, OwnerChanged,
        ParameterLabel, ParameterName, ParameterStruct, PeerIncompatible, Persist,
        PersistedStateDiscarded, QueueFull, ShutdownRequested, Smoothing, Stepped, Timeline,
        TopicName, TopicWriter, Unit, VisualizationPlugin, find_display, has_daemon, is_connected,
        just_connected, just_disconnected, on_bar, on_beat, role,
    };
}

#[hana::data]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Colour {
    Red,
    DarkGreen,
}

/// A spark flew off.
#[hana::message(lane = UnreliableUnordered, version = 2)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BigSpark {
    number: u64,
    colour: Colour,
}

#[hana::message(topic = "out")]
struct Quiet;

#[test]
fn an_attribute_declares_a_message_with_topic_lane_and_version() {
    use hana::protocol::wire::{CustomMessage, Message};
    assert_eq!((BigSpark::TOPIC, BigSpark::VERSION), ("big-spark", 2));
    assert_eq!((BigSpark::NAME, BigSpark::LANE), ("BigSpark", Lane::UnreliableUnordered));
    assert_eq!((Quiet::TOPIC, Quiet::VERSION, Quiet::LANE), ("out", 1, Lane::ReliableOrdered));
    let spark = BigSpark { number: 3, colour: Colour::DarkGreen };
    let text = serde_json::to_string(&spark).unwrap();
    assert_eq!(text, r#"{"number":3,"colour":"dark_green"}"#);
    assert_eq!(serde_json::from_str::<BigSpark>(&text).unwrap(), spark);
    let schema = hana::schemars::schema_for!(BigSpark);
    assert!(schema.as_value().to_string().contains("A spark flew off."));
}

#[test]
fn a_program_registers_messages_beside_bevys_prelude() {
    let mut app = App::new();
    app.publish::<BigSpark>().subscribe::<BigSpark>();
    assert!(app.world().contains_resource::<TopicWriter<BigSpark>>());
}
