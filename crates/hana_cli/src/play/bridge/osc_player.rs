use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use hana_engine::roster::{NodeView, Roster};
use hana_network::{MeshObserver, Node, OwnershipClient, PlaySession};
use hana_protocol::id::role::Role;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::ProcessState;
use hana_protocol::parameter::ParameterError;
use thiserror::Error;

use super::osc_input::DatagramBatch;
use super::osc_message;
use super::osc_message::OscValue;
use super::rate_limited_errors::RateLimitedErrors;
use super::reach::{Reach, ReachNews};
use crate::output;

/// Plays received OSC messages.
///
/// Values for a visualization that is already played go to its open play session. The roster is searched only for
/// other visualizations.
pub(super) struct OscPlayer {
    node: Node<role::Bridge>,
    watch: MeshObserver,
    /// The time at which the roster was last polled.
    polled: Instant,
    /// Announces this bridge's priority (`HANA_PRIORITY`). The bridge makes no claims; it owns the parameters that it
    /// plays.
    operator: OwnershipClient,
    played: BTreeMap<NodeId, PlayedTarget>,
    /// The target of each message, by all bytes of the message before the number.
    targets: HashMap<Box<[u8]>, Target>,
    errors: RateLimitedErrors,
}

struct PlayedTarget {
    session: PlaySession,
    reach: Reach,
}

#[derive(Clone)]
struct Target {
    session: PlaySession,
    place: usize,
}

/// The reason why a value is not played.
#[derive(Debug, Error)]
enum OscPlayError {
    /// No visualization of that name is known.
    #[error("there is no visualization '{node}'")]
    NotThere {
        /// The name.
        node: NodeId,
    },
    /// The visualization rejects the value.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
}

/// Maximum number of cached addresses. A show has fewer addresses, unless a sender invents variants of them.
const MAX_TARGETS: usize = 8192;
/// How long the first reading of the roster may take.
const ROSTER_TIMEOUT: Duration = Duration::from_millis(500);
/// Minimum interval between roster lookups for an unknown visualization, however many messages are sent to it.
const LOOKUP_INTERVAL: Duration = Duration::from_millis(5);
/// How long leaving the mesh may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

impl OscPlayer {
    /// Creates a player, and waits for the first reading of the roster, at most [`ROSTER_TIMEOUT`].
    pub(super) fn new(node: Node<role::Bridge>) -> Self {
        let mut watch = node.watch_mesh();
        watch.wait_until_complete(ROSTER_TIMEOUT);
        Self {
            watch,
            polled: Instant::now(),
            operator: node.ownership_client(),
            node,
            played: BTreeMap::new(),
            targets: HashMap::new(),
            errors: RateLimitedErrors::default(),
        }
    }

    pub(super) const fn node(&self) -> &Node<role::Bridge> {
        &self.node
    }

    /// Plays the datagrams of a batch, in order.
    pub(super) fn play(&mut self, batch: &DatagramBatch) {
        for datagram in batch.datagrams() {
            self.play_datagram(datagram);
        }
    }

    fn play_datagram(&mut self, datagram: &[u8]) {
        let simple = osc_message::simple(datagram);
        if let Some((head, value)) = simple
            && let Some(target) = self.targets.get(head)
        {
            if let Err(problem) = target.session.set_at(target.place, value) {
                let address = osc_message::address(head);
                self.report(&format!("{address}: {problem}"));
            }
            return;
        }
        for value in osc_message::read(datagram) {
            match value {
                Ok(value) => match self.play_value(&value) {
                    Ok(target) => {
                        if let Some((head, _)) = simple {
                            self.remember(head, target);
                        }
                    },
                    Err(problem) => self.refuse(&value, &problem),
                },
                Err(error) => self.report(&error.to_string()),
            }
        }
    }

    fn play_value(&mut self, value: &OscValue) -> Result<Target, OscPlayError> {
        let OscValue { node, parameter, value } = value;
        let session = match self.played.get(node) {
            Some(played) => played.session.clone(),
            None => self.open(node)?,
        };
        let place = session.place(parameter)?;
        session.set_at(place, *value)?;
        Ok(Target { session, place })
    }

    fn remember(&mut self, head: &[u8], target: Target) {
        if self.targets.len() >= MAX_TARGETS {
            self.targets.clear();
        }
        self.targets.insert(head.into(), target);
    }

    /// Opens a play session with a visualization that is present, or is expected back.
    fn open(&mut self, node: &NodeId) -> Result<PlaySession, OscPlayError> {
        if self.polled.elapsed() >= LOOKUP_INTERVAL {
            self.watch.poll();
            self.polled = Instant::now();
        }
        let roster = self.watch.roster();
        if !is_expected(roster, node) {
            return Err(OscPlayError::NotThere { node: node.clone() });
        }
        // A listed node whose parameters are not known yet is played as soon as they are known.
        let session = match roster.info(node) {
            Some(info) => self.node.play_session_with_info(info),
            None => self.node.play_session(node),
        };
        let played = PlayedTarget { session: session.clone(), reach: Reach::new(Instant::now()) };
        self.played.insert(node.clone(), played);
        Ok(session)
    }

    fn refuse(&mut self, value: &OscValue, problem: &OscPlayError) {
        let OscValue { node, parameter, .. } = value;
        let text = format!("/hana/{node}/{parameter}: {problem}");
        if !self.errors.report(&text, Instant::now()) {
            return;
        }
        if matches!(problem, OscPlayError::NotThere { .. }) {
            let there = visualizations(self.watch.roster());
            output::warn(format_args!("{text}; the mesh has: {there}"));
        } else {
            output::warn(&text);
        }
    }

    /// Prints an error, at a bounded rate.
    pub(super) fn report(&mut self, error: &str) {
        if self.errors.report(error, Instant::now()) {
            output::warn(error);
        }
    }

    /// Polls the mesh and the state of the sessions.
    pub(super) fn poll(&mut self) {
        let now = Instant::now();
        self.watch.poll();
        self.polled = now;
        let roster = self.watch.roster();
        self.operator.poll(roster);
        let before = self.played.len();
        self.played.retain(|node, played| {
            let status = played.session.status();
            // A visualization that answers is present, even if the roster does not list it.
            status.is_answered() || is_expected(roster, node)
        });
        if self.played.len() < before {
            let played = &self.played;
            self.targets.retain(|_, target| played.contains_key(target.session.node()));
        }
        for (node, played) in &mut self.played {
            let status = played.session.status();
            let is_played = played.session.is_played();
            match played.reach.look(status.is_answered(), is_played, now) {
                Some(ReachNews::Silent) => output::warn(format_args!(
                    "'{node}' does not reply, directly or over the mesh; if it returns within ten seconds, it gets the newest value of each parameter"
                )),
                Some(ReachNews::Back) => {
                    output::warn(format_args!("'{node}' replies again and is played: {status}"));
                },
                None => {},
            }
        }
        for line in self.errors.tick(now) {
            output::warn(&line);
        }
    }

    /// Leaves the mesh cleanly.
    pub(super) fn leave(self) {
        self.node.leave().wait(LEAVE_TIMEOUT).ok();
    }
}

/// Whether a visualization is on the mesh, or was on the mesh and may return automatically.
fn is_expected(roster: &Roster, node: &NodeId) -> bool {
    let may_come = |view: NodeView| {
        view.role == Role::Visualization
            && (view.state.is_alive() || view.state == ProcessState::Restarting)
    };
    roster.view(node, hana_network::unix_ms()).is_some_and(may_come)
}

/// Lists the visualizations on the mesh, for people.
fn visualizations(roster: &Roster) -> String {
    let is_there = |view: &NodeView| view.role == Role::Visualization && view.state.is_alive();
    let views = roster.views(hana_network::unix_ms());
    let names: Vec<String> =
        views.into_iter().filter(is_there).map(|view| view.node.to_string()).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
