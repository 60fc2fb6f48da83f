use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hana_protocol::wire::Lane;

/// The receive side of one lane: what becomes of the messages of one run of one publisher on one key.
///
/// Pure: it is told what arrived and what time it is, and answers with what to do. It has no timers; it says
/// with [`LaneReceiver::next_deadline`] when it wants a [`LaneReceiver::tick`], and a tick that comes late, early or
/// twice does no harm. What arrived may have been delayed, doubled or overtaken on its way.
///
/// | lane | delivers | asks for what is missing |
/// |---|---|---|
/// | [`Lane::ReliableOrdered`] | each once, in order; what comes after a gap waits for it | yes |
/// | [`Lane::ReliableUnordered`] | each once, as soon as it is there | yes |
/// | [`Lane::UnreliableSequenced`] | what is newer than all before | no |
/// | [`Lane::UnreliableUnordered`] | each at most once, as soon as it is there | no |
///
/// It holds that
/// - nothing is delivered twice;
/// - every number from the first to the newest is delivered, missing for less than the patience, or counted as lost,
///   but for what was sent before the receiver was there;
/// - what it remembers is bounded by its limits, whatever numbers arrive.
#[derive(Debug, Clone)]
pub struct LaneReceiver<M> {
    lane: Lane,
    limits: LaneLimits,
    newest: Option<u64>,
    before: JoinPoint,
    /// What is missing, by its first number. No two touch.
    gaps: BTreeMap<u64, Gap>,
    /// What waits for a gap before it to be closed, by its number.
    held: BTreeMap<u64, M>,
    counts: LaneCounts,
    /// Whether anything that was missing has come since the last answer ended.
    has_progressed: bool,
    /// Whether the last question that ended found nobody who answers.
    is_unanswered: bool,
    /// Not later than anything is due; none while nothing is missing. Else each message would have to look at all gaps.
    due: Option<Instant>,
}

/// How long, and how much of it, is waited for what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimits {
    /// What is missing for this long is lost: counted, and what waits for it is delivered. What was sent before the first
    /// message that arrived, and may not have been for this receiver, is waited for four times `ask_every` at most where
    /// nobody answers.
    pub patience: Duration,
    /// How long what is missing may still come by itself, before it is asked for. Zero where nothing overtakes
    /// anything, as over TCP.
    pub grace: Duration,
    /// How long an answer may take before it is asked again.
    pub ask_every: Duration,
    /// How many of the newest messages the publisher keeps to answer from; what is older cannot be had.
    pub kept: u64,
    /// The most messages that wait for one before them; of more, the oldest gap is given up.
    pub held: usize,
    /// The most stretches of missing numbers; of more, the oldest is given up.
    pub gaps: usize,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneAction<M> {
    /// Hand it to the program.
    Deliver {
        /// Its place in its publisher's sequence.
        sequence: u64,
        /// It.
        message: M,
    },
    /// Ask the publisher for these, both inclusive. What comes is to be told like what arrives by itself; what the
    /// publisher does not have any more, with [`LaneReceiver::absent`].
    Ask {
        /// The first number.
        first: u64,
        /// The last number.
        last: u64,
    },
    /// These will not be delivered: to be reported. Both inclusive.
    Lost {
        /// The first number.
        first: u64,
        /// The last number.
        last: u64,
    },
}

/// What became of the messages of one publisher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneCounts {
    /// Handed to the program.
    pub delivered: u64,
    /// Of those: missing at first.
    pub recovered: u64,
    /// Thrown away on arrival: delivered before, given up, or overtaken by a newer one.
    pub late: u64,
    /// Never delivered.
    pub lost: u64,
}

/// What is thought of the numbers before the first one that is heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JoinPoint {
    /// They were not for this receiver.
    NotForUs,
    /// The publisher is asked.
    Unknown,
    /// They are missing.
    Missing,
}

#[derive(Debug, Clone, Copy)]
struct Gap {
    last: u64,
    /// Whether what is missing was for this receiver: what was not is not lost.
    ours: bool,
    since: Instant,
    asked: Option<Instant>,
}

impl Default for LaneLimits {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(1),
            grace: Duration::ZERO,
            ask_every: Duration::from_millis(100),
            kept: 4096,
            held: 8192,
            gaps: 1024,
        }
    }
}

impl<M> LaneReceiver<M> {
    /// For one who came while the publisher was sending: what was sent before the first message that arrives, or
    /// before the first announcement, was not for him.
    #[must_use]
    pub const fn joining(lane: Lane, limits: LaneLimits) -> Self {
        Self {
            lane,
            limits,
            newest: None,
            before: JoinPoint::NotForUs,
            gaps: BTreeMap::new(),
            held: BTreeMap::new(),
            counts: LaneCounts { delivered: 0, recovered: 0, late: 0, lost: 0 },
            has_progressed: false,
            is_unanswered: false,
            due: None,
        }
    }

    /// For one who was there before the publisher: what it sent first, number 0, is missing if it does not come.
    #[must_use]
    pub fn from_beginning(lane: Lane, limits: LaneLimits) -> Self {
        Self { before: JoinPoint::Missing, ..Self::joining(lane, limits) }
    }

    /// For one who does not know which of them was there first: what was sent before the first message that arrives is
    /// asked for, and the publisher says with [`LaneReceiver::not_for_us`] what came before his time. What nobody
    /// knows anything of is not counted as lost.
    #[must_use]
    pub fn asking_back(lane: Lane, limits: LaneLimits) -> Self {
        Self { before: JoinPoint::Unknown, ..Self::joining(lane, limits) }
    }

    /// For one who has had all up to `reached` of this publisher before: what comes after that is missing if it does not come.
    #[must_use]
    pub fn going_on(lane: Lane, limits: LaneLimits, reached: u64) -> Self {
        Self { newest: Some(reached), ..Self::joining(lane, limits) }
    }

    /// The largest number that arrived or was announced.
    #[must_use]
    pub const fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// What became of the messages until now.
    #[must_use]
    pub const fn counts(&self) -> LaneCounts {
        self.counts
    }

    /// How many numbers are missing and not yet given up.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.gaps.iter().map(|(first, gap)| gap.last - first + 1).sum()
    }

    /// How many messages wait for one before them.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// A message has arrived, by itself or because it was asked for.
    pub fn arrive(
        &mut self,
        sequence: u64,
        message: M,
        now: Instant,
        actions: &mut Vec<LaneAction<M>>,
    ) {
        if self.newest.is_none_or(|newest| sequence > newest) {
            self.reach(sequence.checked_sub(1), now, actions);
            self.newest = Some(sequence);
            self.take(sequence, message, actions);
        } else if self.fill(sequence) {
            self.counts.recovered += 1;
            self.has_progressed = true;
            self.take(sequence, message, actions);
            self.release(actions);
        } else {
            self.counts.late += 1;
        }
        self.keep_bounds(actions);
        self.ask(now, actions);
    }

    /// The publisher has said which number its newest message has. So the loss of a last message is noticed, after
    /// which nothing comes.
    pub fn announced(&mut self, newest: u64, now: Instant, actions: &mut Vec<LaneAction<M>>) {
        if self.newest.is_none_or(|known| newest > known) {
            if self.newest.is_some() || self.before != JoinPoint::NotForUs {
                self.reach(Some(newest), now, actions);
            }
            self.newest = Some(newest);
            self.keep_bounds(actions);
            self.ask(now, actions);
        }
    }

    /// The publisher does not have these any more, both inclusive.
    pub fn absent(&mut self, first: u64, last: u64, actions: &mut Vec<LaneAction<M>>) {
        self.settle(first, last, true, actions);
    }

    /// These were sent before this receiver was there, both inclusive: they are neither delivered nor lost.
    pub fn not_for_us(&mut self, first: u64, last: u64, actions: &mut Vec<LaneAction<M>>) {
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
        self.release(actions);
        self.keep_bounds(actions);
    }

    /// The publisher has ended an answer, which may be less than what was asked for. If it brought anything, what is
    /// still missing is asked for at once.
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

    /// Nobody was there to answer a question: the publisher has gone, or is a program that answers none. One whose answer is
    /// only long under way is not meant.
    pub fn unanswered(&mut self, now: Instant, actions: &mut Vec<LaneAction<M>>) {
        self.is_unanswered = true;
        self.tick(now, actions);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, actions: &mut Vec<LaneAction<M>>) {
        while let Some(first) = self.first_overdue(now) {
            self.give_up(first, actions);
        }
        self.due = Some(now);
        self.ask(now, actions);
    }

    /// The publisher's run is over, and will answer nothing: what is missing is lost, what waits is delivered.
    pub fn end(&mut self, actions: &mut Vec<LaneAction<M>>) {
        while let Some((&first, _)) = self.gaps.first_key_value() {
            self.give_up(first, actions);
        }
    }

    /// When a [`LaneReceiver::tick`] is wanted next; `None`: not before something arrives. It may be earlier than there is
    /// anything to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due.filter(|_| !self.gaps.is_empty())
    }

    /// When something is to be done about a gap.
    fn due_of(&self, gap: &Gap) -> Instant {
        let lost = gap.since + self.patience(gap);
        self.asks_at(gap).map_or(lost, |asks| asks.min(lost))
    }

    /// All up to `last` have been sent, as is now known.
    fn reach(&mut self, last: Option<u64>, now: Instant, actions: &mut Vec<LaneAction<M>>) {
        let first = match self.newest {
            Some(newest) => newest + 1,
            None if self.before == JoinPoint::NotForUs => return,
            None => 0,
        };
        let ours = self.newest.is_some() || self.before == JoinPoint::Missing;
        let Some(last) = last.filter(|&last| last >= first) else { return };
        if self.lane.drops_older() {
            if ours {
                self.lose(first, last, actions);
            }
            return;
        }
        // What the publisher has thrown away already is not waited for.
        let kept = if self.lane.is_reliable() { self.limits.kept } else { u64::MAX };
        let oldest = last.saturating_sub(kept.saturating_sub(1)).max(first);
        // What waits for an earlier gap comes before what is lost here, and is delivered with that.
        let gap = Gap { last, ours, since: now, asked: None };
        if oldest > first {
            self.gaps.insert(first, Gap { last: oldest - 1, ..gap });
            self.give_up(first, actions);
        }
        let due = self.due_of(&gap);
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
        self.gaps.insert(oldest, gap);
    }

    /// Whether it was missing. If so it is not any more.
    fn fill(&mut self, sequence: u64) -> bool {
        let Some((&first, &gap)) = self.gaps.range(..=sequence).next_back() else { return false };
        if gap.last < sequence {
            return false;
        }
        self.gaps.remove(&first);
        if first < sequence {
            self.gaps.insert(first, Gap { last: sequence - 1, ..gap });
        }
        if sequence < gap.last {
            // It was for us, and so is what was sent after it.
            self.gaps.insert(sequence + 1, Gap { ours: true, ..gap });
        }
        true
    }

    fn take(&mut self, sequence: u64, message: M, actions: &mut Vec<LaneAction<M>>) {
        let waits = self.lane == Lane::ReliableOrdered
            && self.gaps.first_key_value().is_some_and(|(&first, _)| first < sequence);
        if waits {
            self.held.insert(sequence, message);
        } else {
            self.deliver(sequence, message, actions);
        }
    }

    /// Delivers what does not wait for anything any more.
    fn release(&mut self, actions: &mut Vec<LaneAction<M>>) {
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
        // In order: what waits for an earlier gap waits for this one too, so nothing is said out of its place.
        while let Some((&earliest, gap)) = self.gaps.first_key_value()
            && earliest <= first
        {
            let Gap { last, ours, .. } = *gap;
            self.gaps.remove(&earliest);
            if ours {
                self.lose(earliest, last, actions);
            }
            self.release(actions);
        }
    }

    fn first_overdue(&self, now: Instant) -> Option<u64> {
        let overdue = |gap: &Gap| now.saturating_duration_since(gap.since) >= self.patience(gap);
        self.gaps.iter().find(|(_, gap)| overdue(gap)).map(|(&first, _)| first)
    }

    fn patience(&self, gap: &Gap) -> Duration {
        let LaneLimits { patience, ask_every, .. } = self.limits;
        if self.is_unanswered && !gap.ours { patience.min(ask_every * 4) } else { patience }
    }

    fn keep_bounds(&mut self, actions: &mut Vec<LaneAction<M>>) {
        while (self.held.len() > self.limits.held || self.gaps.len() > self.limits.gaps)
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
            gap.asked.map_or(gap.since + self.limits.grace, |asked| asked + self.limits.ask_every)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
