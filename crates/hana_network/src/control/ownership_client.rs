use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hana_engine::ownership::{ClaimEvent, ClaimManager, ClaimRequest};
use hana_engine::roster::Roster;
use hana_protocol::contract::Key;
use hana_protocol::id::role::Role;
use hana_protocol::id::{NodeId, Stamp};
use hana_protocol::message::{Accepted, Control, OperatorState, Priority, TakeReply};
use hana_protocol::parameter::ParameterName;

use crate::clock::wall_clock::unix_ms;
use crate::context::node_context::NodeContext;
use crate::rpc::command_client::{CommandError, send_command};
use crate::session::session_worker::SessionWorker;
use crate::state::state_publisher::StatePublisher;
use crate::sync::pending::Pending;
use crate::transport::outbound::sender_identity::SenderIdentity;

/// An app or bridge as one of the controllers that share a show.
///
/// It claims, releases and takes over parameters, publishes its claims to the other controllers and receives theirs.
///
/// Its information comes from the roster of a [`MeshObserver`](crate::presence::mesh_observer::MeshObserver): pass the
/// roster to [`poll`](Self::poll) each time the observer is polled. The client keeps its claims through network
/// failures and restarts of visualizations, until they are released or another controller takes them; it reports a
/// takeover. No call blocks. Release everything before the app exits; otherwise the other controllers keep its
/// parameters reserved for a while.
pub struct OwnershipClient {
    claims: ClaimManager,
    session: StatePublisher<OperatorState>,
    worker: SessionWorker,
    identity: SenderIdentity,
    /// The version and time of the last published state, and the minimum pause before the next publication.
    published_version: u64,
    published_at: Option<Instant>,
    pause: Duration,
    visualizations: BTreeSet<NodeId>,
    /// The other controllers, each with the last state received from it.
    others: BTreeMap<NodeId, Option<Arc<OperatorState>>>,
    in_flight: Vec<InFlight>,
    last_poll: Option<Instant>,
}

/// A command that waits for its reply.
struct InFlight {
    node: NodeId,
    at: Instant,
    stamp: Option<Stamp>,
    reply: PendingReply,
}

enum PendingReply {
    Take(Pending<Result<TakeReply, CommandError>>),
    Release(Pending<Result<Accepted, CommandError>>),
}

/// The minimum interval between two reads of the roster.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The minimum interval between two published states, extended by 0.1 s for each hundred claims.
///
/// The interval may be long because the other controllers receive the owners from the visualizations directly.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);
/// The time within which a visualization must reply; after it, the command is sent again.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum number of commands in flight; further commands wait until one of these has ended.
const MAX_IN_FLIGHT: usize = 256;

impl OwnershipClient {
    pub(crate) fn new(context: &NodeContext) -> Self {
        let NodeContext { identity, session_worker, config, .. } = context;
        let mut client = Self {
            claims: ClaimManager::new(identity.id.clone(), config.priority),
            session: context.state_publisher(&Key::Operator(identity.id.clone())),
            worker: session_worker.clone(),
            identity: identity.clone(),
            published_version: 0,
            published_at: None,
            pause: PUBLISH_INTERVAL,
            visualizations: BTreeSet::new(),
            others: BTreeMap::new(),
            in_flight: vec![],
            last_poll: None,
        };
        client.publish_state();
        client
    }

    /// Claims parameters of a visualization, including those that another controller owns.
    ///
    /// If the visualization is absent, the claim is sent when it appears.
    pub fn take(&mut self, node: &NodeId, parameters: impl IntoIterator<Item = ParameterName>) {
        self.claims.take(node, parameters, unix_ms());
        self.send_claims();
    }

    /// Releases parameters.
    pub fn release(&mut self, node: &NodeId, parameters: impl IntoIterator<Item = ParameterName>) {
        self.claims.release(node, parameters, unix_ms());
        self.send_claims();
    }

    /// Releases all parameters.
    pub fn release_all(&mut self) {
        self.claims.release_all(unix_ms());
        self.send_claims();
    }

    /// Claims all parameters that another app owns, has claimed, or owned when it disappeared.
    ///
    /// Returns the number of claimed parameters.
    pub fn take_over(&mut self, app: &NodeId) -> usize {
        let count = self.claims.take_over(app, unix_ms());
        self.send_claims();
        count
    }

    /// Sets the priority of this app among the controllers.
    pub fn set_priority(&mut self, priority: Priority) {
        self.claims.set_priority(priority, unix_ms());
        self.send_claims();
    }

    /// Publishes a note to all operators, in place of the previous note of this app.
    ///
    /// An empty note withdraws it. A note is cut after [`OperatorState::MAX_NOTE`] characters.
    pub fn note(&mut self, text: &str) {
        self.claims.note(text, unix_ms());
        self.send_claims();
    }

    /// Returns the known owners, the claims, and the parameters of apps that disappeared.
    #[must_use]
    pub const fn claims(&self) -> &ClaimManager {
        &self.claims
    }

    /// Reads the roster, sends the commands that are due, and returns events for the operator. Does not block.
    pub fn poll(&mut self, roster: &Roster) -> Vec<ClaimEvent> {
        let now = Instant::now();
        if self.last_poll.is_none_or(|at| now.saturating_duration_since(at) >= POLL_INTERVAL) {
            self.last_poll = Some(now);
            self.read_roster(roster);
        }
        self.receive_replies();
        self.send_claims();
        self.claims.take_events()
    }

    fn read_roster(&mut self, roster: &Roster) {
        let unix_ms = unix_ms();
        let (mut visualizations, mut others) = (BTreeSet::new(), BTreeSet::new());
        for (node, role) in roster.present().filter(|(node, _)| **node != self.identity.id) {
            match role {
                Role::App | Role::Bridge => drop(others.insert(node)),
                Role::Visualization => drop(visualizations.insert(node)),
                Role::Daemon => {},
            }
        }
        // Presence is updated first, because the state of an app has another meaning while the app is present.
        self.others.retain(|app, _| {
            let is_there = others.contains(app);
            if !is_there {
                self.claims.app_left(app);
            }
            is_there
        });
        for app in &others {
            if !self.others.contains_key(*app) {
                self.claims.app_joined(app);
                self.others.insert((*app).clone(), None);
            }
        }
        for (app, known) in &mut self.others {
            let Some(session) = roster.session(app) else { continue };
            if !known.as_ref().is_some_and(|known| Arc::ptr_eq(known, session)) {
                self.claims.apply_peer_state(app, session, unix_ms);
                *known = Some(Arc::clone(session));
            }
        }
        self.visualizations.retain(|node| {
            let is_there = visualizations.contains(node);
            if !is_there {
                self.claims.target_gone(node);
            }
            is_there
        });
        for node in visualizations {
            let (Some(info), Some(owners)) = (roster.info(node), roster.owners(node)) else {
                continue;
            };
            self.claims.apply_owners(node, info.instance, owners, unix_ms);
            if !self.visualizations.contains(node) {
                self.visualizations.insert(node.clone());
            }
        }
    }

    fn receive_replies(&mut self) {
        let claims = &mut self.claims;
        self.in_flight.retain(|in_flight| {
            let InFlight { node, at, stamp, reply } = in_flight;
            // The claim manager sends a command again if its outcome is still unknown when it is removed here.
            let is_awaited = at.elapsed() < REPLY_TIMEOUT * 2;
            let refused = match reply {
                PendingReply::Take(reply) => match reply.try_recv() {
                    None => return is_awaited && !reply.is_cancelled(),
                    Some(Ok(took)) => {
                        claims.answered(node, &took, unix_ms());
                        None
                    },
                    Some(Err(problem)) => Some(problem),
                },
                PendingReply::Release(reply) => match reply.try_recv() {
                    None => return is_awaited && !reply.is_cancelled(),
                    Some(outcome) => outcome.err(),
                },
            };
            // Only a refusal has an effect here; a command without a reply is sent again.
            if let (Some(CommandError::Refused { reason, .. }), Some(stamp)) = (refused, stamp) {
                claims.refused(node, stamp, &reason, unix_ms());
            }
            false
        });
    }

    /// Sends due commands to visualizations, and publishes changed state to the other controllers.
    fn send_claims(&mut self) {
        if self.in_flight.len() < MAX_IN_FLIGHT {
            let in_flight = &self.in_flight;
            let is_asked =
                |node: &NodeId| in_flight.iter().any(|in_flight| in_flight.node == *node);
            for ClaimRequest { node, command } in
                self.claims.pending_requests(Instant::now(), is_asked)
            {
                let (worker, identity) = (&self.worker, &self.identity);
                let (stamp, reply) = match command {
                    Control::Take(take) => {
                        let stamp = take.stamp.clone();
                        let reply = send_command(worker, identity, &node, take, REPLY_TIMEOUT);
                        (stamp, PendingReply::Take(reply))
                    },
                    Control::Release(release) => {
                        let reply = send_command(worker, identity, &node, release, REPLY_TIMEOUT);
                        (None, PendingReply::Release(reply))
                    },
                    _ => continue,
                };
                self.in_flight.push(InFlight { node, at: Instant::now(), stamp, reply });
            }
        }
        self.publish_state();
    }

    fn publish_state(&mut self) {
        let version = self.claims.version();
        let now = Instant::now();
        let is_soon = |at| now.saturating_duration_since(at) < self.pause;
        if version == self.published_version || self.published_at.is_some_and(is_soon) {
            return;
        }
        let session = self.claims.operator_state();
        self.published_at = Some(now);
        let hundreds = u32::try_from(session.claims.len() / 100).unwrap_or(u32::MAX);
        self.pause = PUBLISH_INTERVAL.saturating_mul(hundreds + 1);
        match self.session.set(&session) {
            Ok(_) => self.published_version = version,
            Err(problem) => {
                tracing::warn!("cannot publish the claims of this app: {problem}");
            },
        }
    }
}
