use hana_protocol::message::Frames;

use super::*;

const BEAT: Duration = Duration::from_millis(100);

fn health(count: u64, fps: f32) -> Health {
    Health { frames: Some(Frames { count, fps, max_us: 0 }), ..Health::default() }
}

#[test]
fn suspended_process_is_silent_even_after_a_stall() {
    let start = Instant::now();
    let mut watch = HealthMonitor::new(HealthLimits::default(), start);
    watch.hear(health(1, 60.0), start);
    // The loop stalls for two health messages; then all messages stop.
    watch.hear(health(1, 60.0), start + BEAT);
    watch.hear(health(1, 60.0), start + BEAT * 2);
    let verdict = watch.verdict(start + BEAT * 7);
    assert!(matches!(verdict, HealthVerdict::Silent { .. }), "{verdict:?}");
    // A node with a frozen loop still sends health messages.
    let mut watch = HealthMonitor::new(HealthLimits::default(), start);
    for beat in 0..7 {
        watch.hear(health(1, 60.0), start + BEAT * beat);
    }
    let verdict = watch.verdict(start + BEAT * 7);
    assert!(matches!(verdict, HealthVerdict::Frozen { .. }), "{verdict:?}");
}

#[test]
fn silence_caused_by_this_node_is_forgiven() {
    let start = Instant::now();
    let mut watch = HealthMonitor::of_present(HealthLimits::default(), start);
    watch.hear(health(1, 60.0), start);
    assert!(watch.verdict(start + 9 * BEAT).is_unresponsive());
    watch.forgive_until(start + 9 * BEAT);
    assert_eq!(watch.verdict(start + 12 * BEAT), HealthVerdict::Running);
    assert!(watch.verdict(start + 17 * BEAT).is_unresponsive());
}

/// Simulates ten health messages per second, with a frame drawn whenever `draws` returns true.
///
/// Returns each verdict that differs in kind from the previous one.
fn verdicts_of(
    watch: &mut HealthMonitor,
    start: Instant,
    beats: std::ops::Range<u32>,
    fps: impl Fn(u32) -> f32,
    draws: impl Fn(u32) -> bool,
) -> Vec<(u32, HealthVerdict)> {
    let mut count = watch.last().and_then(|of| of.frames).map_or(0, |frames| frames.count);
    let mut changes: Vec<(u32, HealthVerdict)> = vec![];
    for beat in beats {
        let now = start + BEAT * beat;
        count += u64::from(draws(beat));
        watch.hear(health(count, fps(beat)), now);
        let verdict = watch.verdict(now);
        let is_same = |(_, before): &(u32, HealthVerdict)| {
            std::mem::discriminant(before) == std::mem::discriminant(&verdict)
        };
        if !changes.last().is_some_and(is_same) {
            changes.push((beat, verdict));
        }
    }
    changes
}

fn unresponsive(changes: &[(u32, HealthVerdict)]) -> usize {
    changes.iter().filter(|(_, verdict)| verdict.is_unresponsive()).count()
}

#[test]
fn covered_window_is_slow_and_at_most_once_unresponsive() {
    for pause in [8, 10, 12, 20, 30] {
        let start = Instant::now();
        let mut watch = HealthMonitor::new(HealthLimits::default(), start);
        // The node draws at full rate for six seconds, then one frame every `pause` health messages.
        let changes = verdicts_of(
            &mut watch,
            start,
            0..3_000,
            |beat| if beat < 70 { 60.0 } else { 1.0 },
            |beat| beat < 60 || beat % pause == 0,
        );
        let most = if pause > 14 { 2 } else { 1 };
        assert!(unresponsive(&changes) <= most, "a frame in {pause} beats: {changes:?}");
        let last = changes.last().map(|(_, verdict)| *verdict);
        assert!(matches!(last, Some(HealthVerdict::Throttled { .. })), "{pause}: {changes:?}");
        assert!(changes.len() <= 7, "a frame in {pause} beats: {changes:?}");
    }
}

#[test]
fn covered_window_that_hangs_is_unresponsive() {
    let start = Instant::now();
    let mut watch = HealthMonitor::new(HealthLimits::default(), start);
    verdicts_of(&mut watch, start, 0..200, |_| 1.0, |beat| beat % 10 == 0);
    let after = verdicts_of(&mut watch, start, 200..240, |_| 1.0, |_| false);
    let noticed = after.iter().find(|(_, verdict)| verdict.is_unresponsive());
    assert!(noticed.is_some_and(|(beat, _)| *beat <= 225), "{after:?}");
}

#[test]
fn uncovered_window_runs_and_its_next_hang_is_noticed() {
    let start = Instant::now();
    let mut watch = HealthMonitor::new(HealthLimits::default(), start);
    verdicts_of(&mut watch, start, 0..300, |_| 1.0, |beat| beat % 10 == 0);
    // The node draws at full rate for long enough that the pauses are forgotten.
    let after = verdicts_of(&mut watch, start, 300..1_000, |_| 60.0, |_| true);
    assert_eq!(after.last().map(|(_, verdict)| *verdict), Some(HealthVerdict::Running));
    let hang = verdicts_of(&mut watch, start, 1_000..1_010, |_| 60.0, |_| false);
    let noticed = hang.iter().find(|(_, verdict)| verdict.is_unresponsive());
    assert!(noticed.is_some_and(|(beat, _)| *beat <= 1_007), "{hang:?}");
}

#[test]
fn recurring_pauses_are_one_condition() {
    let start = Instant::now();
    let mut watch = HealthMonitor::new(HealthLimits::default(), start);
    // For ten minutes, the node draws at full rate for three seconds, then no frame for one second.
    let changes = verdicts_of(&mut watch, start, 0..6_000, |_| 60.0, |beat| beat % 40 < 30);
    assert!(unresponsive(&changes) <= 3, "{changes:?}");
    assert_eq!(changes.last().map(|(_, verdict)| *verdict), Some(HealthVerdict::Stalling));
    assert!(changes.len() <= 8, "{changes:?}");
}

#[test]
fn health_in_bursts_is_one_condition() {
    let start = Instant::now();
    let mut watch = HealthMonitor::new(HealthLimits::default(), start);
    let mut flips = 0;
    let mut was_unresponsive = false;
    for beat in 0..6_000 {
        let now = start + BEAT * beat;
        // The node draws no frame for one second in four.
        if beat % 40 < 30 {
            watch.hear(health(u64::from(beat) * 6, 60.0), now);
        }
        let is = watch.verdict(now).is_unresponsive();
        flips += u32::from(is && !was_unresponsive);
        was_unresponsive = is;
    }
    assert!(flips <= 3, "{flips} times unresponsive in ten minutes");
}

#[test]
fn rate_around_the_limit_does_not_flap() {
    let start = Instant::now();
    let mut watch = HealthMonitor::new(HealthLimits::default(), start);
    let fps = |beat: u32| if beat % 40 < 20 { 9.0 } else { 11.0 };
    let changes = verdicts_of(&mut watch, start, 0..6_000, fps, |_| true);
    assert!(changes.len() <= 8, "{} changes in ten minutes", changes.len());
    assert!(matches!(changes.last(), Some((_, HealthVerdict::Slow { .. }))), "{changes:?}");
    let well = verdicts_of(&mut watch, start, 6_000..6_400, |_| 60.0, |_| true);
    assert_eq!(well.last().map(|(_, verdict)| *verdict), Some(HealthVerdict::Running));
}

fn at_rate(fps: f32, seconds: u32) -> (HealthMonitor, Instant, Vec<HealthVerdict>) {
    let start = Instant::now();
    let mut watch = HealthMonitor::new(HealthLimits::default(), start);
    let mut verdicts = vec![];
    let mut now = start;
    for beat in 0..seconds * 10 {
        now = start + BEAT * beat;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let frames = (now.duration_since(start).as_secs_f32() * fps) as u64;
        watch.hear(health(frames, fps), now);
        verdicts.push(watch.verdict(now));
    }
    (watch, now, verdicts)
}

#[test]
fn steady_twenty_frames_a_second_raise_no_alarm() {
    let (_, _, verdicts) = at_rate(20.0, 600);
    let (first, rest) = verdicts.split_at(1);
    assert_eq!(first, [HealthVerdict::Starting]);
    assert!(rest.iter().all(|verdict| *verdict == HealthVerdict::Running));
}

#[test]
fn two_frames_a_second_are_slow_and_not_unresponsive() {
    let (_, _, verdicts) = at_rate(2.0, 30);
    assert!(verdicts.iter().all(|verdict| !verdict.is_unresponsive()));
    assert_eq!(verdicts.last(), Some(&HealthVerdict::Slow { fps: 2.0 }));
}

#[test]
fn frozen_loop_is_noticed_within_a_second_despite_health() {
    let (mut watch, frozen_at, _) = at_rate(60.0, 2);
    let count = watch.last().and_then(|health| health.frames).map_or(0, |frames| frames.count);
    let noticed = (1..100).map(|beat| frozen_at + BEAT * beat).find(|now| {
        watch.hear(health(count, 60.0), *now);
        watch.verdict(*now).is_unresponsive()
    });
    let noticed = noticed.map(|at| at.duration_since(frozen_at));
    assert!(noticed.is_some_and(|after| after < Duration::from_secs(1)), "{noticed:?}");
    watch.hear(health(count + 1, 60.0), frozen_at + Duration::from_secs(5));
    assert_eq!(watch.verdict(frozen_at + Duration::from_secs(5)), HealthVerdict::Running);
}

#[test]
fn silent_node_is_noticed_within_a_second() {
    let (watch, heard_at, _) = at_rate(60.0, 2);
    assert!(!watch.verdict(heard_at + Duration::from_millis(600)).is_unresponsive());
    assert!(matches!(
        watch.verdict(heard_at + Duration::from_millis(701)),
        HealthVerdict::Silent { .. }
    ));
}

#[test]
fn present_node_without_health_is_silent() {
    let start = Instant::now();
    let watch = HealthMonitor::of_present(HealthLimits::default(), start);
    assert_eq!(watch.verdict(start + BEAT), HealthVerdict::Starting);
    assert!(watch.verdict(start + BEAT * 8).is_unresponsive());
    let patient = HealthMonitor::new(HealthLimits::default(), start);
    assert_eq!(patient.verdict(start + BEAT * 8), HealthVerdict::Starting);
}

#[test]
fn node_before_its_first_frame_is_starting_not_frozen() {
    let start = Instant::now();
    let mut watch = HealthMonitor::new(HealthLimits::default(), start);
    for beat in 0..100 {
        watch.hear(health(0, 0.0), start + BEAT * beat);
        assert_eq!(watch.verdict(start + BEAT * beat), HealthVerdict::Starting);
    }
    watch.hear(health(1, 1.0), start + BEAT * 100);
    assert_eq!(watch.verdict(start + BEAT * 100), HealthVerdict::Running);
}

#[test]
fn known_node_runs_once_it_is_seen_to_move() {
    let start = Instant::now();
    let known = |slow| HealthMonitor::of_known(HealthLimits::default(), slow, start);
    let mut frozen = known(false);
    for beat in 0..20 {
        let now = start + BEAT * beat;
        frozen.hear(health(400, 60.0), now);
        let verdict = frozen.verdict(now);
        assert!(verdict == HealthVerdict::Starting || verdict.is_unresponsive(), "{verdict:?}");
    }
    assert!(frozen.verdict(start + BEAT * 20).is_unresponsive());
    let mut moving = known(false);
    moving.hear(health(400, 60.0), start);
    moving.hear(health(406, 60.0), start + BEAT);
    assert_eq!(moving.verdict(start + BEAT), HealthVerdict::Running);
    let mut slow = known(true);
    slow.hear(health(400, 2.0), start);
    slow.hear(health(401, 2.0), start + BEAT * 5);
    assert_eq!(slow.verdict(start + BEAT * 5), HealthVerdict::Slow { fps: 2.0 });
    let mut without_a_loop = known(false);
    without_a_loop.hear(Health::default(), start);
    assert_eq!(without_a_loop.verdict(start), HealthVerdict::Running);
}

#[test]
fn node_without_a_loop_is_never_frozen() {
    let start = Instant::now();
    let mut watch = HealthMonitor::new(HealthLimits::default(), start);
    assert_eq!(watch.verdict(start), HealthVerdict::Starting);
    for beat in 0..100 {
        watch.hear(Health::default(), start + BEAT * beat);
        assert_eq!(watch.verdict(start + BEAT * beat), HealthVerdict::Running);
    }
}
