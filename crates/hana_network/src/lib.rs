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

mod addresses;
mod archive;
mod beat_clock;
mod board;
mod clock_watch;
mod command;
mod conductor;
mod connection;
mod copy_filter;
mod counters;
mod custom;
mod distant_timeline;
mod door;
mod frame_clock;
mod frame_stream;
mod gate;
mod heart;
mod inbox;
mod knock;
mod last_look;
mod linger;
mod local_clock;
mod log_tail;
mod memory;
mod mesh_watch;
mod network_settings;
mod node;
mod node_config;
mod operator;
mod outbox;
mod pending;
mod play;
mod play_session;
mod play_transport;
mod port_range;
mod problem;
mod publisher;
mod question;
mod reception;
mod recovery;
mod requests;
mod retained;
mod rival;
mod saved_state;
mod secret;
mod sender_book;
mod session;
mod settings_file;
mod show_name;
mod state;
mod subscription;
mod taken;
mod ticker;
mod timeline_watch;
mod unmet;
mod wall_clock;
mod way;
mod when_app_vanishes;
mod worker;

pub use board::Board;
pub use board::SetError;
pub use clock_watch::ClockWatch;
pub use command::CommandError;
pub use connection::Connection;
pub use connection::DisconnectedBy;
pub use connection::Way;
pub use custom::Courier;
pub use custom::Heard;
pub use custom::Mismatch;
pub use custom::SendError;
pub use frame_clock::FrameClock;
pub use frame_stream::FrameStream;
pub use inbox::Inbox;
pub use inbox::Policy;
pub use last_look::LastLook;
pub use local_clock::local_us;
pub use log_tail::LogTail;
pub use mesh_watch::HealthFeed;
pub use mesh_watch::MeshWatch;
pub use mesh_watch::PresenceWatch;
pub use network_settings::NetworkSettings;
pub use node::JoinError;
pub use node::Node;
pub use node_config::ConfigError;
pub use node_config::NodeConfig;
pub use node_config::Presence;
pub use operator::Operator;
pub use pending::Abandoned;
pub use pending::Pending;
pub use pending::TimedOut;
pub use play::PlayError;
pub use play::PlayLink;
pub use play_session::PlaySession;
pub use play_transport::PlayTransport;
pub use play_transport::PlayTransportError;
pub use port_range::PortRange;
pub use port_range::PortRangeError;
pub use problem::Problem;
pub use problem::Problems;
pub use problem::Queue;
pub use publisher::PublishError;
pub use publisher::Publisher;
pub use reception::RawMessage;
pub use reception::Received;
pub use requests::Request;
pub use retained::Answering;
pub use rival::Rival;
pub use saved_state::Damage;
pub use saved_state::SaveError;
pub use saved_state::SavedPart;
pub use saved_state::SavedState;
pub use secret::Secret;
pub use secret::SecretError;
pub use session::SessionError;
pub use session::daemon_is_listening;
pub use settings_file::Origin;
pub use settings_file::SettingsError;
pub use settings_file::SettingsFile;
pub use show_name::ShowName;
pub use show_name::ShowNameError;
pub use state::Change;
pub use state::StatePublisher;
pub use subscription::Subscription;
pub use timeline_watch::TimelineWatch;
pub use unmet::Unmet;
pub use unmet::UnmetLayer;
pub use wall_clock::unix_ms;
pub use when_app_vanishes::WhenAppVanishes;
