//! A node on the mesh: joining, presence, topics, commands, health, direct links.
//!
//! No call panics, needs an async runtime, or blocks, except for methods whose documentation states that they block. A
//! call that takes time returns a [`Pending`]: a future on which the program can also wait with a deadline. Received
//! messages arrive in an [`Inbox`], which is bounded and reports how many messages it dropped.
//!
//! A complete visualization:
//!
//! ```no_run
//! use std::time::Duration;
//! use hana_network::VisualizationBuilder;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let sparkle = VisualizationBuilder::new("sparkle")
//!         .parameter("zoom", -1.0..=1.0, 0.0)
//!         .join(Duration::from_secs(5))?;
//!     let zoom = sparkle.parameter("zoom")?;
//!     while !sparkle.is_shutdown_requested() {
//!         println!("zoom {}", zoom.get());
//!         sparkle.frame_drawn();
//!         std::thread::sleep(Duration::from_millis(16));
//!     }
//!     Ok(())
//! }
//! ```

mod clock;
mod config;
mod context;
mod control;
mod custom;
mod node;
mod persistence;
mod plain;
mod playback;
mod presence;
mod rpc;
mod session;
mod state;
mod sync;
mod time;
mod transport;

pub use clock::local_clock::local_us;
pub use clock::steady_clock::WallClockSteps;
pub use clock::wall_clock::unix_ms;
pub use config::host_memory::{HostMemory, HostUse, hostname_id, machine_id};
pub use config::machine_config::{ConfigSource, MachineConfig};
pub use config::machine_config_error::MachineConfigError;
pub use config::network_settings::NetworkSettings;
pub use config::node_config::{ConfigError, NodeConfig, Visibility, named_host};
pub use config::on_controller_lost::OnControllerLost;
pub use config::play_transport::{DirectLinkTransport, DirectLinkTransportError};
pub use config::port_range::{PortRange, PortRangeError};
pub use config::runtime_env::ZenohRuntimeEnv;
pub use config::secret::{Secret, SecretError};
pub use config::show_name::{ShowName, ShowNameError};
pub use control::batch_stream::BatchStream;
pub use control::direct_link::{DirectLink, DirectLinkError};
pub use control::ownership_client::OwnershipClient;
pub use control::play_session::PlaySession;
pub use custom::confirmed_send::SendError;
pub use custom::custom_subscription::CustomSubscription;
pub use custom::message_sender::MessageSender;
pub use node::join_error::JoinError;
pub use node::node::Node;
pub use persistence::last_look::LastLook;
pub use persistence::saved_state::{CorruptState, SaveError, SavedPart, SavedState};
pub use plain::{
    ParameterHandle, PlainVisualization, ValueCursor, VisualizationBuilder, VisualizationError,
};
pub use playback::parameter_store::ParameterStore;
pub use playback::set_error::SetError;
pub use presence::frame_counter::FrameCounter;
pub use presence::id_conflict::IdConflict;
pub use presence::instance::INSTANCE_AFTER;
pub use presence::mesh_observer::{HealthFeed, MeshObserver, PresenceObserver};
pub use rpc::command_client::CommandError;
pub use rpc::incoming_command::Request;
pub use session::attach_mode::AttachMode;
pub use session::connect_diagnostics::{ConnectDiagnostics, ConnectFailureLayer};
pub use session::connection::{ConnectionState, DisconnectedBy};
pub use session::session_kind::{SessionError, daemon_is_listening};
pub use state::log_tail::LogTail;
pub use state::state_publisher::{SetOutcome, StatePublisher};
pub use state::state_query::QueryableGuard;
pub use sync::change_counter::ChangeCounter;
pub use sync::inbox::{Inbox, OverflowPolicy};
pub use sync::pending::{Cancelled, Pending, TimedOut};
pub use time::clock_sync::ClockSync;
pub use time::timeline_handle::TimelineHandle;
pub use transport::diagnostic::{Diagnostic, Diagnostics, QueueKind};
pub use transport::inbound::subscription::Subscription;
pub use transport::outbound::publisher::{PublishError, Publisher};
pub use transport::raw_message::RawMessage;
pub use transport::received::Received;
pub use transport::schema_mismatch::SchemaMismatch;
