//! Joining the mesh.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use crate::sync::lock::Mutex;
use hana_protocol::contract::Key;
use hana_protocol::id::role::{NodeRole, Role};
use hana_protocol::message::{Health, NodeInfo, PlayPath};
use hana_protocol::wire::codec;
use hana_protocol::wire::codec::Encoding;
use zenoh::Wait;

use crate::clock::wall_clock::unix_ms;
use crate::config::node_config::{NodeConfig, Visibility};
use crate::context::node_context::NodeContext;
use crate::control::play_sessions::PlaySessions;
use crate::custom::confirmed_send::ConfirmedSender;
use crate::custom::early_subscriptions::EarlySubscriptions;
use crate::node::command_handler::CommandHandler;
use crate::node::join_error::JoinError;
use crate::node::node::Node;
use crate::node::node_shared::NodeShared;
use crate::node::second_daemon::second_daemon;
use crate::playback::direct_listener::DirectListener;
use crate::playback::modulation_input::ModulationInput;
use crate::playback::parameter_publisher::ParameterPublisher;
use crate::playback::parameter_store::ParameterStore;
use crate::presence::conflict_watch;
use crate::presence::frame_counter::FrameCounter;
use crate::presence::id_holder::wait_until_free;
use crate::presence::instance::next_instance;
use crate::presence::status_publisher::StatusPublisher;
use crate::session::attach_monitor::AttachMonitor;
use crate::session::connection::ConnectionWatch;
use crate::session::discovery::scouting;
use crate::session::local_addresses::LocalAddresses;
use crate::session::session_kind::{SessionError, SessionKind};
use crate::session::session_worker::SessionWorker;
use crate::sync::inbox::{Inbox, OverflowPolicy};
use crate::sync::pending::Pending;
use crate::transport::outbound::sender_identity::SenderIdentity;

/// The capacity of the inbox for commands that the program must carry out.
const MAX_REQUESTS: usize = 256;
/// The time a peer needs to discover all peers after it is connected to the first one; scouting takes up to 0.3 s.
const PEER_DISCOVERY_TIME: Duration = Duration::from_millis(350);

impl<R: NodeRole> Node<R> {
    /// Joins the mesh: through this machine's daemon if one runs, otherwise as a peer of all other nodes.
    ///
    /// Takes a few milliseconds through a daemon, up to 0.5 s without one, and up to 2 s if another program uses the
    /// daemon's port.
    #[must_use]
    pub fn join(config: NodeConfig) -> Pending<Result<Self, JoinError>> {
        let (promise, pending) = Pending::new();
        let joined = promise.clone();
        let spawned = thread::Builder::new().name("hana join".into()).spawn(move || {
            match join(config, R::ROLE) {
                Ok(shared) => {
                    // When the worker runs this, all earlier declarations have been sent.
                    let worker = shared.context.session_worker.clone();
                    let node = Self::new(shared);
                    worker.run(move |_| joined.fulfil(Ok(node)));
                },
                Err(error) => joined.fulfil(Err(error)),
            }
        });
        if let Err(problem) = spawned {
            promise.fulfil(Err(problem.into()));
        }
        pending
    }
}

fn join(mut config: NodeConfig, role: Role) -> Result<Arc<NodeShared>, JoinError> {
    let is_listed = config.visibility == Visibility::Listed;
    let kind = if role == Role::Daemon {
        SessionKind::Daemon { addresses: None }
    } else {
        SessionKind::for_node(&config)
    };
    let addresses = LocalAddresses::now(config.network.interface.as_deref());
    let session = kind.open(&config).map_err(|problem| second_daemon(problem, &config))?;
    if matches!(kind, SessionKind::Client) {
        config.learn_host(&session);
    }
    if matches!(kind, SessionKind::Peer { .. }) {
        // Zenoh's open returns when the first peer is connected, and does not report when all peers are connected. A
        // query sent before that would not reach every peer.
        thread::sleep(PEER_DISCOVERY_TIME);
    }
    if is_listed {
        wait_until_free(&session, &config.id).map_err(JoinError::IdTaken)?;
    }
    let listener = if is_listed && role == Role::Visualization {
        match DirectListener::open(&config) {
            Err(problem @ SessionError::NoPlayPort { .. }) => {
                tracing::warn!("this visualization can be played over the mesh only: {problem}");
                None
            },
            listener => Some(listener?),
        }
    } else {
        None
    };
    let connection = ConnectionWatch::new(config.change_counter.clone());
    connection.register_session(&session, kind.attach_mode());
    let identity = SenderIdentity::new(config.id.clone(), next_instance(config.instance_after));
    let worker = SessionWorker::start(config.id.as_str(), session)?;
    let (parameters, headless) = (initial_parameters(&config), config.headless.clone());
    let context = NodeContext::new(Arc::new(config), identity, worker, connection)?;
    context.connection.has_network(!addresses.is_empty());
    context.keep([context.connection.start(&context.session_worker)]);
    if !matches!(kind, SessionKind::Client) {
        scouting::ensure(&context.attachment);
    }
    let shared = Arc::new(NodeShared {
        role,
        joined_ms: unix_ms(),
        events: context.publisher(&Key::Event(context.identity.id.clone())),
        listener,
        sessions: Arc::new(PlaySessions::default()),
        parameters: Arc::new(parameters),
        frames: Arc::new(FrameCounter::new()),
        requests: Inbox::new(OverflowPolicy::DropOldest, MAX_REQUESTS),
        early_subscriptions: EarlySubscriptions::default(),
        confirmed: ConfirmedSender::start(&context),
        is_shutdown_requested: Arc::new(AtomicBool::new(false)),
        headless: Arc::new(Mutex::new(headless)),
        id_conflicts: Inbox::new(OverflowPolicy::DropOldest, 1),
        timeline: OnceLock::new(),
        info_publisher: Mutex::default(),
        context,
    });
    let attachment = &shared.context.attachment;
    let relies_on_gossip = attachment.config.network.relies_on_gossip();
    let node = Arc::downgrade(&shared);
    let publish_info = move |addresses: &LocalAddresses| {
        if let Some(node) = node.upgrade() {
            node.publish_info(addresses);
        }
    };
    AttachMonitor::new(&kind, addresses.clone(), relies_on_gossip, publish_info)
        .start(Arc::downgrade(attachment))?;
    if is_listed {
        announce(&shared, &addresses).inspect_err(|_| shared.leave(|| ()))?;
    }
    Ok(shared)
}

/// Announces the node. The liveliness token comes last, so that a node that receives it can query everything else.
fn announce(shared: &Arc<NodeShared>, addresses: &LocalAddresses) -> Result<(), JoinError> {
    let context = &shared.context;
    let id = &context.identity.id;
    let commands = CommandHandler::new(shared);
    context.keep([commands.receive_on(&context.session_worker)]);
    let node = Arc::downgrade(shared);
    context.keep([conflict_watch::watch(context, move |conflict| {
        if let Some(node) = node.upgrade() {
            node.give_way(conflict);
        }
    })]);
    let mut parameter_publisher = if shared.role == Role::Visualization {
        Some(receive_modulation(shared, &commands)?)
    } else {
        None
    };
    let info = shared.info(addresses);
    check_info(&info)?;
    shared.early_subscriptions.start(context);
    let publisher = context.state_publisher::<NodeInfo>(&Key::Info(id.clone()));
    if let Err(problem) = publisher.set(&info) {
        tracing::error!("cannot publish the info of this node: {problem}");
    }
    *shared.info_publisher.lock() = Some(publisher);
    let (parameters, sessions) = (Arc::clone(&shared.parameters), Arc::clone(&shared.sessions));
    StatusPublisher {
        health: context.publisher(&Key::Health(id.clone())),
        events: shared.events.clone(),
        frames: (shared.role == Role::Visualization).then(|| Arc::clone(&shared.frames)),
        headless: Arc::clone(&shared.headless),
        add_to_health: Box::new(move |health| {
            health.counters.overdue = parameters.late_changes();
            health.plays = sessions.statuses().into_iter().take(Health::MAX_PLAYS).collect();
        }),
        on_heartbeat: Box::new(move |context, number| {
            if let Some(publisher) = &mut parameter_publisher {
                publisher.on_heartbeat(context, number);
            }
        }),
    }
    .start(context)?;
    let (node, role) = (id.clone(), shared.role);
    context.keep([context.session_worker.declare("token", move |session| {
        let zid = session.zid().to_string();
        let key = Key::Alive { node: node.clone(), role, zid }.to_string();
        Ok(Box::new(session.liveliness().declare_token(key).wait()?))
    })]);
    Ok(())
}

/// Receives modulation over the mesh and over direct links; the returned publisher publishes the resulting changes.
fn receive_modulation(
    shared: &NodeShared,
    commands: &Arc<CommandHandler>,
) -> Result<ParameterPublisher, JoinError> {
    let context = &shared.context;
    shared.parameters.follow(shared.timeline().clone());
    let input = ModulationInput::new(context, &shared.parameters)?;
    context.keep([input.receive_on(&context.session_worker, PlayPath::Mesh)]);
    if let Some(listener) = &shared.listener {
        context.keep([
            input.receive_on(&listener.worker, PlayPath::Direct),
            commands.receive_on(&listener.worker),
        ]);
    }
    Ok(ParameterPublisher::new(context, &shared.parameters))
}

/// Creates the parameters with the declared values, or with the values of the last look.
fn initial_parameters(config: &NodeConfig) -> ParameterStore {
    let declared = config.parameters.clone();
    let parameters = ParameterStore::new(&config.id, declared, |name| config.playout_of(name))
        .on_controller_lost(config.on_controller_lost);
    let problems = config.last_look().map(|look| parameters.restore(look)).unwrap_or_default();
    for problem in problems {
        tracing::warn!("cannot restore a part of the last look: {problem}");
    }
    parameters
}

/// Checks that other nodes can read the info of this node.
///
/// The schemas of its custom messages may make it too large or too deeply nested.
fn check_info(info: &NodeInfo) -> Result<(), JoinError> {
    let problem = match codec::encode(info) {
        Ok(payload) => match codec::decode::<NodeInfo>(&payload, Encoding::MessagePack) {
            Ok(_) => return Ok(()),
            Err(problem) => problem.to_string(),
        },
        Err(problem) => problem.to_string(),
    };
    Err(JoinError::Info { problem })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hana_protocol::id::NodeId;
    use hana_protocol::message::{CustomMessageInfo, Direction};
    use hana_protocol::wire::Lane;
    use serde_json::{Value, json};

    use super::*;

    fn info(schema: Value) -> NodeInfo {
        let node = NodeId::new("v").unwrap();
        NodeInfo {
            host: node.clone(),
            node,
            kind: None,
            role: Role::Visualization,
            pid: 1,
            instance: 1,
            started_ms: 0,
            version: String::new(),
            program: String::new(),
            parameters: vec![],
            messages: vec![CustomMessageInfo {
                name: "Spark".into(),
                topic: "spark".into(),
                lane: Lane::ReliableOrdered,
                version: 1,
                direction: Direction::Both,
                schema,
            }],
            play: vec![],
            listen: vec![],
        }
    }

    #[test]
    fn unreadable_node_info_prevents_joining() {
        check_info(&info(json!({"description": "x".repeat(200_000)}))).unwrap();
        let error = check_info(&info(json!({"description": "x".repeat(300_000)}))).unwrap_err();
        assert!(error.to_string().contains("at most 262144 are allowed"), "{error}");
        let deep = (0..40).fold(json!({}), |inner, _| json!({"items": inner}));
        let error = check_info(&info(deep)).unwrap_err();
        assert!(error.to_string().contains("nested deeper than 32"), "{error}");
    }
}
