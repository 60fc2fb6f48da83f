//! A node on the mesh: joining, presence, topics, commands, health, play links.
//!
//! Nothing here blocks its caller, panics, or needs a runtime of the caller's. What takes time comes back
//! as a [`Pending`], which is a future and can be waited for with a deadline; what arrives comes into an
//! [`Inbox`], which is bounded and says what it threw away.
//!
//! A whole visualization:
//!
//! ```no_run
//! use std::time::Duration;
//! use hana_network::{Node, NodeConfig};
//! use hana_protocol::{NodeId, Parameter, ParameterName, role};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let zoom = Parameter::new(ParameterName::new("zoom")?, 0.0);
//!     let config = NodeConfig::from_environment(NodeId::new("sparkle")?)?.with_parameters(vec![zoom]);
//!     let node = Node::<role::Visualization>::join(config).wait(Duration::from_secs(5))??;
//!     while !node.is_shutdown_requested() {
//!         node.frames().bump();
//!         println!("zoom {}", node.board().values()[0]);
//!         std::thread::sleep(Duration::from_millis(16));
//!     }
//!     Ok(())
//! }
//! ```

mod clocks;
mod commands;
mod custom;
mod joining;
mod lanes;
mod news;
mod node;
mod playing;
mod presence;
mod states;

pub use clocks::clock_watch::ClockWatch;
pub use clocks::local_clock::local_us;
pub use clocks::steady_clock::WallClockSteps;
pub use clocks::timeline_watch::TimelineWatch;
pub use clocks::wall_clock::unix_ms;
pub use commands::command::CommandError;
pub use commands::pending::Abandoned;
pub use commands::pending::Pending;
pub use commands::pending::TimedOut;
pub use commands::requests::Request;
pub use custom::Courier;
pub use custom::Heard;
pub use custom::Mismatch;
pub use custom::SendError;
pub use joining::connection::Connection;
pub use joining::connection::DisconnectedBy;
pub use joining::connection::Way;
pub use joining::host_memory::HostMemory;
pub use joining::host_memory::HostUse;
pub use joining::host_memory::hostname_id;
pub use joining::host_memory::machine_id;
pub use joining::network_settings::NetworkSettings;
pub use joining::node_config::ConfigError;
pub use joining::node_config::NodeConfig;
pub use joining::node_config::Presence;
pub use joining::node_config::named_host;
pub use joining::played_threads::PlayedThreads;
pub use joining::port_range::PortRange;
pub use joining::port_range::PortRangeError;
pub use joining::secret::Secret;
pub use joining::secret::SecretError;
pub use joining::session::SessionError;
pub use joining::session::daemon_is_listening;
pub use joining::settings_file::Origin;
pub use joining::settings_file::SettingsError;
pub use joining::settings_file::SettingsFile;
pub use joining::show_name::ShowName;
pub use joining::show_name::ShowNameError;
pub use joining::unmet::Unmet;
pub use joining::unmet::UnmetLayer;
pub use lanes::inbox::Inbox;
pub use lanes::inbox::Policy;
pub use lanes::problem::Problem;
pub use lanes::problem::Problems;
pub use lanes::problem::Queue;
pub use lanes::publisher::PublishError;
pub use lanes::publisher::Publisher;
pub use lanes::reception::RawMessage;
pub use lanes::reception::Received;
pub use lanes::subscription::Subscription;
pub use news::News;
pub use node::JoinError;
pub use node::Node;
pub use playing::board::Board;
pub use playing::board::SetError;
pub use playing::frame_stream::FrameStream;
pub use playing::operator::Operator;
pub use playing::play::PlayError;
pub use playing::play::PlayLink;
pub use playing::play_session::PlaySession;
pub use playing::play_transport::PlayTransport;
pub use playing::play_transport::PlayTransportError;
pub use playing::when_app_vanishes::WhenAppVanishes;
pub use presence::frame_clock::FrameClock;
pub use presence::instance::INSTANCE_AFTER;
pub use presence::mesh_watch::HealthFeed;
pub use presence::mesh_watch::MeshWatch;
pub use presence::mesh_watch::PresenceWatch;
pub use presence::rival::Rival;
pub use states::last_look::LastLook;
pub use states::log_tail::LogTail;
pub use states::retained::Answering;
pub use states::saved_state::Damage;
pub use states::saved_state::SaveError;
pub use states::saved_state::SavedPart;
pub use states::saved_state::SavedState;
pub use states::state::Change;
pub use states::state::StatePublisher;
