//! Resolves a conflict between two nodes with the same id that are both on the mesh. The younger leaves.
//!
//! It happens when both joined at the same moment, or when a split network has healed.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::{Health, NodeInfo};
use hana_protocol::wire::{Message, codec};
use zenoh::sample::Locality;
use zenoh::{Session, Wait};

use crate::node::node::{NodeContext, first_reply};
use crate::session::session_worker::RegistrationGuard;
use crate::transport::inbound::raw;

/// Another, older node has the id of this node, so this one has left the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdConflict {
    /// The id of both nodes.
    pub node: NodeId,
    /// Host and process id of the other node, if it replied.
    pub holder: Option<(NodeId, u32)>,
}

impl fmt::Display for IdConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the id '{}' is taken ", self.node)?;
        match &self.holder {
            Some((host, pid)) => write!(f, "by process {pid} on host '{host}'")?,
            None => f.write_str("by a node that does not answer")?,
        }
        f.write_str(
            "; give this one another: HANA_NODE=... for a program, HANA_HOST=... for a machine (a cloned disk has the hostname of its original)",
        )
    }
}

/// The difference in uptime that makes clear which node is younger.
///
/// Uptimes are compared because the wall clocks of the nodes may differ by years.
const CLEAR: Duration = Duration::from_secs(2);
/// Delay before the node with the larger instance number leaves when the uptimes do not decide.
///
/// The node with the smaller number stays. To that node the uptimes may have decided, so that it has already left.
const GRACE: Duration = Duration::from_millis(1500);
/// Interval between checks of heartbeats that have no liveliness token.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Time limit for the reply of the other node.
const ASK: Duration = Duration::from_millis(500);

/// The age of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Age {
    /// Time since the node joined.
    up: Duration,
    /// Instance number: the time of joining, by the node's own clock.
    instance: u64,
}

/// The decision about this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConflictOutcome {
    Stays,
    GivesWay,
}

/// The comparison with the most recent rival.
#[derive(Debug, Default)]
struct ConflictResolver {
    rival: Option<u64>,
    met: Option<Instant>,
    decided: bool,
}

impl ConflictResolver {
    /// Handles a heartbeat of a rival; returns the decision once per rival.
    fn hear(&mut self, now: Instant, mine: Age, theirs: Age) -> Option<ConflictOutcome> {
        if self.rival != Some(theirs.instance) {
            *self = Self { rival: Some(theirs.instance), met: Some(now), decided: false };
        }
        if self.decided {
            return None;
        }
        let outcome = if theirs.up > mine.up + CLEAR {
            ConflictOutcome::GivesWay
        } else if mine.up > theirs.up + CLEAR || mine.instance <= theirs.instance {
            ConflictOutcome::Stays
        } else if self.met.is_some_and(|met| now.duration_since(met) >= GRACE) {
            ConflictOutcome::GivesWay
        } else {
            return None;
        };
        self.decided = true;
        Some(outcome)
    }
}

/// Watches for other nodes with this node's id, until the returned guard is dropped.
///
/// A rival is another instance that sends heartbeats under this id.
pub(crate) fn watch(core: &Arc<NodeContext>, role: Role) -> RegistrationGuard {
    let key = Key::Health(core.identity.id.clone()).to_string();
    let (begun, instance) = (Instant::now(), core.identity.instance);
    let contest = Arc::new(Mutex::new(ConflictResolver::default()));
    let of_callback = Arc::downgrade(core);
    core.worker().declare(key.clone(), move |session| {
        let (core, contest) = (of_callback.clone(), Arc::clone(&contest));
        let callback = move |sample| {
            let raw = raw(&sample, Health::MAX_BYTES);
            let Some(theirs) = raw.envelope.as_ref().map(|envelope| envelope.instance) else {
                return;
            };
            if theirs == instance {
                return;
            }
            let Ok(health) = codec::decode::<Health>(&raw.payload, raw.encoding) else { return };
            let mine = Age { up: begun.elapsed(), instance };
            let up = Duration::from_millis(health.uptime_ms);
            let theirs = Age { up, instance: theirs };
            let outcome = contest.lock().unwrap_or_else(PoisonError::into_inner).hear(
                Instant::now(),
                mine,
                theirs,
            );
            if let Some(outcome) = outcome {
                settle(core.clone(), Arc::clone(&contest), role, theirs.instance, outcome);
            }
        };
        let beats = session
            .declare_subscriber(key.clone())
            .allowed_origin(Locality::Remote)
            .callback(callback)
            .wait()?;
        Ok(Box::new(beats))
    })
}

/// Identifies the other node, reports the conflict and carries out the decision.
///
/// Runs on its own thread, because a Zenoh callback must not block.
fn settle(
    core: Weak<NodeContext>,
    contest: Arc<Mutex<ConflictResolver>>,
    role: Role,
    theirs: u64,
    outcome: ConflictOutcome,
) {
    let settling = move || {
        let Some(core) = core.upgrade() else { return };
        let Some(session) = core.worker().seat().map(|seat| seat.session) else { return };
        let id = core.identity.id.clone();
        // Any sender can forge heartbeats, but a node has a liveliness token. The token may be gone again, or not be
        // here yet.
        if !has_other_token(&session, &id) {
            drop((core, session));
            thread::sleep(LOOK_AGAIN);
            *contest.lock().unwrap_or_else(PoisonError::into_inner) = ConflictResolver::default();
            return;
        }
        let holder = holder_of(&session, &id, theirs);
        let who = holder.as_ref().map_or_else(
            || "a node that does not say where it is".into(),
            |(host, pid)| format!("process {pid} on host '{host}'"),
        );
        match outcome {
            ConflictOutcome::Stays => {
                tracing::warn!(
                    "'{id}' is there twice: {who} has this id too, and is the younger; it should give way"
                );
            },
            ConflictOutcome::GivesWay => {
                tracing::error!(
                    "'{id}' is there twice: {who} has this id too, and is the older; this one leaves the mesh. Start it again with another id: HANA_NODE=... for a program, HANA_HOST=... for a machine (a cloned disk has the hostname of its original)"
                );
                let rival = IdConflict { node: id, holder };
                core.connection.gives_way(&rival);
                if role != Role::Daemon {
                    core.leave(|| ());
                }
                core.displaced.push("", rival);
                core.config.news.tell();
            },
        }
    };
    if let Err(problem) = thread::Builder::new().name("hana rival".into()).spawn(settling) {
        tracing::error!("two nodes have one id, and it is not settled: {problem}");
    }
}

fn has_other_token(session: &Session, id: &NodeId) -> bool {
    let mine = session.zid().to_string();
    first_reply(|sender| {
        session
            .liveliness()
            .get(format!("{}/{id}/alive/**", Key::ROOT))
            .timeout(ASK)
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

/// Returns host and process id of the other node with this id and that instance number.
fn holder_of(session: &Session, id: &NodeId, instance: u64) -> Option<(NodeId, u32)> {
    first_reply(|sender| {
        session
            .get(Key::Info(id.clone()).to_string())
            .target(zenoh::query::QueryTarget::All)
            .consolidation(zenoh::query::ConsolidationMode::None)
            .congestion_control(zenoh::qos::CongestionControl::Drop)
            .allowed_destination(Locality::Remote)
            .timeout(ASK)
            .callback(move |reply| {
                let Ok(sample) = reply.result() else { return };
                let raw = raw(sample, NodeInfo::MAX_BYTES);
                if let Ok(info) = codec::decode::<NodeInfo>(&raw.payload, raw.encoding)
                    && info.instance == instance
                {
                    sender.try_send((info.host, info.pid)).ok();
                }
            })
            .wait()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_millis(100);

    fn age(up_ms: u64, instance: u64) -> Age {
        Age { up: Duration::from_millis(up_ms), instance }
    }

    /// Simulates two nodes that receive each other's heartbeats until one leaves or `beats` have passed.
    fn meet(
        mut left: Age,
        mut right: Age,
        beats: u32,
    ) -> (Option<ConflictOutcome>, Option<ConflictOutcome>) {
        let start = Instant::now();
        let (mut of_left, mut of_right) =
            (ConflictResolver::default(), ConflictResolver::default());
        let mut outcomes = (None, None);
        for beat in 0..beats {
            let now = start + BEAT * beat;
            if outcomes.1 != Some(ConflictOutcome::GivesWay) {
                outcomes.0 = outcomes.0.or_else(|| of_left.hear(now, left, right));
            }
            if outcomes.0 != Some(ConflictOutcome::GivesWay) {
                outcomes.1 = outcomes.1.or_else(|| of_right.hear(now, right, left));
            }
            left.up += BEAT;
            right.up += BEAT;
        }
        outcomes
    }

    #[test]
    fn the_one_that_has_run_longer_stays_whatever_the_clocks_say() {
        for (left, right) in [(9, 1), (1, 9)] {
            let (older, younger) = meet(age(60_000, left), age(5_000, right), 30);
            assert_eq!(younger, Some(ConflictOutcome::GivesWay));
            assert_ne!(older, Some(ConflictOutcome::GivesWay));
        }
    }

    #[test]
    fn of_two_that_came_together_exactly_one_stays() {
        for apart in [0, 100, 1_900] {
            let (one, other) = meet(age(5_000, 1), age(5_000 + apart, 2), 30);
            assert_eq!(
                (one, other),
                (Some(ConflictOutcome::Stays), Some(ConflictOutcome::GivesWay)),
                "{apart}"
            );
        }
    }

    #[test]
    fn one_that_sees_it_clearly_spares_the_other() {
        // The two measure different uptimes: they decide for the left node, but not for the right one.
        let start = Instant::now();
        let (mut left, mut right) = (ConflictResolver::default(), ConflictResolver::default());
        assert_eq!(left.hear(start, age(5_000, 1), age(7_010, 2)), Some(ConflictOutcome::GivesWay));
        assert_eq!(right.hear(start, age(7_000, 2), age(5_001, 1)), None);
        // The left node has gone, so it sends no further heartbeat.
    }

    #[test]
    fn each_rival_is_settled_once() {
        let now = Instant::now();
        let mut contest = ConflictResolver::default();
        assert_eq!(contest.hear(now, age(60_000, 1), age(0, 2)), Some(ConflictOutcome::Stays));
        assert_eq!(contest.hear(now, age(60_100, 1), age(100, 2)), None);
        assert_eq!(contest.hear(now, age(60_100, 1), age(0, 3)), Some(ConflictOutcome::Stays));
    }
}
