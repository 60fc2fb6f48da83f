//! hana for Bevy programs.
//!
//! [`VisualizationPlugin`] puts a program that draws onto the mesh: the fields of a resource become its
//! parameters, its frames are counted, and it ends when it is told to.
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
//! [`AppPlugin`] puts a program onto the mesh from which others are played: every node is an entity, and
//! stays that entity across a disconnect; [`Mesh`] starts, stops and sets.
//!
//! Neither blocks a frame: the network has threads of its own. What arrives is drained in `PreUpdate`
//! ([`HanaSystems::Receive`]), what is said is handed over in `PostUpdate` ([`HanaSystems::Send`]), and
//! what a program changed in its parameters in `Last`.

mod app;
#[cfg(feature = "ui")]
mod blackout;
mod connectivity;
mod diagnostics;
mod display;
mod events;
mod frame_pace;
mod in_force;
mod link;
mod mesh;
mod nodes;
#[cfg(feature = "ui")]
mod notice_panel;
mod notices;
#[cfg(feature = "ui")]
mod open_windows;
mod operators;
mod parameters;
#[cfg(feature = "ui")]
mod presentation;
mod return_on_bar;
mod saves;
mod sendings;
mod sets;
mod timeline;
mod topics;
mod visualization;

pub use app::AppPlugin;
pub use connectivity::Connectivity;
pub use connectivity::NodeConnectivity;
pub use connectivity::has_daemon;
pub use connectivity::is_connected;
pub use connectivity::just_connected;
pub use connectivity::just_disconnected;
pub use diagnostics::Counted;
pub use diagnostics::MessageDiagnosticsPlugin;
pub use display::NoDisplay;
pub use display::find_display;
pub use events::Connected;
pub use events::DaemonLost;
pub use events::DecodeFailed;
pub use events::Disconnected;
pub use events::IdTaken;
pub use events::JoinFailed;
pub use events::MessageDropped;
pub use events::MessageRefused;
pub use events::PeerIncompatible;
pub use events::QueueFull;
pub use hana_network::DisconnectedBy;
pub use hana_network::Mismatch;
pub use hana_network::Problem;
pub use hana_network::Queue;
pub use hana_network::Way;
pub use hana_network::WhenAppVanishes;
pub use hana_protocol::Curve;
pub use hana_protocol::How;
pub use hana_protocol::PlayoutSettings;
pub use hana_protocol::Priority;
pub use hana_protocol::role;
pub use hana_protocol::role::Role;
pub use in_force::InForce;
pub use link::MeshLink;
pub use mesh::CommandAnswered;
pub use mesh::Mesh;
pub use nodes::MeshNode;
pub use nodes::NodeAdded;
pub use nodes::NodeChanged;
pub use nodes::NodeRemoved;
pub use nodes::Present;
pub use notices::Notices;
pub use operators::HolderChanged;
pub use operators::KeptByYou;
pub use operators::Noted;
pub use operators::TakeRefused;
pub use operators::TakenFromYou;
pub use parameters::Description;
pub use parameters::Held;
pub use parameters::Mixed;
pub use parameters::ParameterRange;
pub use parameters::ParameterStruct;
pub use parameters::Smoothing;
pub use saves::Saved;
pub use saves::SavedStateLost;
pub use sendings::MessageAnswered;
pub use sets::HanaSystems;
pub use timeline::Timeline;
pub use timeline::on_bar;
pub use timeline::on_beat;
pub use topics::AnyFromMesh;
pub use topics::FromMesh;
pub use topics::TopicWriter;
pub use visualization::ShutdownRequested;
pub use visualization::VisualizationPlugin;
