//! hana for Bevy programs.
//!
//! [`VisualizationPlugin`] puts a program that draws onto the mesh: the fields of a resource become its
//! parameters, its frames are counted, and it exits on request.
//!
//! ```no_run
//! use bevy_app::{App, Update};
//! use bevy_ecs::prelude::*;
//! use bevy_reflect::Reflect;
//! use hana_plugin::VisualizationPlugin;
//!
//! #[derive(Resource, Reflect, Default)]
//! struct Sky { brightness: f32, drift: f32 }
//!
//! fn draw(sky: Res<Sky>) { /* sky.brightness is what is played right now */ }
//!
//! App::new()
//!     .add_plugins(VisualizationPlugin::<Sky>::new("sky"))
//!     .add_systems(Update, draw)
//!     .run();
//! ```
//!
//! [`ControllerPlugin`] puts a program onto the mesh as a controller: every node is an entity, which survives a
//! disconnect; [`MeshCommands`] starts, stops and sets.
//!
//! Neither plugin blocks a frame: the network has its own threads. Received data is drained in `PreUpdate`
//! ([`HanaSystems::Receive`]); messages to send are handed over in `PostUpdate` ([`HanaSystems::Send`]), and
//! parameters changed by the program in `Last`.

mod app_ext;
mod change_signal;
mod connectivity;
mod controller;
mod diagnostics;
mod events;
mod mesh_state;
mod notices;
mod persist;
pub mod prelude;
mod session;
mod sets;
mod timeline;
mod topics;
mod visualization;

pub use controller::controller_plugin::ControllerPlugin;
pub use controller::mesh_commands::{CommandCompleted, CommandId, MeshCommands};
pub use controller::nodes::{
    MeshNode, NodeAdded, NodeChanged, NodeHealth, NodeIdentity, NodeLook, NodeRemoved, NodeState,
    Online,
};
pub use controller::operators::{ClaimKept, ClaimLost, ClaimRejected, NoteReceived, OwnerChanged};
pub use hana_engine::playout::{Curve, JitterBufferSettings};
pub use hana_network::{
    AttachMode, Diagnostic, DisconnectedBy, OnControllerLost, QueueKind, SchemaMismatch,
};
pub use hana_protocol::id::role;
pub use hana_protocol::id::role::Role;
pub use hana_protocol::message::{OwnershipKind, Priority, Set};
pub use hana_time::ScheduleAt;
pub use session::MeshSession;

pub use app_ext::HanaAppExt;
pub use connectivity::{
    Connectivity, NodeConnectivity, has_daemon, is_connected, just_connected, just_disconnected,
};
pub use diagnostics::{LaneCounter, MessageDiagnosticsPlugin};
pub use events::{
    Connected, DaemonLost, DecodeFailed, Disconnected, IdTaken, JoinFailed, MessageDropped,
    MessageRefused, PeerIncompatible, QueueFull, ShutdownRequested,
};
pub use mesh_state::{MeshState, MeshStatePlugin};
pub use notices::notices::Notices;
pub use persist::{Persist, PersistedStateDiscarded};
pub use sets::HanaSystems;
pub use timeline::timeline::{Timeline, on_bar, on_beat};
pub use topics::from_mesh::{DynamicFromMesh, FromMesh};
pub use topics::pending_sends::MessageDelivered;
pub use topics::topic_writer::TopicWriter;
pub use visualization::active_override::ActiveOverride;
pub use visualization::display::{NoDisplay, find_display};
pub use visualization::parameter_attributes::{
    Additive, Description, Group, ParameterLabel, Smoothing, Stepped, Unit,
};
pub use visualization::parameters::ParameterStruct;
pub use visualization::visualization_plugin::VisualizationPlugin;
