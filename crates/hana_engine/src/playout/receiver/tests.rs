use proptest::prelude::*;

use super::*;
use crate::playout::jitter_buffer::Curve;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A visualization that is played in virtual time, in milliseconds since its start.
struct Stage {
    player: ModulationReceiver,
    begun: Instant,
    shown: Vec<f32>,
}

/// The start of a sender's clock, whose origin differs from that of all other clocks.
const SENDER: i64 = 1_760_000_000_000_000;

impl Stage {
    fn new(delay: u64, parameters: usize) -> Self {
        let settings = JitterBufferSettings { delay: ms(delay), ..JitterBufferSettings::default() };
        let begun = Instant::now();
        let shown = vec![0.0; parameters];
        Self {
            player: ModulationReceiver::new(&vec![settings; parameters], &shown, begun),
            begun,
            shown,
        }
    }

    fn at(&self, at: u64) -> Instant {
        self.begun + ms(at)
    }

    fn put(&mut self, from: &str, sent: u64, arrives: u64, value: f32) -> ReceiveOutcome {
        let now = self.at(arrives);
        self.player.put(0, Some(&envelope(from, sent)), value, now)
    }

    /// Returns the shown value of the first parameter.
    fn zoom(&mut self, at: u64) -> f32 {
        let now = self.at(at);
        let shown = &mut self.shown;
        self.player.advance(now, |index, value| shown[index] = value);
        self.shown[0]
    }
}

fn envelope(from: &str, sent: u64) -> Envelope {
    let at = SENDER + i64::try_from(sent).unwrap() * 1000;
    Envelope { from: NodeId::new(from).unwrap(), instance: 1, sequence: sent, at }
}

const TAKEN: ReceiveOutcome = ReceiveOutcome { taken: 1, late: 0 };

#[test]
fn value_without_delay_is_shown_at_once() {
    let mut stage = Stage::new(0, 1);
    for at in 0..100_u16 {
        let value = f32::from(at) / 100.0;
        assert_eq!(stage.put("knob", at.into(), at.into(), value), TAKEN);
        assert_eq!(stage.zoom(at.into()), value);
    }
}

#[test]
fn last_sent_of_values_and_batches_of_all_senders_wins() {
    let mut stage = Stage::new(0, 1);
    stage.put("knob", 0, 0, 0.0);
    stage.put("desk", 0, 0, 0.0);
    let frame = ModulationBatch {
        instance: 1,
        at: SENDER + 10_000,
        after: vec![0, 1000],
        indices: vec![0],
        samples: vec![0.1, 0.2],
    };
    let now = stage.at(12);
    let taken = stage.player.frame(Some(&envelope("knob", 12)), &frame, now);
    assert_eq!((taken.taken, stage.zoom(12)), (2, 0.2));
    stage.put("desk", 20, 20, 0.5);
    assert_eq!(stage.zoom(20), 0.5);
    // The knob retransmits its value in case it was lost, but the desk has sent a newer value.
    let again = ModulationBatch { after: vec![1000], samples: vec![0.2], ..frame };
    let now = stage.at(60);
    stage.player.frame(Some(&envelope("knob", 60)), &again, now);
    assert_eq!(stage.zoom(60), 0.5);
}

#[test]
fn retransmitted_value_counts_only_if_it_was_lost() {
    let mut stage = Stage::new(0, 2);
    stage.put("knob", 0, 0, 0.0);
    let again = ModulationBatch {
        instance: 1,
        at: SENDER + 10_000,
        after: vec![0],
        indices: vec![0, 1],
        samples: vec![0.4, 0.5],
    };
    let now = stage.at(60);
    let knob = envelope("knob", 60);
    assert_eq!(stage.player.frame(Some(&knob), &again, now), ReceiveOutcome { taken: 2, late: 0 });
    assert_eq!((stage.zoom(60), stage.shown[1]), (0.4, 0.5));
    assert_eq!(stage.player.frame(Some(&knob), &again, now), ReceiveOutcome::default());
}

#[test]
fn resumed_program_shows_no_backlog() {
    for delay in [0, 20] {
        let mut stage = Stage::new(delay, 1);
        for at in 0..1000 {
            stage.put("knob", at, at, 0.0);
            stage.zoom(at);
        }
        let (mut late, mut shown) = (0, vec![]);
        for sent in 1000..6000_u16 {
            // A backlog of five seconds arrives within five milliseconds.
            let arrives = 6000 + u64::from(sent - 1000) / 1000;
            late += stage.put("knob", sent.into(), arrives, f32::from(sent)).late;
            shown.push(stage.zoom(arrives));
        }
        for at in 6005..6100_u16 {
            late += stage.put("knob", at.into(), at.into(), f32::from(at)).late;
            shown.push(stage.zoom(at.into()));
        }
        assert!(shown.iter().all(|value| *value == 0.0 || *value > 5750.0), "{shown:?}");
        assert!(late > 4700, "{late}");
        assert!(shown.last().unwrap() + f32::from(u16::try_from(delay).unwrap()) >= 6098.0);
        assert!(shown.is_sorted(), "it runs backwards");
    }
}

#[test]
fn last_value_is_shown_in_the_end_at_any_age() {
    for delay in [0, 20] {
        let mut stage = Stage::new(delay, 1);
        stage.put("knob", 0, 0, 0.1);
        assert_eq!(stage.zoom(100), 0.1);
        // This is the last value that was sent while the program hung.
        for (sent, value) in [(1000, 0.5), (1010, 0.6), (1020, 0.7)] {
            stage.put("knob", sent, 5000, value);
        }
        assert_eq!(stage.zoom(5050), 0.1);
        assert_eq!(stage.zoom(5101), 0.7);
    }
}

#[test]
fn later_value_counts_when_retransmitted() {
    for delay in [0, 20] {
        let mut stage = Stage::new(delay, 1);
        let say = |stage: &mut Stage, set: i64, arrives: u64, value: f32| {
            let frame = ModulationBatch {
                instance: 1,
                at: SENDER + set * 1000,
                after: vec![0],
                indices: vec![0],
                samples: vec![value],
            };
            let now = stage.at(arrives);
            stage.player.frame(Some(&envelope("knob", arrives)), &frame, now)
        };
        say(&mut stage, 0, 0, 0.1);
        say(&mut stage, 1000, 3000, 0.5);
        assert_eq!(stage.zoom(3101), 0.5);
        // This value was sent after the previous one, and its first transmission was lost.
        assert_eq!(say(&mut stage, 1010, 3200, 0.6), TAKEN);
        assert_eq!(stage.zoom(3301), 0.6);
        assert_eq!(say(&mut stage, 1005, 3400, 0.7).taken, 0);
        assert_eq!(stage.zoom(3600), 0.6);
    }
}

#[test]
fn very_late_value_does_not_block_later_values() {
    let mut stage = Stage::new(0, 1);
    for at in 0..100 {
        stage.put("knob", at, at, 0.1);
        stage.zoom(at);
    }
    stage.put("knob", 100, 2300, 0.5);
    assert_eq!(stage.zoom(2401), 0.5);
    let again = ModulationBatch {
        instance: 1,
        at: SENDER + 101_000,
        after: vec![0],
        indices: vec![0],
        samples: vec![0.6],
    };
    let now = stage.at(2500);
    stage.player.frame(Some(&envelope("knob", 2500)), &again, now);
    assert_eq!(stage.zoom(2601), 0.6);
}

#[test]
fn values_received_before_a_hang_are_stale_afterwards() {
    for delay in [0, 20] {
        let mut stage = Stage::new(delay, 1);
        for at in 0..100_u16 {
            stage.put("knob", at.into(), at.into(), f32::from(at));
            if at <= 90 {
                stage.zoom(at.into());
            }
        }
        let shown = stage.zoom(90);
        // After the program wakes up, a newer value arrives only after a while.
        assert_eq!((stage.zoom(5000), stage.zoom(5090)), (shown, shown));
        stage.put("knob", 5095, 5095, 200.0);
        assert!([shown, 200.0].contains(&stage.zoom(5096)));
        assert_eq!(stage.zoom(5096 + delay), 200.0);
    }
    // Without a newer value, the last value to arrive is shown.
    let mut stage = Stage::new(0, 1);
    stage.put("knob", 0, 0, 0.5);
    assert_eq!((stage.zoom(5000), stage.zoom(5101)), (0.0, 0.5));
}

#[test]
fn values_from_a_suspended_thread_are_not_fresh() {
    for delay in [0, 20] {
        let mut stage = Stage::new(delay, 1);
        for at in 0..1000 {
            stage.put("knob", at, at, 0.5);
            stage.zoom(at);
        }
        // The value was read at 1000; then the whole program stood still, and the frame thread resumed first.
        assert_eq!(stage.zoom(6000), 0.5);
        stage.put("knob", 1000, 1000, 0.6);
        assert_eq!(stage.zoom(6001), 0.5, "{delay}");
        stage.put("knob", 6002, 6002, 0.7);
        stage.zoom(6003);
        assert_eq!(stage.zoom(6030), 0.7, "{delay}");
    }
}

#[test]
fn backlog_of_a_new_sender_shows_its_last_value_once() {
    for delay in [0, 20] {
        let mut stage = Stage::new(delay, 1);
        for sent in 0..2000_u16 {
            stage.put("knob", sent.into(), 2500, f32::from(sent));
        }
        stage.zoom(2501);
        assert_eq!(stage.zoom(2600), 1999.0, "{delay}");
        stage.put("knob", 1999, 2700, 1999.0);
        stage.put("knob", 2800, 2800, 3.0);
        stage.zoom(2801);
        assert_eq!(stage.zoom(2900), 3.0, "{delay}");
    }
}

#[test]
fn value_sent_after_a_backlog_counts() {
    let mut stage = Stage::new(0, 1);
    for at in 0..100 {
        stage.put("knob", at, at, 0.1);
        stage.zoom(at);
    }
    // This value is late: it is deferred until no newer value has arrived for a while.
    stage.put("knob", 600, 1000, 0.2);
    assert_eq!(stage.zoom(1001), 0.1);
    assert_eq!(stage.zoom(1101), 0.2);
    stage.put("knob", 1095, 1103, 0.3);
    assert_eq!(stage.zoom(1104), 0.3);
}

#[test]
fn unsequenced_value_counts_at_once_and_clears_the_queue() {
    let mut stage = Stage::new(50, 1);
    for at in 0..100 {
        stage.put("knob", at, at, 0.5);
    }
    assert_eq!(stage.zoom(100), 0.5);
    let now = stage.at(101);
    assert_eq!(stage.player.put(0, None, -0.5, now), TAKEN);
    assert_eq!(stage.zoom(101), -0.5);
    assert_eq!(stage.zoom(300), -0.5, "what waited was forgotten");
    stage.put("knob", 400, 400, 0.6);
    assert_eq!((stage.zoom(430), stage.zoom(451)), (-0.5, 0.6));
}

#[test]
fn clock_step_of_a_sender_stops_no_values() {
    for by in [-3_600_000_i64, 3_600_000] {
        let mut stage = Stage::new(0, 1);
        for at in 0..100 {
            stage.put("knob", at, at, 0.1);
        }
        assert_eq!(stage.zoom(100), 0.1);
        let mut set_at = None;
        for at in 100..1000_u64 {
            let clock = envelope("knob", 0).at + (i64::try_from(at).unwrap() + by) * 1000;
            let of = Envelope { at: clock, ..envelope("knob", at) };
            let now = stage.at(at);
            stage.player.put(0, Some(&of), 0.9, now);
            if stage.zoom(at) == 0.9 {
                set_at.get_or_insert(at);
            }
        }
        assert!(set_at.is_some_and(|at| at <= 601), "{by}: {set_at:?}");
    }
}

#[test]
fn time_in_the_future_does_not_shut_out_others() {
    let mut stage = Stage::new(0, 1);
    stage.put("knob", 0, 0, 0.1);
    let frame = ModulationBatch {
        instance: 1,
        at: i64::MAX,
        after: vec![0],
        indices: vec![0],
        samples: vec![0.2],
    };
    let now = stage.at(10);
    stage.player.frame(Some(&envelope("knob", 10)), &frame, now);
    stage.put("knob", 20, 20, 0.3);
    assert_eq!(stage.zoom(20), 0.3);
}

#[test]
fn smoothed_value_starts_where_it_is_and_comes_to_rest() {
    let begun = Instant::now();
    let settings = JitterBufferSettings {
        delay: Duration::ZERO,
        curve: Curve::Held,
        smoothing: ms(50),
        ..JitterBufferSettings::default()
    };
    let mut player = ModulationReceiver::new(&[settings], &[0.5], begun);
    player.put(0, Some(&envelope("knob", 0)), 1.0, begun);
    let mut shown = vec![];
    for at in 1..200 {
        player.advance(begun + ms(at * 5), |_, value| shown.push(value));
    }
    assert!(shown[0] < 0.6 && shown.is_sorted(), "{shown:?}");
    assert_eq!(shown.last(), Some(&1.0));
    assert!(shown.len() < 150, "it is at rest: {}", shown.len());
}

proptest! {
    #![proptest_config(hana_random::cases(256))]

    #[test]
    fn no_number_causes_a_panic(
        delay in 0_u64..50,
        arriving in prop::collection::vec(
            (any::<i64>(), any::<u64>(), 0_u8..40, any::<f32>(), 0_u64..400, any::<bool>()),
            1..100,
        ),
    ) {
        let mut stage = Stage::new(delay, 2);
        let mut now = stage.begun;
        for (at, instance, from, value, passed, framed) in arriving {
            now += ms(passed);
            let from = NodeId::new(&format!("n{from}")).unwrap();
            let envelope = Envelope { from, instance, sequence: 0, at };
            if framed {
                let (after, indices) = (vec![0, 7], vec![0, 1, 9]);
                let samples = vec![value; 6];
                let frame = ModulationBatch { instance, at, after, indices, samples };
                stage.player.frame(Some(&envelope), &frame, now);
            } else {
                stage.player.put(1, Some(&envelope), value, now);
            }
            stage.player.advance(now, |_, value| assert!(!value.is_nan()));
            prop_assert!(stage.player.senders.len() <= ModulationReceiver::MAX_SENDERS);
        }
    }
}

#[test]
fn step_after_a_rest_is_smoothed_like_any_other() {
    for delay in [0, 20] {
        let smoothing = JitterBufferSettings {
            smoothing: ms(100),
            delay: ms(delay),
            ..JitterBufferSettings::default()
        };
        let begun = Instant::now();
        let player = ModulationReceiver::new(&[smoothing], &[0.0], begun);
        let mut stage = Stage { player, begun, shown: vec![0.0] };
        stage.put("knob", 0, 0, 0.0);
        for at in 0..5000_u16 {
            stage.zoom(at.into());
        }
        stage.put("knob", 5000, 5000, 1.0);
        let mut before = stage.zoom(5000);
        for at in 5001..5020 + delay {
            let now = stage.zoom(at);
            assert!(now - before < 0.02, "from {before} to {now} at {at} ms");
            before = now;
        }
        assert!((0.1..0.3).contains(&before), "{before}");
    }
}
