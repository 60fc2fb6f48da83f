use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::lock::Mutex;
use hana_protocol::id::NodeId;
use hana_protocol::message::{Counters, Health, LaneTraffic, MessageFault, MessageFaultCause};
use hana_protocol::wire::Lane;

/// The counters of a node, which any thread may increment.
///
/// Counting a success is one atomic addition; the faults of each sender are counted under a lock.
#[derive(Debug, Default)]
pub(crate) struct NodeCounters {
    lanes: [LaneCounters; Lane::ALL.len()],
    malformed: Counter,
    limited: Counter,
    impersonated: Counter,
    held: Counter,
    input_lost: Counter,
    troubles: Mutex<BTreeMap<(NodeId, Lane, MessageFaultCause), u64>>,
}

#[derive(Debug, Default)]
struct LaneCounters {
    sent: Counter,
    received: Counter,
    dropped: Counter,
    coalesced: Counter,
    recovered: Counter,
    missed: Counter,
    late: Counter,
}

/// A number that only increases.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl NodeCounters {
    /// The maximum number of (sender, lane, cause) entries; faults beyond it are counted only in the totals.
    const MAX_TROUBLES: usize = 256;

    const fn of(&self, lane: Lane) -> &LaneCounters {
        &self.lanes[lane as usize]
    }

    /// Counts a message passed to Zenoh.
    pub(crate) fn sent(&self, lane: Lane) {
        self.of(lane).sent.add(1);
    }

    /// Counts a message delivered to the program.
    pub(crate) fn received(&self, lane: Lane) {
        self.of(lane).received.add(1);
    }

    /// Counts a message that was not sent because a queue was full.
    pub(crate) fn not_sent(&self, lane: Lane) {
        self.of(lane).dropped.add(1);
    }

    /// Counts messages that newer messages replaced.
    pub(crate) fn coalesced(&self, lane: Lane, count: u64) {
        self.of(lane).coalesced.add(count);
    }

    /// Counts messages dropped because a message from `peer` arrived at a full queue.
    pub(crate) fn dropped(&self, lane: Lane, peer: Option<&NodeId>, count: u64) {
        self.of(lane).dropped.add(count);
        self.trouble(lane, peer, MessageFaultCause::Dropped, count);
    }

    /// Counts messages that a message from `peer` removed from an inbox.
    ///
    /// They count as coalesced on a lane where only the newest message matters, otherwise as dropped.
    pub(crate) fn displaced(&self, lane: Lane, peer: Option<&NodeId>, count: u64) {
        if lane.drops_older() {
            self.coalesced(lane, count);
        } else {
            self.dropped(lane, peer, count);
        }
    }

    /// Counts messages that arrived through retransmission.
    pub(crate) fn recovered(&self, lane: Lane, peer: &NodeId, count: u64) {
        self.of(lane).recovered.add(count);
        self.trouble(lane, Some(peer), MessageFaultCause::Recovered, count);
    }

    /// Counts messages that never arrived.
    pub(crate) fn missed(&self, lane: Lane, peer: Option<&NodeId>, count: u64) {
        self.of(lane).missed.add(count);
        self.trouble(lane, peer, MessageFaultCause::Missed, count);
    }

    /// Counts messages that arrived twice or after a newer message.
    pub(crate) fn late(&self, lane: Lane, peer: Option<&NodeId>, count: u64) {
        self.of(lane).late.add(count);
        self.trouble(lane, peer, MessageFaultCause::Late, count);
    }

    /// Counts a message that could not be used.
    pub(crate) fn malformed(&self, lane: Lane, peer: Option<&NodeId>) {
        self.malformed.add(1);
        self.trouble(lane, peer, MessageFaultCause::Malformed, 1);
    }

    /// Counts a message that exceeded its sender's rate.
    pub(crate) fn limited(&self, lane: Lane, peer: Option<&NodeId>) {
        self.limited.add(1);
        self.trouble(lane, peer, MessageFaultCause::Limited, 1);
    }

    /// Counts a message that was not sent by the owner of its key.
    pub(crate) fn impersonated(&self, lane: Lane, peer: Option<&NodeId>) {
        self.impersonated.add(1);
        self.trouble(lane, peer, MessageFaultCause::Impersonated, 1);
    }

    /// Counts values that were dropped because another controller owns their parameters.
    pub(crate) fn held(&self, lane: Lane, peer: Option<&NodeId>, count: u64) {
        self.held.add(count);
        self.trouble(lane, peer, MessageFaultCause::Held, count);
    }

    /// Counts messages of another protocol that the operating system dropped.
    pub(crate) fn input_lost(&self, count: u64) {
        self.input_lost.add(count);
    }

    fn trouble(&self, lane: Lane, peer: Option<&NodeId>, cause: MessageFaultCause, count: u64) {
        let Some(peer) = peer.filter(|_| count > 0) else { return };
        let mut troubles = self.troubles.lock();
        let of = (peer.clone(), lane, cause);
        if troubles.len() < Self::MAX_TROUBLES || troubles.contains_key(&of) {
            *troubles.entry(of).or_default() += count;
        }
    }

    /// Returns the totals over all lanes.
    pub(crate) fn totals(&self) -> Counters {
        let total = |of: fn(&LaneCounters) -> &Counter| -> u64 {
            self.lanes.iter().map(|lane| of(lane).get()).sum()
        };
        Counters {
            sent: total(|lane| &lane.sent),
            received: total(|lane| &lane.received),
            dropped: total(|lane| &lane.dropped),
            coalesced: total(|lane| &lane.coalesced),
            recovered: total(|lane| &lane.recovered),
            missed: total(|lane| &lane.missed),
            late: total(|lane| &lane.late),
            malformed: self.malformed.get(),
            limited: self.limited.get(),
            impersonated: self.impersonated.get(),
            // The playback state counts overdue values.
            overdue: 0,
            held: self.held.get(),
            input_lost: self.input_lost.get(),
        }
    }

    /// Returns the counters of one lane.
    pub(crate) fn lane(&self, lane: Lane) -> LaneTraffic {
        let of = self.of(lane);
        LaneTraffic {
            sent: of.sent.get(),
            received: of.received.get(),
            dropped: of.dropped.get(),
            coalesced: of.coalesced.get(),
            recovered: of.recovered.get(),
            missed: of.missed.get(),
            late: of.late.get(),
        }
    }

    /// Returns the counters of each lane that carried a message.
    pub(crate) fn lanes(&self) -> BTreeMap<Lane, LaneTraffic> {
        Lane::ALL
            .into_iter()
            .map(|lane| (lane, self.lane(lane)))
            .filter(|(_, traffic)| *traffic != LaneTraffic::default())
            .collect()
    }

    /// Returns the most frequent faults, in descending order.
    pub(crate) fn troubles(&self) -> Vec<MessageFault> {
        let mut troubles: Vec<MessageFault> = {
            let troubles = self.troubles.lock();
            let trouble =
                |((peer, lane, cause), count): (&(NodeId, Lane, MessageFaultCause), &u64)| {
                    MessageFault { peer: peer.clone(), lane: *lane, cause: *cause, count: *count }
                };
            troubles.iter().map(trouble).collect()
        };
        troubles.sort_by_key(|trouble| std::cmp::Reverse(trouble.count));
        troubles.truncate(Health::MAX_TROUBLES);
        troubles
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_kept_by_lane_and_peer() {
        let counters = NodeCounters::default();
        let peer = NodeId::new("thrower").unwrap();
        counters.received(Lane::ReliableOrdered);
        counters.missed(Lane::ReliableOrdered, Some(&peer), 3);
        counters.displaced(Lane::UnreliableSequenced, Some(&peer), 2);
        counters.displaced(Lane::UnreliableUnordered, Some(&peer), 4);
        let Counters { received, missed, coalesced, dropped, .. } = counters.totals();
        assert_eq!((received, missed, coalesced, dropped), (1, 3, 2, 4));
        let lanes = counters.lanes();
        assert_eq!(lanes.len(), 3);
        assert_eq!(lanes[&Lane::ReliableOrdered].missed, 3);
        let causes: Vec<(MessageFaultCause, u64)> =
            counters.troubles().iter().map(|trouble| (trouble.cause, trouble.count)).collect();
        assert_eq!(causes, [(MessageFaultCause::Dropped, 4), (MessageFaultCause::Missed, 3)]);
    }

    #[test]
    fn forged_senders_take_bounded_memory() {
        let counters = NodeCounters::default();
        for number in 0..1000 {
            let peer = NodeId::new("x").unwrap().numbered(number);
            counters.late(Lane::ReliableOrdered, Some(&peer), 1);
        }
        assert_eq!(counters.totals().late, 1000);
        let remembered = counters.troubles.lock().len();
        assert_eq!(remembered, NodeCounters::MAX_TROUBLES);
        assert_eq!(counters.troubles().len(), Health::MAX_TROUBLES);
    }
}
