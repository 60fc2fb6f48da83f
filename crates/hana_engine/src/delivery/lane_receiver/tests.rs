use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

type Receiver = LaneReceiver<u64>;
type Actions = Vec<LaneAction<u64>>;

const LIMITS: LaneLimits = LaneLimits {
    give_up_after: ms(1000),
    reorder_window: ms(5),
    retry_interval: ms(100),
    publisher_history: 1024,
    max_buffered: 4096,
    gaps: 256,
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn delivered(actions: &Actions) -> Vec<u64> {
    actions
        .iter()
        .filter_map(|action| match action {
            LaneAction::Deliver { sequence, message } => {
                assert_eq!(sequence, message, "a message goes with its number");
                Some(*sequence)
            },
            _ => None,
        })
        .collect()
}

fn arrive(receiver: &mut Receiver, sequence: u64, now: Instant) -> Actions {
    let mut actions = vec![];
    receiver.arrive(sequence, sequence, now, &mut actions);
    actions
}

fn tick(receiver: &mut Receiver, now: Instant) -> Actions {
    let mut actions = vec![];
    receiver.tick(now, &mut actions);
    actions
}

#[test]
fn ordered_message_after_a_gap_waits_for_it() {
    let start = Instant::now();
    let mut receiver = Receiver::late_joiner(Lane::ReliableOrdered, LIMITS);
    assert_eq!(delivered(&arrive(&mut receiver, 7, start)), [7]);
    assert_eq!(arrive(&mut receiver, 9, start), []);
    assert_eq!(receiver.next_deadline(), Some(start + ms(5)));
    assert_eq!(tick(&mut receiver, start + ms(5)), [LaneAction::Ask { first: 8, last: 8 }]);
    assert_eq!(delivered(&arrive(&mut receiver, 8, start + ms(9))), [8, 9]);
    assert_eq!(receiver.next_deadline(), None);
    let counts = LaneCounts { delivered: 3, recovered: 1, late: 0, lost: 0 };
    assert_eq!(receiver.counts(), counts);
}

#[test]
fn unordered_message_after_a_gap_does_not_wait() {
    let start = Instant::now();
    let mut receiver = Receiver::late_joiner(Lane::ReliableUnordered, LIMITS);
    arrive(&mut receiver, 0, start);
    assert_eq!(delivered(&arrive(&mut receiver, 3, start)), [3]);
    assert_eq!(delivered(&arrive(&mut receiver, 2, start)), [2]);
    assert_eq!(tick(&mut receiver, start + ms(5)), [LaneAction::Ask { first: 1, last: 1 }]);
    assert_eq!(delivered(&arrive(&mut receiver, 1, start + ms(9))), [1]);
    assert_eq!(arrive(&mut receiver, 1, start + ms(9)), [], "never twice");
    assert_eq!(receiver.counts().late, 1);
}

#[test]
fn sequenced_lane_keeps_the_newest_and_requests_nothing() {
    let start = Instant::now();
    let mut receiver = Receiver::late_joiner(Lane::UnreliableSequenced, LIMITS);
    arrive(&mut receiver, 0, start);
    let actions = arrive(&mut receiver, 3, start);
    assert_eq!(
        actions,
        [LaneAction::Lost { first: 1, last: 2 }, LaneAction::Deliver { sequence: 3, message: 3 },]
    );
    assert_eq!(arrive(&mut receiver, 2, start), []);
    assert_eq!(receiver.next_deadline(), None);
}

#[test]
fn unavailable_message_is_lost_once_and_blocks_no_other() {
    let start = Instant::now();
    let mut receiver = Receiver::late_joiner(Lane::ReliableOrdered, LIMITS);
    for sequence in [0, 5] {
        arrive(&mut receiver, sequence, start);
    }
    let mut actions = vec![];
    receiver.mark_unavailable(0, 2, &mut actions);
    assert_eq!(actions, [LaneAction::Lost { first: 1, last: 2 }]);
    assert_eq!(tick(&mut receiver, start + ms(999)), [LaneAction::Ask { first: 3, last: 4 }]);
    let actions = tick(&mut receiver, start + ms(1000));
    assert_eq!(
        actions,
        [LaneAction::Lost { first: 3, last: 4 }, LaneAction::Deliver { sequence: 5, message: 5 },]
    );
    assert_eq!(arrive(&mut receiver, 3, start + ms(1001)), [], "it was given up");
}

#[test]
fn heartbeat_reveals_the_loss_of_the_last_message() {
    let start = Instant::now();
    let mut receiver = Receiver::from_start(Lane::ReliableUnordered, LIMITS);
    let mut actions = vec![];
    receiver.announced(1, start, &mut actions);
    receiver.tick(start + ms(5), &mut actions);
    assert_eq!(actions, [LaneAction::Ask { first: 0, last: 1 }]);

    let mut receiver = Receiver::late_joiner(Lane::ReliableUnordered, LIMITS);
    let mut actions = vec![];
    receiver.announced(1, start, &mut actions);
    assert_eq!((actions, receiver.missing()), (vec![], 0), "who joins has missed nothing");
    assert_eq!(delivered(&arrive(&mut receiver, 2, start)), [2]);
}

#[test]
fn message_before_subscription_is_neither_delivered_nor_lost() {
    let start = Instant::now();
    let mut receiver = Receiver::unknown_join(Lane::ReliableOrdered, LIMITS);
    assert_eq!(arrive(&mut receiver, 5, start), [], "held until it is known what came before");
    assert_eq!(tick(&mut receiver, start + ms(5)), [LaneAction::Ask { first: 0, last: 4 }]);
    assert_eq!(arrive(&mut receiver, 4, start + ms(6)), []);
    let mut actions = vec![];
    receiver.skip_before_join(0, 2, &mut actions);
    assert_eq!(actions, [], "3 is still to come");
    assert_eq!(delivered(&arrive(&mut receiver, 3, start + ms(7))), [3, 4, 5]);
    assert_eq!((receiver.counts().lost, receiver.counts().recovered), (0, 2));

    // A message after a retransmitted one belongs to the subscription and is not given up early.
    let mut receiver = Receiver::unknown_join(Lane::ReliableUnordered, LIMITS);
    arrive(&mut receiver, 5, start);
    arrive(&mut receiver, 2, start);
    receiver.unanswered(start, &mut vec![]);
    tick(&mut receiver, start + ms(999));
    assert_eq!((receiver.missing(), receiver.counts().lost), (2, 0), "3 and 4; 0 and 1 were not");
    tick(&mut receiver, start + ms(1000));
    assert_eq!((receiver.missing(), receiver.counts().lost), (0, 2));

    // A slow reply does not make the receiver give up.
    let mut receiver = Receiver::unknown_join(Lane::ReliableOrdered, LIMITS);
    arrive(&mut receiver, 5, start);
    tick(&mut receiver, start + ms(999));
    assert_eq!((receiver.missing(), receiver.held()), (5, 1));
    // If no node answers, everything before the first received message counts as sent before the subscription.
    let mut receiver = Receiver::unknown_join(Lane::ReliableOrdered, LIMITS);
    arrive(&mut receiver, 5, start);
    let mut actions = vec![];
    receiver.unanswered(start + ms(1), &mut actions);
    assert_eq!(
        (delivered(&actions), receiver.missing()),
        (vec![], 5),
        "it may be away for a moment"
    );
    assert_eq!(
        tick(&mut receiver, start + ms(400)),
        [LaneAction::Deliver { sequence: 5, message: 5 }]
    );
    assert_eq!(receiver.counts().lost, 0);
}

#[test]
fn rest_of_a_partial_retransmission_is_requested_at_once() {
    let start = Instant::now();
    let mut receiver = Receiver::late_joiner(Lane::ReliableUnordered, LIMITS);
    arrive(&mut receiver, 0, start);
    arrive(&mut receiver, 9, start);
    let now = start + ms(5);
    assert_eq!(tick(&mut receiver, now), [LaneAction::Ask { first: 1, last: 8 }]);
    arrive(&mut receiver, 1, now);
    let mut actions = vec![];
    receiver.answered(now, &mut actions);
    assert_eq!(actions, [LaneAction::Ask { first: 2, last: 8 }]);
    let mut actions = vec![];
    receiver.answered(now, &mut actions);
    assert_eq!(actions, [], "it would be a flood of questions");
}

#[test]
fn absurd_sequence_number_neither_grows_nor_blocks_a_lane() {
    let start = Instant::now();
    for lane in Lane::ALL {
        let mut receiver = Receiver::from_start(lane, LIMITS);
        for sequence in [0, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            arrive(&mut receiver, sequence, start);
        }
        tick(&mut receiver, start + ms(5));
        assert!(receiver.next_deadline().is_none_or(|at| at <= start + ms(1000)), "{lane}");
        tick(&mut receiver, start + ms(1000));
        assert_eq!((receiver.missing(), receiver.counts().delivered), (0, 4), "{lane}");
    }
}

#[test]
fn ended_instance_leaves_nothing_waiting() {
    let start = Instant::now();
    let mut receiver = Receiver::late_joiner(Lane::ReliableOrdered, LIMITS);
    for sequence in [0, 2, 5] {
        arrive(&mut receiver, sequence, start);
    }
    let mut actions = vec![];
    receiver.end(&mut actions);
    assert_eq!(delivered(&actions), [2, 5]);
    assert_eq!((receiver.missing(), receiver.held(), receiver.counts().lost), (0, 0, 3));
}

/// A publisher and a network that loses, duplicates, delays and reorders messages, in virtual time.
struct Model {
    random: u64,
    loss: u64,
    doubled: u64,
    jitter_ms: u64,
    /// Messages in transit, by arrival time; the second number separates simultaneous arrivals.
    under_way: BTreeMap<(Instant, u64), Parcel>,
    posted: u64,
    kept: VecDeque<u64>,
}

enum Parcel {
    Message(u64),
    Asked(u64, u64),
    Newest(u64),
}

impl Model {
    fn next(&mut self, below: u64) -> u64 {
        // xorshift64: any generator that is reproducible from its seed works.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }

    fn post(&mut self, now: Instant, parcel: impl Fn() -> Parcel) {
        let copies = 1 + u64::from(self.next(100) < self.doubled);
        for _ in 0..copies {
            if self.next(100) >= self.loss {
                let at = now + ms(1 + self.next(self.jitter_ms + 1));
                self.posted += 1;
                self.under_way.insert((at, self.posted), parcel());
            }
        }
    }

    /// Sends `count` messages, one per millisecond, and returns those that the receiver delivered.
    fn run(&mut self, receiver: &mut Receiver, count: u64, silent: &BTreeSet<u64>) -> Vec<u64> {
        let start = Instant::now();
        let mut handed = vec![];
        let after = ms(3000);
        let mut now = start;
        let mut sent = 0;
        while now < start + ms(count) + after {
            let mut actions = vec![];
            if sent < count {
                self.kept.push_back(sent);
                if self.kept.len() > usize::try_from(LIMITS.publisher_history).unwrap() {
                    self.kept.pop_front();
                }
                // Some messages never leave the publisher, not even as retransmissions.
                if silent.contains(&sent) {
                    self.kept.pop_back();
                } else {
                    let number = sent;
                    self.post(now, || Parcel::Message(number));
                }
                sent += 1;
            }
            if now.saturating_duration_since(start).as_millis().is_multiple_of(50) {
                let newest = sent - 1;
                self.post(now, || Parcel::Newest(newest));
            }
            while let Some(entry) = self.under_way.first_entry()
                && entry.key().0 <= now
            {
                match entry.remove() {
                    Parcel::Message(number) => receiver.arrive(number, number, now, &mut actions),
                    Parcel::Newest(newest) => receiver.announced(newest, now, &mut actions),
                    Parcel::Asked(first, last) => {
                        let had: Vec<u64> = self
                            .kept
                            .iter()
                            .copied()
                            .filter(|n| (first..=last).contains(n))
                            .collect();
                        for number in had {
                            self.post(now, || Parcel::Message(number));
                        }
                    },
                }
            }
            if receiver.next_deadline().is_some_and(|at| at <= now) {
                receiver.tick(now, &mut actions);
            }
            handed.extend(delivered(&actions));
            for action in actions {
                if let LaneAction::Ask { first, last } = action {
                    self.post(now, || Parcel::Asked(first, last));
                }
            }
            assert!(receiver.held() <= LIMITS.max_buffered && receiver.gaps.len() <= LIMITS.gaps);
            now += ms(1);
        }
        handed
    }
}

fn keeps_its_promise(lane: Lane, seed: u64, loss: u64, jitter_ms: u64, silent: &BTreeSet<u64>) {
    const COUNT: u64 = 2000;
    // Requests and replies are lost as often as other messages: at 30 % loss, success takes up to forty attempts.
    let limits = LaneLimits { give_up_after: ms(2000), retry_interval: ms(50), ..LIMITS };
    let mut receiver = Receiver::from_start(lane, limits);
    let mut model = Model {
        random: seed | 1,
        loss,
        doubled: 5,
        jitter_ms,
        under_way: BTreeMap::new(),
        posted: 0,
        kept: VecDeque::new(),
    };
    let handed = model.run(&mut receiver, COUNT, silent);
    let counts = receiver.counts();
    let of = format!("{lane}, seed {seed}, loss {loss} %, jitter {jitter_ms} ms: {counts:?}");
    let distinct: BTreeSet<u64> = handed.iter().copied().collect();
    assert_eq!(distinct.len(), handed.len(), "twice: {of}");
    assert_eq!(counts.delivered + counts.lost, COUNT, "not accounted for: {of}");
    assert_eq!(counts.delivered, u64::try_from(handed.len()).unwrap(), "{of}");
    assert_eq!((receiver.missing(), receiver.held()), (0, 0), "{of}");
    if matches!(lane, Lane::ReliableOrdered | Lane::UnreliableSequenced) {
        assert!(handed.is_sorted(), "out of order: {of}");
    }
    if lane.is_reliable() {
        assert_eq!(counts.lost, u64::try_from(silent.len()).unwrap(), "lost: {of}");
    }
}

proptest! {
    #![proptest_config(hana_random::cases(120))]

    // Four lanes, 120 networks, 2000 messages and 5000 steps each: over two million steps.
    #[test]
    fn every_lane_keeps_its_promise_on_a_bad_network(
        seed: u64,
        loss in 0..=30_u64,
        jitter_ms in 0..40_u64,
        silent in prop::collection::btree_set(0..1990_u64, 0..5),
    ) {
        for lane in Lane::ALL {
            keeps_its_promise(lane, seed, loss, jitter_ms, &silent);
        }
    }

    #[test]
    fn every_message_is_accounted_for_in_any_order(
        lane in prop::sample::select(Lane::ALL.to_vec()),
        steps in prop::collection::vec((0..6_u8, 0..80_u64, 0..80_u64, 0..400_u64), 1..200),
    ) {
        let limits = LaneLimits { max_buffered: 8, gaps: 4, publisher_history: 20, ..LIMITS };
        let mut receiver = Receiver::from_start(lane, limits);
        let mut now = Instant::now();
        let mut handed = BTreeSet::new();
        let mut newest = None;
        for (what, number, other, passed) in steps {
            let mut actions = vec![];
            match what {
                0..=2 => receiver.arrive(number, number, now, &mut actions),
                3 => receiver.announced(number, now, &mut actions),
                4 => receiver.mark_unavailable(number.min(other), number.max(other), &mut actions),
                _ => {
                    now += ms(passed);
                    receiver.tick(now, &mut actions);
                },
            }
            if what <= 3 {
                newest = newest.max(Some(number));
            }
            for number in delivered(&actions) {
                prop_assert!(handed.insert(number), "twice: {}", number);
            }
            let LaneCounts { delivered, lost, .. } = receiver.counts();
            let held = u64::try_from(receiver.held()).unwrap();
            let known = newest.map_or(0, |newest| newest + 1);
            prop_assert_eq!(delivered + lost + held + receiver.missing(), known);
            prop_assert!(receiver.held() <= 8 && receiver.gaps.len() <= 4);
        }
    }
}
