//! The names that most programs use. No name is also in Bevy's prelude.

pub use hana_network::{AttachMode, DisconnectedBy, OnControllerLost};
pub use hana_protocol::id::{NodeId, TopicName, role};
pub use hana_protocol::parameter::ParameterName;
pub use hana_protocol::wire::Lane;

pub use crate::app_ext::HanaAppExt;
pub use crate::connectivity::{
    Connectivity, NodeConnectivity, has_daemon, is_connected, just_connected, just_disconnected,
};
pub use crate::controller::controller_plugin::ControllerPlugin;
pub use crate::controller::mesh_commands::{CommandCompleted, CommandId, MeshCommands};
pub use crate::controller::nodes::{
    MeshNode, NodeAdded, NodeChanged, NodeHealth, NodeIdentity, NodeLook, NodeRemoved, NodeState,
    Online,
};
pub use crate::controller::operators::{
    ClaimKept, ClaimLost, ClaimRejected, NoteReceived, OwnerChanged,
};
pub use crate::events::{
    Connected, DaemonLost, DecodeFailed, Disconnected, IdTaken, JoinFailed, MessageDropped,
    MessageRefused, PeerIncompatible, QueueFull, ShutdownRequested,
};
pub use crate::mesh_state::{MeshState, MeshStatePlugin};
pub use crate::notices::notices::Notices;
pub use crate::persist::{Persist, PersistedStateDiscarded};
pub use crate::session::MeshSession;
pub use crate::sets::HanaSystems;
pub use crate::timeline::timeline::{Timeline, on_bar, on_beat};
pub use crate::topics::from_mesh::{DynamicFromMesh, FromMesh};
pub use crate::topics::pending_sends::MessageDelivered;
pub use crate::topics::topic_writer::TopicWriter;
pub use crate::visualization::active_override::ActiveOverride;
pub use crate::visualization::display::{NoDisplay, find_display};
pub use crate::visualization::parameter_attributes::{
    Additive, Description, Group, ParameterLabel, Smoothing, Stepped, Unit,
};
pub use crate::visualization::parameters::ParameterStruct;
pub use crate::visualization::visualization_plugin::VisualizationPlugin;
