use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::playout::sender_clock::SenderClock;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const ZERO: Duration = Duration::ZERO;
const EVERY_MS: i64 = 1000;

fn played(settings: JitterBufferSettings, samples: &[(i64, f32)], at: &[i64]) -> Vec<Option<f32>> {
    let mut playout = JitterBuffer::new(settings);
    for (sent, value) in samples {
        playout.push(sent * EVERY_MS, *value);
    }
    at.iter().map(|at| playout.value(at * EVERY_MS, ZERO)).collect()
}

#[test]
fn values_between_samples_are_interpolated() {
    let settings = JitterBufferSettings { delay: ms(10), ..JitterBufferSettings::default() };
    let values = played(settings, &[(100, 0.0), (110, 1.0)], &[105, 110, 115, 120, 150]);
    assert_eq!(values, [None, Some(0.0), Some(0.5), Some(1.0), Some(1.0)]);
}

#[test]
fn stepped_curve_is_not_interpolated() {
    let settings = JitterBufferSettings { curve: Curve::Held, ..JitterBufferSettings::default() };
    let values = played(settings, &[(100, 0.0), (110, 1.0)], &[110, 119, 120]);
    assert_eq!(values, [Some(0.0), Some(0.0), Some(1.0)]);
}

#[test]
fn gap_is_not_bridged_by_a_slow_glide() {
    let settings =
        JitterBufferSettings { delay: ms(200), gap: ms(100), ..JitterBufferSettings::default() };
    let values = played(settings, &[(0, 0.0), (150, 1.0)], &[200, 300, 349, 350]);
    assert_eq!(values, [Some(0.0), Some(0.0), Some(0.0), Some(1.0)]);
}

#[test]
fn late_sample_is_played_only_if_it_is_the_newest() {
    let mut playout = JitterBuffer::new(JitterBufferSettings::default());
    playout.push(0, 0.1);
    assert_eq!(playout.value(200_000, ZERO), Some(0.1));
    playout.push(50_000, 0.5);
    assert_eq!(playout.value(200_000, ZERO), Some(0.5), "what was sent last is what is meant");
    playout.push(40_000, 0.4);
    assert_eq!((playout.value(200_000, ZERO), playout.late()), (Some(0.5), 1));
}

#[test]
fn resumed_program_plays_no_backlog() {
    let mut playout = JitterBuffer::new(JitterBufferSettings::default());
    playout.push(0, 0.0);
    playout.value(10_000, ZERO);
    for n in 1..=200_i16 {
        playout.push(i64::from(n) * 1000, f32::from(n));
    }
    assert_eq!(playout.value(210_000, ms(200)), Some(200.0));
}

#[test]
fn new_instance_begins_with_the_shown_value() {
    let mut playout = JitterBuffer::new(JitterBufferSettings::default());
    playout.push(9_000_000, 0.7);
    assert_eq!(playout.value(9_020_000, ZERO), Some(0.7));
    playout.reset();
    assert_eq!(playout.value(0, ZERO), Some(0.7));
    playout.push(1000, 0.2);
    assert_eq!(playout.value(5000, ZERO), Some(0.7));
    assert_eq!(playout.value(11_000, ZERO), Some(0.2));
}

#[test]
fn smoothing_takes_the_same_time_at_any_frame_rate() {
    for frame in [4, 16, 33] {
        let settings = JitterBufferSettings {
            smoothing: ms(100),
            delay: ms(0),
            ..JitterBufferSettings::default()
        };
        let mut playout = JitterBuffer::new(settings);
        playout.push(0, 0.0);
        playout.value(0, ZERO);
        playout.push(1, 1.0);
        let mut passed = 0;
        let mut value = 0.0;
        while passed + frame <= 100 {
            passed += frame;
            let us = i64::try_from(passed * 1000).unwrap();
            value = playout.value(us, ms(frame)).unwrap();
        }
        assert!((0.6..0.65).contains(&value), "{value} at {frame} ms");
    }
}

/// Returns the error of playback at 60 frames a second, relative to the sine as it was sent one `delay` earlier.
///
/// The error is a root mean square as a share of the amplitude. A delay of zero tests playback without a buffer.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_possible_wrap)]
fn error(delay: Duration, loss_percent: u64, jitter_us: u64, drift_ppm: i64) -> f64 {
    const SECONDS: u64 = 20;
    let sine = |us: i64| (us as f64 / 1e6 * TAU).sin();
    let mut random = 7_u64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below.max(1)
    };
    let start = Instant::now();
    let us = Duration::from_micros;
    // The arrivals of a 1 kHz stream whose sender's clock drifts.
    let mut arrivals = BTreeMap::new();
    for n in 0..SECONDS * 1000 {
        let sent = n * 1000;
        let shown = sent as i64 + sent as i64 * drift_ppm / 1_000_000 + 5_000_000_000;
        if next(100) >= loss_percent {
            arrivals.insert((sent + 300 + next(jitter_us), n), (shown, sine(sent as i64) as f32));
        }
    }
    let settings = JitterBufferSettings { delay, ..JitterBufferSettings::default() };
    let (mut map, mut playout) = (SenderClock::new(start), JitterBuffer::new(settings));
    let mut squares = vec![];
    let mut arrivals = arrivals.into_iter().peekable();
    for frame in 0..SECONDS * 60 {
        let now = frame * 16_667;
        while let Some(((at, _), (sent, value))) = arrivals.next_if(|((at, _), _)| *at <= now) {
            map.observe(sent, start + us(at));
            playout.push(sent, value);
        }
        let Some(sender) = map.sender_us(start + us(now)) else { continue };
        let Some(value) = playout.value(sender, ZERO) else { continue };
        if now > 3_000_000 {
            let expected = sine(now as i64 - 300 - delay.as_micros() as i64);
            squares.push((f64::from(value) - expected).powi(2));
        }
    }
    assert!(squares.len() > 900);
    (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
}

#[test]
fn sine_over_a_bad_link_is_played_as_sent() {
    let played = error(ms(10), 1, 5000, 100);
    let raw = error(ms(0), 1, 5000, 100);
    eprintln!(
        "error of a sine: {:.2} % played 10 ms behind, {:.2} % raw",
        played * 100.0,
        raw * 100.0
    );
    assert!(played < 0.01, "{played}");
    assert!(raw > played, "the delay is of use: {raw}");
}

proptest! {
    #![proptest_config(hana_random::cases(256))]

    #[test]
    fn only_sent_values_are_played_and_time_never_reverses(
        samples in prop::collection::vec((0..300_000_i64, -1.0..1.0_f32, 0..20_000_u64), 1..300),
        delay in 0..50_u64,
        held: bool,
    ) {
        let curve = if held { Curve::Held } else { Curve::Interpolated };
        let settings = JitterBufferSettings { delay: ms(delay), curve, ..JitterBufferSettings::default() };
        let mut playout = JitterBuffer::new(settings);
        let mut now_us = 0;
        let (mut least, mut most) = (f32::MAX, f32::MIN);
        for (sent, value, passed) in samples {
            now_us += passed;
            playout.push(sent, value);
            (least, most) = (least.min(value), most.max(value));
            let sender = i64::try_from(now_us).unwrap();
            let before = playout.played_us;
            let value = playout.value(sender, ZERO);
            prop_assert!(value.is_none_or(|value| value >= least - 1e-6 && value <= most + 1e-6));
            prop_assert!(playout.played_us >= before);
            prop_assert!(playout.samples.len() <= JitterBuffer::MAX_SAMPLES);
            prop_assert!(playout.samples.iter().is_sorted_by(|a, b| a.sent_us < b.sent_us));
        }
    }

    #[test]
    fn no_number_causes_a_panic(
        samples in prop::collection::vec((any::<i64>(), any::<f32>(), any::<i64>()), 1..100),
    ) {
        let mut playout = JitterBuffer::new(JitterBufferSettings::default());
        for (sent, value, sender) in samples {
            playout.push(sent, value);
            prop_assert!(playout.value(sender, ZERO).is_none_or(f32::is_finite));
        }
    }
}
