//! Resolves a conflict between two nodes with the same id that are both on the mesh: the younger node leaves.
//!
//! A conflict arises when both nodes joined at the same moment, or when the two parts of a split network are reunited.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::sync::lock::Mutex;
use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::message::Health;
use hana_protocol::wire::{Message, codec};
use zenoh::sample::Locality;
use zenoh::{Session, Wait};

use crate::context::node_context::NodeContext;
use crate::presence::id_conflict::{IdConflict, IdHolder};
use crate::presence::id_holder::instance_holder;
use crate::session::first_reply::first_reply;
use crate::session::session_worker::RegistrationGuard;
use crate::transport::raw_message::RawMessage;

/// The difference in uptime from which it is clear which node is younger.
///
/// Uptimes are compared because the wall clocks of the nodes may differ by years.
const CLEAR_DIFFERENCE: Duration = Duration::from_secs(2);
/// The delay before the node with the larger instance number leaves when the uptimes do not decide.
///
/// The node with the smaller number stays. However, that node may have measured other uptimes and may already have
/// left; in that case, no further heartbeat arrives during the delay.
const GRACE: Duration = Duration::from_millis(1500);
/// The delay before heartbeats without a liveliness token are examined again.
const TOKEN_RECHECK_DELAY: Duration = Duration::from_secs(1);
/// The time limit for a query of the tokens.
const TOKEN_TIMEOUT: Duration = Duration::from_millis(500);

/// The age of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Age {
    /// The time since the node joined.
    up: Duration,
    /// The instance number, which is the time of joining on the node's own clock.
    instance: u64,
}

/// The decision about this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConflictOutcome {
    Keep,
    Yield,
}

/// The state of the comparison with the most recent rival.
#[derive(Debug, Default)]
struct ConflictResolver {
    rival: Option<u64>,
    met: Option<Instant>,
    decided: bool,
}

impl ConflictResolver {
    /// Handles a heartbeat of a rival; returns a decision once for each rival.
    fn resolve(&mut self, now: Instant, mine: Age, theirs: Age) -> Option<ConflictOutcome> {
        if self.rival != Some(theirs.instance) {
            *self = Self { rival: Some(theirs.instance), met: Some(now), decided: false };
        }
        if self.decided {
            return None;
        }
        let outcome = if theirs.up > mine.up + CLEAR_DIFFERENCE {
            ConflictOutcome::Yield
        } else if mine.up > theirs.up + CLEAR_DIFFERENCE || mine.instance <= theirs.instance {
            ConflictOutcome::Keep
        } else if self.met.is_some_and(|met| now.duration_since(met) >= GRACE) {
            ConflictOutcome::Yield
        } else {
            return None;
        };
        self.decided = true;
        Some(outcome)
    }
}

/// Watches for other nodes with this node's id, until the returned guard is dropped.
///
/// A rival is another instance that sends heartbeats with this id. Calls `on_conflict` when this node must leave.
pub(crate) fn watch(
    context: &Arc<NodeContext>,
    on_conflict: impl Fn(IdConflict) + Send + Sync + 'static,
) -> RegistrationGuard {
    let id = &context.identity.id;
    let watch = Arc::new(ConflictWatch {
        context: Arc::downgrade(context),
        began: Instant::now(),
        instance: context.identity.instance,
        resolver: Mutex::default(),
        on_conflict: Box::new(on_conflict),
    });
    let key = Key::Health(id.clone()).to_string();
    context.session_worker.declare(key.clone(), move |session| {
        let watch = Arc::clone(&watch);
        let heartbeats = session
            .declare_subscriber(key.clone())
            .allowed_origin(Locality::Remote)
            .callback(move |sample| {
                watch.receive(&RawMessage::from_sample(&sample, Health::MAX_BYTES));
            })
            .wait()?;
        Ok(Box::new(heartbeats))
    })
}

struct ConflictWatch {
    context: Weak<NodeContext>,
    began: Instant,
    /// The instance of this node.
    instance: u64,
    resolver: Mutex<ConflictResolver>,
    on_conflict: Box<dyn Fn(IdConflict) + Send + Sync>,
}

impl ConflictWatch {
    /// Handles a heartbeat sent with the id of this node.
    fn receive(self: &Arc<Self>, raw: &RawMessage) {
        let Some(theirs) = raw.envelope.as_ref().map(|envelope| envelope.instance) else { return };
        if theirs == self.instance {
            return;
        }
        let Ok(health) = codec::decode::<Health>(&raw.payload, raw.encoding) else { return };
        let mine = Age { up: self.began.elapsed(), instance: self.instance };
        let up = Duration::from_millis(health.uptime_ms);
        let age = Age { up, instance: theirs };
        let outcome = self.resolver.lock().resolve(Instant::now(), mine, age);
        if let Some(outcome) = outcome {
            // Runs in a thread of its own, because a Zenoh callback must not block.
            let watch = Arc::clone(self);
            let resolving = move || watch.carry_out(theirs, outcome);
            let spawned = thread::Builder::new().name("hana rival".into()).spawn(resolving);
            if let Err(problem) = spawned {
                tracing::error!(
                    "cannot resolve a conflict between two nodes with one id: {problem}"
                );
            }
        }
    }

    /// Identifies the other node, reports the conflict and carries out the decision.
    fn carry_out(&self, theirs: u64, outcome: ConflictOutcome) {
        let Some(context) = self.context.upgrade() else { return };
        let Some(session) = context.session_worker.current().map(|active| active.session) else {
            return;
        };
        let id = context.identity.id.clone();
        // Any sender can forge heartbeats, but only a node has a liveliness token. Without a token, the rival may have
        // left, or its token may not have arrived yet.
        if !has_other_token(&session, &id) {
            drop((context, session));
            thread::sleep(TOKEN_RECHECK_DELAY);
            *self.resolver.lock() = ConflictResolver::default();
            return;
        }
        let holder = instance_holder(&session, &id, theirs);
        let who = holder.as_ref().map_or_else(
            || "a node that does not reply".into(),
            |IdHolder { host, pid }| format!("process {pid} on host '{host}'"),
        );
        match outcome {
            ConflictOutcome::Keep => {
                tracing::warn!(
                    "two nodes have the id '{id}': {who} has it too and is younger; it should leave"
                );
            },
            ConflictOutcome::Yield => {
                tracing::error!(
                    "two nodes have the id '{id}': {who} has it too and is older, so this one leaves the mesh. Restart this one with another id: HANA_NODE=... for a program, HANA_HOST=... for a machine (a cloned disk has the hostname of its original)"
                );
                (self.on_conflict)(IdConflict::new(id, holder));
            },
        }
    }
}

fn has_other_token(session: &Session, id: &NodeId) -> bool {
    let mine = session.zid().to_string();
    first_reply(|sender| {
        session
            .liveliness()
            .get(format!("{}/{id}/alive/**", Key::ROOT))
            .timeout(TOKEN_TIMEOUT)
            .callback(move |reply| {
                let Ok(sample) = reply.result() else { return };
                if let Some(Key::Alive { zid, .. }) = Key::parse(sample.key_expr().as_str())
                    && zid != mine
                {
                    sender.try_send(()).ok();
                }
            })
            .wait()
    })
    .is_some()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_millis(100);

    fn age(up_ms: u64, instance: u64) -> Age {
        Age { up: Duration::from_millis(up_ms), instance }
    }

    /// Simulates two nodes that receive each other's heartbeats until one leaves or `heartbeats` have been sent.
    fn simulate(
        mut left: Age,
        mut right: Age,
        heartbeats: u32,
    ) -> (Option<ConflictOutcome>, Option<ConflictOutcome>) {
        let start = Instant::now();
        let (mut left_resolver, mut right_resolver) =
            (ConflictResolver::default(), ConflictResolver::default());
        let mut outcomes = (None, None);
        for heartbeat in 0..heartbeats {
            let now = start + HEARTBEAT * heartbeat;
            if outcomes.1 != Some(ConflictOutcome::Yield) {
                outcomes.0 = outcomes.0.or_else(|| left_resolver.resolve(now, left, right));
            }
            if outcomes.0 != Some(ConflictOutcome::Yield) {
                outcomes.1 = outcomes.1.or_else(|| right_resolver.resolve(now, right, left));
            }
            left.up += HEARTBEAT;
            right.up += HEARTBEAT;
        }
        outcomes
    }

    #[test]
    fn older_node_stays_with_any_clock_difference() {
        for (left, right) in [(9, 1), (1, 9)] {
            let (older, younger) = simulate(age(60_000, left), age(5_000, right), 30);
            assert_eq!(younger, Some(ConflictOutcome::Yield));
            assert_ne!(older, Some(ConflictOutcome::Yield));
        }
    }

    #[test]
    fn exactly_one_of_two_simultaneous_nodes_stays() {
        for apart in [0, 100, 1_900] {
            let (one, other) = simulate(age(5_000, 1), age(5_000 + apart, 2), 30);
            assert_eq!(
                (one, other),
                (Some(ConflictOutcome::Keep), Some(ConflictOutcome::Yield)),
                "{apart}"
            );
        }
    }

    #[test]
    fn clear_decision_of_one_node_spares_the_other() {
        // The two nodes measure different uptimes, which decide for the left node but not for the right one.
        let start = Instant::now();
        let (mut left, mut right) = (ConflictResolver::default(), ConflictResolver::default());
        assert_eq!(left.resolve(start, age(5_000, 1), age(7_010, 2)), Some(ConflictOutcome::Yield));
        assert_eq!(right.resolve(start, age(7_000, 2), age(5_001, 1)), None);
        // The left node has gone, so it sends no further heartbeat.
    }

    #[test]
    fn each_rival_is_decided_once() {
        let now = Instant::now();
        let mut resolver = ConflictResolver::default();
        assert_eq!(resolver.resolve(now, age(60_000, 1), age(0, 2)), Some(ConflictOutcome::Keep));
        assert_eq!(resolver.resolve(now, age(60_100, 1), age(100, 2)), None);
        assert_eq!(resolver.resolve(now, age(60_100, 1), age(0, 3)), Some(ConflictOutcome::Keep));
    }
}
