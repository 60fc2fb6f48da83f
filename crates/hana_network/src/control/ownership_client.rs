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

/// An app, or a bridge, as one of those who play a show together: what it takes, releases and takes over, what it tells the
/// others, and what it hears of them.
///
/// It lives from what a [`MeshObserver`](crate::presence::mesh_observer::MeshObserver) sees: give it the roster as often as that is looked at. What it has
/// taken it keeps, whatever becomes of the network and of the visualizations, until it is released or somebody else has it;
/// of that it tells. Nothing of it blocks. Release all before the app ends in good order, else others wait for it for a
/// while.
pub struct OwnershipClient {
    wishes: ClaimManager,
    session: StatePublisher<OperatorState>,
    worker: SessionWorker,
    identity: SenderIdentity,
    /// The version of what the others were told last, when that was, and after how long they may be told the next.
    told: u64,
    told_at: Option<Instant>,
    pause: Duration,
    visualizations: BTreeSet<NodeId>,
    /// The others, with what each said last.
    others: BTreeMap<NodeId, Option<Arc<OperatorState>>>,
    asked: Vec<Asked>,
    looked: Option<Instant>,
}

/// A question that is under way.
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

/// How often it looks at the roster at most.
const LOOK: Duration = Duration::from_millis(20);
/// How often the others are told at most; where there is much to be told, less often, a tenth of a second for each hundred
/// wishes. Who holds what they hear from the visualizations themselves.
const TELL: Duration = Duration::from_millis(100);
/// How long a visualization may take to answer; then it is asked again.
const ANSWER: Duration = Duration::from_secs(1);
/// Questions under way; more are asked when some of these have ended.
const MOST_ASKED: usize = 256;

impl OwnershipClient {
    pub(crate) fn new(
        identity: &SenderIdentity,
        worker: &SessionWorker,
        session: StatePublisher<OperatorState>,
        priority: Priority,
    ) -> Self {
        let mut operator = Self {
            wishes: ClaimManager::new(identity.id.clone(), priority),
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

    /// Takes parameters of a visualization, from whoever has them. One that is not there gets to know it when it comes.
    pub fn take(&mut self, node: &NodeId, parameters: impl IntoIterator<Item = ParameterName>) {
        self.wishes.take(node, parameters, unix_ms());
        self.act();
    }

    /// Lets parameters go.
    pub fn release(&mut self, node: &NodeId, parameters: impl IntoIterator<Item = ParameterName>) {
        self.wishes.release(node, parameters, unix_ms());
        self.act();
    }

    /// Lets all go.
    pub fn release_all(&mut self) {
        self.wishes.release_all(unix_ms());
        self.act();
    }

    /// Takes all that another app holds, wishes to hold, or had when it vanished. How many parameters that is.
    pub fn take_over(&mut self, app: &NodeId) -> usize {
        let count = self.wishes.take_over(app, unix_ms());
        self.act();
        count
    }

    /// Makes its word count more, or less, than that of others.
    pub fn set_priority(&mut self, priority: Priority) {
        self.wishes.set_priority(priority, unix_ms());
        self.act();
    }

    /// Writes a note for all operators, in place of the last one of this app; an empty one takes it back. What is longer
    /// than [`OperatorState::MAX_NOTE`] characters is cut.
    pub fn note(&mut self, text: &str) {
        self.wishes.note(text, unix_ms());
        self.act();
    }

    /// What is known of who has what, wishes what and left what behind.
    #[must_use]
    pub const fn wishes(&self) -> &ClaimManager {
        &self.wishes
    }

    /// Takes in what was seen since the last call, asks what is to be asked, and brings what the operator is to be told.
    /// Does not block.
    pub fn poll(&mut self, roster: &Roster) -> Vec<ClaimEvent> {
        let now = Instant::now();
        if self.looked.is_none_or(|at| now.saturating_duration_since(at) >= LOOK) {
            self.looked = Some(now);
            self.look(roster);
        }
        self.take_answers();
        self.act();
        self.wishes.take_news()
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
        // Who is there first: what is said of an app that is there counts otherwise.
        self.others.retain(|app, _| {
            let is_there = others.contains(app);
            if !is_there {
                self.wishes.app_went(app);
            }
            is_there
        });
        for app in &others {
            if !self.others.contains_key(*app) {
                self.wishes.app_came(app);
                self.others.insert((*app).clone(), None);
            }
        }
        for (app, heard) in &mut self.others {
            let Some(session) = roster.session(app) else { continue };
            if !heard.as_ref().is_some_and(|heard| Arc::ptr_eq(heard, session)) {
                self.wishes.hears(app, session, unix_ms);
                *heard = Some(Arc::clone(session));
            }
        }
        self.visualizations.retain(|node| {
            let is_there = visualizations.contains(node);
            if !is_there {
                self.wishes.misses(node);
            }
            is_there
        });
        for node in visualizations {
            let (Some(info), Some(holders)) = (roster.info(node), roster.holders(node)) else {
                continue;
            };
            self.wishes.sees(node, info.instance, holders, unix_ms);
            if !self.visualizations.contains(node) {
                self.visualizations.insert(node.clone());
            }
        }
    }

    fn take_answers(&mut self) {
        let wishes = &mut self.wishes;
        self.asked.retain(|asked| {
            let Asked { node, at, stamp, answer } = asked;
            // Whatever became of it: then it is asked again.
            let is_awaited = at.elapsed() < ANSWER * 2;
            let refused = match answer {
                Answer::Take(answer) => match answer.take() {
                    None => return is_awaited && !answer.is_abandoned(),
                    Some(Ok(took)) => {
                        wishes.answered(node, &took, unix_ms());
                        None
                    },
                    Some(Err(problem)) => Some(problem),
                },
                Answer::Release(answer) => match answer.take() {
                    None => return is_awaited && !answer.is_abandoned(),
                    Some(outcome) => outcome.err(),
                },
            };
            // One that does not answer is asked again.
            if let (Some(CommandError::Refused { reason, .. }), Some(stamp)) = (refused, stamp) {
                wishes.refused(node, stamp, &reason, unix_ms());
            }
            false
        });
    }

    /// Asks visualizations for what they do not say yet, and tells the others what they do not know yet.
    fn act(&mut self) {
        if self.asked.len() < MOST_ASKED {
            let asked = &self.asked;
            let is_asked = |node: &NodeId| asked.iter().any(|asked| asked.node == *node);
            for ClaimRequest { node, command } in self.wishes.due(Instant::now(), is_asked) {
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
        let version = self.wishes.version();
        let now = Instant::now();
        let is_soon = |at| now.saturating_duration_since(at) < self.pause;
        if version == self.told || self.told_at.is_some_and(is_soon) {
            return;
        }
        let session = self.wishes.session();
        self.told_at = Some(now);
        let hundreds = u32::try_from(session.wishes.len() / 100).unwrap_or(u32::MAX);
        self.pause = TELL.saturating_mul(hundreds + 1);
        match self.session.set(&session) {
            Ok(_) => self.told = version,
            Err(problem) => tracing::warn!("what this app plays is not told: {problem}"),
        }
    }
}
