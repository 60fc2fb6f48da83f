use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use crate::sync::lock::Mutex;
use hana_protocol::id::role::Role;
use hana_protocol::message::{Event, NodeInfo};

use crate::context::node_context::NodeContext;
use crate::control::play_sessions::PlaySessions;
use crate::custom::confirmed_send::ConfirmedSender;
use crate::custom::early_subscriptions::EarlySubscriptions;
use crate::playback::direct_listener::DirectListener;
use crate::playback::parameter_store::ParameterStore;
use crate::presence::frame_counter::FrameCounter;
use crate::presence::id_conflict::IdConflict;
use crate::rpc::incoming_command::Request;
use crate::session::local_addresses::LocalAddresses;
use crate::state::state_publisher::StatePublisher;
use crate::sync::inbox::Inbox;
use crate::time::timeline_handle::TimelineHandle;
use crate::transport::outbound::publisher::Publisher;

/// The subsystems of a node, which its threads share.
pub(super) struct NodeShared {
    pub(super) context: Arc<NodeContext>,
    pub(super) role: Role,
    /// The time of joining, in Unix milliseconds.
    pub(super) joined_ms: u64,
    pub(super) events: Publisher<Event>,
    /// The session that accepts direct links. Only a visualization has one.
    pub(super) listener: Option<DirectListener>,
    pub(super) sessions: Arc<PlaySessions>,
    /// The parameters, which are empty unless the node is a visualization.
    pub(super) parameters: Arc<ParameterStore>,
    pub(super) frames: Arc<FrameCounter>,
    pub(super) requests: Inbox<Request>,
    /// The subscriptions to custom messages that started when the node joined, until the program takes them.
    pub(super) early_subscriptions: EarlySubscriptions,
    /// Sends messages to single nodes and waits for their replies.
    pub(super) confirmed: Arc<ConfirmedSender>,
    pub(super) is_shutdown_requested: Arc<AtomicBool>,
    /// The reason why the program runs without a window; `None` if it has a window.
    pub(super) headless: Arc<Mutex<Option<String>>>,
    /// The inbox that receives the conflict when an older node has the same id.
    pub(super) id_conflicts: Inbox<IdConflict>,
    /// The timeline, created on first use.
    pub(super) timeline: OnceLock<TimelineHandle>,
    /// The publisher of this node's info while the node is listed.
    pub(super) info_publisher: Mutex<Option<StatePublisher<NodeInfo>>>,
}

impl NodeShared {
    /// Leaves the mesh, then calls `done`.
    pub(super) fn leave(&self, done: impl FnOnce() + Send + 'static) {
        self.info_publisher.lock().take();
        if let Some(listener) = &self.listener {
            listener.worker.leave(|| ());
        }
        self.context.leave(done);
    }

    /// Leaves the mesh, unless this node is a daemon, because an older node has the same id.
    pub(super) fn give_way(&self, conflict: IdConflict) {
        self.context.connection.gives_way(conflict.to_string());
        if self.role != Role::Daemon {
            self.leave(|| ());
        }
        self.id_conflicts.push("", conflict);
        self.context.config.change_counter.increment();
    }

    pub(super) fn timeline(&self) -> &TimelineHandle {
        self.timeline.get_or_init(|| {
            let NodeContext { session_worker, inbound, timer, connection, config, .. } =
                &*self.context;
            TimelineHandle::start(session_worker, inbound, timer, connection, &config.host)
        })
    }

    /// Returns the info of this node, given the addresses of its machine.
    pub(super) fn info(&self, addresses: &LocalAddresses) -> NodeInfo {
        let NodeContext { identity, config, .. } = &*self.context;
        NodeInfo {
            node: identity.id.clone(),
            kind: config.kind.clone(),
            role: self.role,
            host: config.host.clone(),
            pid: std::process::id(),
            instance: identity.instance,
            started_ms: self.joined_ms,
            version: env!("CARGO_PKG_VERSION").into(),
            program: config.program.clone(),
            parameters: self.parameters.declared(),
            messages: config.messages.clone(),
            play: self.listener.as_ref().map(|end| end.endpoints(addresses)).unwrap_or_default(),
            listen: if self.role == Role::Daemon {
                addresses.endpoints(config.daemon.port())
            } else {
                vec![]
            },
        }
    }

    /// Publishes the info of this node again, given the addresses of its machine.
    pub(super) fn publish_info(&self, addresses: &LocalAddresses) {
        let published = self
            .info_publisher
            .lock()
            .as_ref()
            .map(|publisher| publisher.set(&self.info(addresses)));
        if let Some(Err(problem)) = published {
            tracing::warn!("cannot publish the addresses of this node: {problem}");
        }
    }
}
