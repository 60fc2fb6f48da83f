use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hana_protocol::wire::Lane;

/// The receive side of one lane: orders, deduplicates and recovers the messages of one publisher instance on one key.
///
/// Pure and without timers: each call passes in the event and the current time and returns actions.
/// [`LaneReceiver::next_deadline`] gives the time of the next [`LaneReceiver::tick`]; a late, early or repeated tick
/// is harmless. Messages may arrive delayed, duplicated or out of order.
///
/// | lane | delivers | requests missing messages |
/// |---|---|---|
/// | [`Lane::ReliableOrdered`] | each once, in order; messages after a gap wait for it | yes |
/// | [`Lane::ReliableUnordered`] | each once, on arrival | yes |
/// | [`Lane::UnreliableSequenced`] | each message newer than all delivered before | no |
/// | [`Lane::UnreliableUnordered`] | each at most once, on arrival | no |
///
/// Invariants:
/// - no message is delivered twice;
/// - every number from the first to the newest is delivered, missing for less than the time to give up, or counted as
///   lost, except for messages sent before the receiver subscribed;
/// - memory is bounded by the limits, whatever numbers arrive.
#[derive(Debug, Clone)]
pub struct LaneReceiver<M> {
    lane: Lane,
    limits: LaneLimits,
    newest: Option<u64>,
    before: JoinPoint,
    /// Ranges of missing numbers, keyed by their first number; no two ranges are adjacent.
    gaps: BTreeMap<u64, Gap>,
    /// Messages that wait for an earlier gap to close, by number.
    held: BTreeMap<u64, M>,
    counts: LaneCounts,
    /// Whether any missing message has arrived since the last reply ended.
    has_progressed: bool,
    /// Whether no node answered the last request.
    is_unanswered: bool,
    /// A lower bound of all deadlines; `None` while nothing is missing. It avoids a scan of all gaps per message.
    due: Option<Instant>,
}

/// Time and memory limits for the recovery of missing messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimits {
    /// Time after which a missing message is counted as lost and the messages behind it are delivered.
    ///
    /// Messages that may have been sent before the receiver subscribed are given up sooner if no node answers the
    /// request: after at most four times `retry_interval`.
    pub give_up_after: Duration,
    /// Time in which a missing message may still arrive out of order, before it is requested.
    ///
    /// Zero on transports that keep the order, such as TCP.
    pub reorder_window: Duration,
    /// Time to wait for a reply before the request is repeated.
    pub retry_interval: Duration,
    /// Number of recent messages that the publisher keeps for retransmission; older ones are unavailable.
    pub publisher_history: u64,
    /// Maximum number of buffered messages; beyond it, the earliest gap is given up.
    pub max_buffered: usize,
    /// Maximum number of gaps; beyond it, the earliest gap is given up.
    pub gaps: usize,
}

/// An action for the caller of a [`LaneReceiver`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneAction<M> {
    /// Deliver the message to the program.
    Deliver {
        /// The message's sequence number.
        sequence: u64,
        /// The message.
        message: M,
    },
    /// Request these numbers from the publisher, both ends inclusive.
    ///
    /// Pass retransmitted messages to [`LaneReceiver::arrive`], and the numbers that the publisher no longer has to
    /// [`LaneReceiver::mark_unavailable`].
    Ask {
        /// The first number.
        first: u64,
        /// The last number.
        last: u64,
    },
    /// Report these numbers as lost, both ends inclusive: they will not be delivered.
    Lost {
        /// The first number.
        first: u64,
        /// The last number.
        last: u64,
    },
}

/// Counts of one publisher's messages by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneCounts {
    /// Messages delivered to the program.
    pub delivered: u64,
    /// Delivered messages that were missing at first.
    pub recovered: u64,
    /// Messages dropped on arrival: already delivered, given up, or older than the newest.
    pub late: u64,
    /// Messages that were never delivered.
    pub lost: u64,
}

/// The treatment of the numbers below the first one that the receiver learns of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JoinPoint {
    /// Those messages were sent before the receiver subscribed.
    AfterStart,
    /// It is unknown when those messages were sent; the receiver requests them from the publisher.
    Unknown,
    /// Those messages are missing.
    FromStart,
}

#[derive(Debug, Clone, Copy)]
struct Gap {
    last: u64,
    /// Whether the missing messages were sent after the receiver subscribed; otherwise they do not count as lost.
    ours: bool,
    since: Instant,
    asked: Option<Instant>,
}

impl Default for LaneLimits {
    fn default() -> Self {
        Self {
            give_up_after: Duration::from_secs(1),
            reorder_window: Duration::ZERO,
            retry_interval: Duration::from_millis(100),
            publisher_history: 4096,
            max_buffered: 8192,
            gaps: 1024,
        }
    }
}

impl<M> LaneReceiver<M> {
    /// Creates a receiver that subscribed while the publisher was already sending.
    ///
    /// Everything before the first received message, or before the first announcement, predates the subscription.
    #[must_use]
    pub const fn late_joiner(lane: Lane, limits: LaneLimits) -> Self {
        Self {
            lane,
            limits,
            newest: None,
            before: JoinPoint::AfterStart,
            gaps: BTreeMap::new(),
            held: BTreeMap::new(),
            counts: LaneCounts { delivered: 0, recovered: 0, late: 0, lost: 0 },
            has_progressed: false,
            is_unanswered: false,
            due: None,
        }
    }

    /// Creates a receiver that subscribed before the publisher started: number 0 is missing if it does not arrive.
    #[must_use]
    pub fn from_start(lane: Lane, limits: LaneLimits) -> Self {
        Self { before: JoinPoint::FromStart, ..Self::late_joiner(lane, limits) }
    }

    /// Creates a receiver for which it is unknown whether the subscriber or the publisher started first.
    ///
    /// It requests everything before the first received message. The publisher's reply determines which messages
    /// predate the subscription ([`LaneReceiver::skip_before_join`]); numbers without any reply do not count as lost.
    #[must_use]
    pub fn unknown_join(lane: Lane, limits: LaneLimits) -> Self {
        Self { before: JoinPoint::Unknown, ..Self::late_joiner(lane, limits) }
    }

    /// Creates a receiver that continues after message `reached` of the same publisher instance: any later number is
    /// missing until it arrives.
    #[must_use]
    pub fn going_on(lane: Lane, limits: LaneLimits, reached: u64) -> Self {
        Self { newest: Some(reached), ..Self::late_joiner(lane, limits) }
    }

    /// Returns the largest number that arrived or was announced.
    #[must_use]
    pub const fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// Returns the counts so far.
    #[must_use]
    pub const fn counts(&self) -> LaneCounts {
        self.counts
    }

    /// Returns how many messages are missing and not yet given up.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.gaps.iter().map(|(first, gap)| gap.last - first + 1).sum()
    }

    /// Returns how many messages are buffered behind a gap.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Handles a message that arrived, either as first sent or as a retransmission.
    pub fn arrive(
        &mut self,
        sequence: u64,
        message: M,
        now: Instant,
        actions: &mut Vec<LaneAction<M>>,
    ) {
        if self.newest.is_none_or(|newest| sequence > newest) {
            self.extend_to(sequence.checked_sub(1), now, actions);
            self.newest = Some(sequence);
            self.accept(sequence, message, actions);
        } else if self.fill_gap(sequence) {
            self.counts.recovered += 1;
            self.has_progressed = true;
            self.accept(sequence, message, actions);
            self.flush_ready(actions);
        } else {
            self.counts.late += 1;
        }
        self.enforce_limits(actions);
        self.ask(now, actions);
    }

    /// Handles the publisher's announcement of its newest number.
    ///
    /// It reveals the loss of the last messages of a stream, which no later message would reveal.
    pub fn announced(&mut self, newest: u64, now: Instant, actions: &mut Vec<LaneAction<M>>) {
        if self.newest.is_none_or(|known| newest > known) {
            if self.newest.is_some() || self.before != JoinPoint::AfterStart {
                self.extend_to(Some(newest), now, actions);
            }
            self.newest = Some(newest);
            self.enforce_limits(actions);
            self.ask(now, actions);
        }
    }

    /// Handles numbers that the publisher no longer has, both ends inclusive.
    pub fn mark_unavailable(&mut self, first: u64, last: u64, actions: &mut Vec<LaneAction<M>>) {
        self.settle(first, last, true, actions);
    }

    /// Handles numbers sent before the receiver subscribed, both ends inclusive: neither delivered nor lost.
    pub fn skip_before_join(&mut self, first: u64, last: u64, actions: &mut Vec<LaneAction<M>>) {
        self.settle(first, last, false, actions);
    }

    fn settle(&mut self, first: u64, last: u64, ours: bool, actions: &mut Vec<LaneAction<M>>) {
        let touched: Vec<(u64, Gap)> = self
            .gaps
            .range(..=last)
            .filter(|(_, gap)| gap.last >= first)
            .map(|(start, gap)| (*start, *gap))
            .collect();
        for (start, gap) in touched {
            self.gaps.remove(&start);
            if start < first {
                self.gaps.insert(start, Gap { last: first - 1, ..gap });
            }
            if gap.last > last {
                self.gaps.insert(last + 1, gap);
            }
            if ours {
                self.lose(start.max(first), gap.last.min(last), actions);
            }
        }
        self.flush_ready(actions);
        self.enforce_limits(actions);
    }

    /// Handles the end of the publisher's reply, which may be incomplete.
    ///
    /// If the reply closed any part of a gap, the receiver requests the rest at once.
    pub fn answered(&mut self, now: Instant, actions: &mut Vec<LaneAction<M>>) {
        self.is_unanswered = false;
        if std::mem::take(&mut self.has_progressed) {
            for gap in self.gaps.values_mut().filter(|gap| gap.asked.is_some()) {
                gap.asked = None;
            }
            self.due = Some(now);
            self.ask(now, actions);
        }
    }

    /// Handles a request that no node answered: the publisher is gone, or does not support retransmission.
    ///
    /// Must not be called for a reply that is merely slow.
    pub fn unanswered(&mut self, now: Instant, actions: &mut Vec<LaneAction<M>>) {
        self.is_unanswered = true;
        self.tick(now, actions);
    }

    /// Gives up overdue gaps and sends the requests that are due at `now`.
    pub fn tick(&mut self, now: Instant, actions: &mut Vec<LaneAction<M>>) {
        while let Some(first) = self.first_overdue(now) {
            self.give_up(first, actions);
        }
        self.due = Some(now);
        self.ask(now, actions);
    }

    /// Handles the end of the publisher's instance: missing messages are lost, and buffered messages are delivered.
    pub fn end(&mut self, actions: &mut Vec<LaneAction<M>>) {
        while let Some((&first, _)) = self.gaps.first_key_value() {
            self.give_up(first, actions);
        }
    }

    /// Returns the time of the next [`LaneReceiver::tick`], or `None` if only a new arrival requires an action.
    ///
    /// The time may be too early, in which case the tick does nothing.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due.filter(|_| !self.gaps.is_empty())
    }

    /// Returns the time at which a gap next requires an action.
    fn due_of(&self, gap: &Gap) -> Instant {
        let lost = gap.since + self.give_up_after(gap);
        self.asks_at(gap).map_or(lost, |asks| asks.min(lost))
    }

    /// Records that all messages up to `last` have been sent.
    fn extend_to(&mut self, last: Option<u64>, now: Instant, actions: &mut Vec<LaneAction<M>>) {
        let first = match self.newest {
            Some(newest) => newest + 1,
            None if self.before == JoinPoint::AfterStart => return,
            None => 0,
        };
        let ours = self.newest.is_some() || self.before == JoinPoint::FromStart;
        let Some(last) = last.filter(|&last| last >= first) else { return };
        if self.lane.drops_older() {
            if ours {
                self.lose(first, last, actions);
            }
            return;
        }
        // Messages outside the publisher's history cannot be retransmitted, so they are given up at once.
        let kept = if self.lane.is_reliable() { self.limits.publisher_history } else { u64::MAX };
        let oldest = last.saturating_sub(kept.saturating_sub(1)).max(first);
        // A buffered message behind an earlier gap precedes the loss recorded here, so `give_up` delivers it first.
        let gap = Gap { last, ours, since: now, asked: None };
        if oldest > first {
            self.gaps.insert(first, Gap { last: oldest - 1, ..gap });
            self.give_up(first, actions);
        }
        let due = self.due_of(&gap);
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
        self.gaps.insert(oldest, gap);
    }

    /// Removes `sequence` from its gap; returns whether it was missing.
    fn fill_gap(&mut self, sequence: u64) -> bool {
        let Some((&first, &gap)) = self.gaps.range(..=sequence).next_back() else { return false };
        if gap.last < sequence {
            return false;
        }
        self.gaps.remove(&first);
        if first < sequence {
            self.gaps.insert(first, Gap { last: sequence - 1, ..gap });
        }
        if sequence < gap.last {
            // This message was sent after we subscribed, so every later one was too.
            self.gaps.insert(sequence + 1, Gap { ours: true, ..gap });
        }
        true
    }

    fn accept(&mut self, sequence: u64, message: M, actions: &mut Vec<LaneAction<M>>) {
        let waits = self.lane == Lane::ReliableOrdered
            && self.gaps.first_key_value().is_some_and(|(&first, _)| first < sequence);
        if waits {
            self.held.insert(sequence, message);
        } else {
            self.deliver(sequence, message, actions);
        }
    }

    /// Delivers the buffered messages that no gap blocks any more.
    fn flush_ready(&mut self, actions: &mut Vec<LaneAction<M>>) {
        let gap = self.gaps.first_key_value().map(|(&first, _)| first);
        while let Some(entry) = self.held.first_entry()
            && gap.is_none_or(|gap| *entry.key() < gap)
        {
            let (sequence, message) = entry.remove_entry();
            self.deliver(sequence, message, actions);
        }
    }

    fn deliver(&mut self, sequence: u64, message: M, actions: &mut Vec<LaneAction<M>>) {
        self.counts.delivered += 1;
        actions.push(LaneAction::Deliver { sequence, message });
    }

    fn lose(&mut self, first: u64, last: u64, actions: &mut Vec<LaneAction<M>>) {
        self.counts.lost = self.counts.lost.saturating_add((last - first).saturating_add(1));
        actions.push(LaneAction::Lost { first, last });
    }

    fn give_up(&mut self, first: u64, actions: &mut Vec<LaneAction<M>>) {
        // On the ordered lane, messages behind an earlier gap also wait for this one, so losses are reported in
        // order.
        while let Some((&earliest, gap)) = self.gaps.first_key_value()
            && earliest <= first
        {
            let Gap { last, ours, .. } = *gap;
            self.gaps.remove(&earliest);
            if ours {
                self.lose(earliest, last, actions);
            }
            self.flush_ready(actions);
        }
    }

    fn first_overdue(&self, now: Instant) -> Option<u64> {
        let overdue =
            |gap: &Gap| now.saturating_duration_since(gap.since) >= self.give_up_after(gap);
        self.gaps.iter().find(|(_, gap)| overdue(gap)).map(|(&first, _)| first)
    }

    fn give_up_after(&self, gap: &Gap) -> Duration {
        let LaneLimits { give_up_after, retry_interval, .. } = self.limits;
        if self.is_unanswered && !gap.ours {
            give_up_after.min(retry_interval * 4)
        } else {
            give_up_after
        }
    }

    fn enforce_limits(&mut self, actions: &mut Vec<LaneAction<M>>) {
        while (self.held.len() > self.limits.max_buffered || self.gaps.len() > self.limits.gaps)
            && let Some((&first, _)) = self.gaps.first_key_value()
        {
            self.give_up(first, actions);
        }
    }

    fn ask(&mut self, now: Instant, actions: &mut Vec<LaneAction<M>>) {
        if self.next_deadline().is_none_or(|due| due > now) {
            return;
        }
        let due: Vec<u64> = self
            .gaps
            .iter()
            .filter(|(_, gap)| self.asks_at(gap).is_some_and(|at| at <= now))
            .map(|(&first, _)| first)
            .collect();
        for first in due {
            if let Some(gap) = self.gaps.get_mut(&first) {
                gap.asked = Some(now);
                actions.push(LaneAction::Ask { first, last: gap.last });
            }
        }
        self.due = self.gaps.values().map(|gap| self.due_of(gap)).min();
    }

    fn asks_at(&self, gap: &Gap) -> Option<Instant> {
        self.lane.is_reliable().then(|| {
            gap.asked.map_or(gap.since + self.limits.reorder_window, |asked| {
                asked + self.limits.retry_interval
            })
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
