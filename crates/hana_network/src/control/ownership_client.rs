use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hana_engine::ownership::{ClaimEvent, ClaimManager, ClaimRequest};
use hana_engine::roster::Roster;
use hana_protocol::id::role::Role;
use hana_protocol::id::{NodeId, Stamp};
use hana_protocol::message::{Accepted, Control, OperatorState, Priority, TakeReply};
use hana_protocol::parameter::ParameterName;

use crate::rpc::command_client;
use crate::rpc::command_client::CommandError;
use crate::rpc::pending::Pending;
use crate::session::session_worker::SessionWorker;
use crate::state::state_publisher::StatePublisher;
use crate::time::wall_clock::unix_ms;
use crate::transport::send_queue::SenderIdentity;

/// An app or bridge as one of the controllers that share a show.
///
/// It claims, releases and takes over parameters, publishes its claims to the other controllers and receives theirs.
///
/// It gets its information from the roster of a [`MeshObserver`](crate::presence::mesh_observer::MeshObserver): pass
/// it the roster as often as the observer is polled. It keeps its claims through network failures and restarts of
/// visualizations, until they are released or another controller takes them, which it reports. No call blocks.
/// Release everything before the app exits; otherwise the other controllers wait for it for a while.
pub struct OwnershipClient {
    claims: ClaimManager,
    session: StatePublisher<OperatorState>,
    worker: SessionWorker,
    identity: SenderIdentity,
    /// Version and time of the last published state, and the minimum pause before the next.
    told: u64,
    told_at: Option<Instant>,
    pause: Duration,
    visualizations: BTreeSet<NodeId>,
    /// The other controllers, with the last state received from each.
    others: BTreeMap<NodeId, Option<Arc<OperatorState>>>,
    asked: Vec<Asked>,
    looked: Option<Instant>,
}

/// A command whose reply is awaited.
struct Asked {
    node: NodeId,
    at: Instant,
    stamp: Option<Stamp>,
    answer: Answer,
}

enum Answer {
    Take(Pending<Result<TakeReply, CommandError>>),
    Release(Pending<Result<Accepted, CommandError>>),
}

/// Minimum interval between reads of the roster.
const LOOK: Duration = Duration::from_millis(20);
/// Minimum interval between published states, extended by 0.1 s for each hundred claims.
///
/// The other controllers learn the owners from the visualizations themselves.
const TELL: Duration = Duration::from_millis(100);
/// Time limit for a visualization to reply; then the command is sent again.
const ANSWER: Duration = Duration::from_secs(1);
/// Maximum number of commands that await a reply; more are sent when some of these have ended.
const MOST_ASKED: usize = 256;

impl OwnershipClient {
    pub(crate) fn new(
        identity: &SenderIdentity,
        worker: &SessionWorker,
        session: StatePublisher<OperatorState>,
        priority: Priority,
    ) -> Self {
        let mut operator = Self {
            claims: ClaimManager::new(identity.id.clone(), priority),
            session,
            worker: worker.clone(),
            identity: identity.clone(),
            told: 0,
            told_at: None,
            pause: TELL,
            visualizations: BTreeSet::new(),
            others: BTreeMap::new(),
            asked: vec![],
            looked: None,
        };
        operator.tell_others();
        operator
    }

    /// Claims parameters of a visualization, even those with another owner. An absent visualization gets the claim
    /// when it appears.
    pub fn take(&mut self, node: &NodeId, parameters: impl IntoIterator<Item = ParameterName>) {
        self.claims.take(node, parameters, unix_ms());
        self.act();
    }

    /// Releases parameters.
    pub fn release(&mut self, node: &NodeId, parameters: impl IntoIterator<Item = ParameterName>) {
        self.claims.release(node, parameters, unix_ms());
        self.act();
    }

    /// Releases all parameters.
    pub fn release_all(&mut self) {
        self.claims.release_all(unix_ms());
        self.act();
    }

    /// Claims everything that another app owns, has claimed, or owned when it disappeared.
    ///
    /// Returns the number of parameters.
    pub fn take_over(&mut self, app: &NodeId) -> usize {
        let count = self.claims.take_over(app, unix_ms());
        self.act();
        count
    }

    /// Sets the priority of this app among the controllers.
    pub fn set_priority(&mut self, priority: Priority) {
        self.claims.set_priority(priority, unix_ms());
        self.act();
    }

    /// Publishes a note to all operators, in place of the previous note of this app.
    ///
    /// An empty note withdraws it. A note is cut after [`OperatorState::MAX_NOTE`] characters.
    pub fn note(&mut self, text: &str) {
        self.claims.note(text, unix_ms());
        self.act();
    }

    /// Returns the known owners, claims, and parameters left by apps that disappeared.
    #[must_use]
    pub const fn claims(&self) -> &ClaimManager {
        &self.claims
    }

    /// Reads the roster, sends the commands that are due, and returns events for the operator. Does not block.
    pub fn poll(&mut self, roster: &Roster) -> Vec<ClaimEvent> {
        let now = Instant::now();
        if self.looked.is_none_or(|at| now.saturating_duration_since(at) >= LOOK) {
            self.looked = Some(now);
            self.look(roster);
        }
        self.take_answers();
        self.act();
        self.claims.take_events()
    }

    fn look(&mut self, roster: &Roster) {
        let unix_ms = unix_ms();
        let (mut visualizations, mut others) = (BTreeSet::new(), BTreeSet::new());
        for (node, role) in roster.present().filter(|(node, _)| **node != self.identity.id) {
            match role {
                Role::App | Role::Bridge => drop(others.insert(node)),
                Role::Visualization => drop(visualizations.insert(node)),
                Role::Daemon => {},
            }
        }
        // Presence first, because the state of an app has another meaning while the app is present.
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
        for (app, heard) in &mut self.others {
            let Some(session) = roster.session(app) else { continue };
            if !heard.as_ref().is_some_and(|heard| Arc::ptr_eq(heard, session)) {
                self.claims.apply_peer_state(app, session, unix_ms);
                *heard = Some(Arc::clone(session));
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

    fn take_answers(&mut self) {
        let claims = &mut self.claims;
        self.asked.retain(|asked| {
            let Asked { node, at, stamp, answer } = asked;
            // A command without a known outcome is sent again.
            let is_awaited = at.elapsed() < ANSWER * 2;
            let refused = match answer {
                Answer::Take(answer) => match answer.take() {
                    None => return is_awaited && !answer.is_abandoned(),
                    Some(Ok(took)) => {
                        claims.answered(node, &took, unix_ms());
                        None
                    },
                    Some(Err(problem)) => Some(problem),
                },
                Answer::Release(answer) => match answer.take() {
                    None => return is_awaited && !answer.is_abandoned(),
                    Some(outcome) => outcome.err(),
                },
            };
            // A command without a reply is sent again.
            if let (Some(CommandError::Refused { reason, .. }), Some(stamp)) = (refused, stamp) {
                claims.refused(node, stamp, &reason, unix_ms());
            }
            false
        });
    }

    /// Sends due commands to visualizations, and publishes changed state to the other controllers.
    fn act(&mut self) {
        if self.asked.len() < MOST_ASKED {
            let asked = &self.asked;
            let is_asked = |node: &NodeId| asked.iter().any(|asked| asked.node == *node);
            for ClaimRequest { node, command } in
                self.claims.pending_requests(Instant::now(), is_asked)
            {
                let (worker, identity) = (&self.worker, &self.identity);
                let (stamp, answer) = match command {
                    Control::Take(take) => {
                        let stamp = take.stamp.clone();
                        let answer = command_client::ask(worker, identity, &node, take, ANSWER);
                        (stamp, Answer::Take(answer))
                    },
                    Control::Release(release) => {
                        let answer = command_client::ask(worker, identity, &node, release, ANSWER);
                        (None, Answer::Release(answer))
                    },
                    _ => continue,
                };
                self.asked.push(Asked { node, at: Instant::now(), stamp, answer });
            }
        }
        self.tell_others();
    }

    fn tell_others(&mut self) {
        let version = self.claims.version();
        let now = Instant::now();
        let is_soon = |at| now.saturating_duration_since(at) < self.pause;
        if version == self.told || self.told_at.is_some_and(is_soon) {
            return;
        }
        let session = self.claims.operator_state();
        self.told_at = Some(now);
        let hundreds = u32::try_from(session.claims.len() / 100).unwrap_or(u32::MAX);
        self.pause = TELL.saturating_mul(hundreds + 1);
        match self.session.set(&session) {
            Ok(_) => self.told = version,
            Err(problem) => tracing::warn!("what this app plays is not told: {problem}"),
        }
    }
}
