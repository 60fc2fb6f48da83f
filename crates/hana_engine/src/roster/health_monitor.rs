use std::time::{Duration, Instant};

use hana_protocol::message::Health;

use crate::roster::stall_memory::StallMemory;

/// Thresholds for slow and unresponsive nodes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HealthLimits {
    /// Time without progress after which a loop is unresponsive.
    ///
    /// The default, 0.7 s, is seven health messages and fourteen frames at 20 fps: a freeze is noticed within a
    /// second, without false alarms on a busy machine.
    pub unresponsive_after: Duration,
    /// Frame rate below which a node is slow, in frames per second.
    pub slow_below_fps: f32,
    /// How long the rate must stay below the limit, or above it again, before the verdict changes.
    ///
    /// The recovery time grows with each relapse.
    pub slow_after: Duration,
}

/// A rate that crosses the limit repeatedly within this time is one condition.
const FLAPPING: Duration = Duration::from_mins(1);
/// How many times the recovery time is doubled at most.
const MOST_DOUBLINGS: u32 = 5;

impl Default for HealthLimits {
    fn default() -> Self {
        Self {
            unresponsive_after: Duration::from_millis(700),
            slow_below_fps: 10.0,
            slow_after: Duration::from_secs(1),
        }
    }
}

/// Judges one node by its health messages. Pure: the caller passes in the messages and the time.
///
/// A liveliness token does not reveal a frozen loop, since the network has its own threads. The frame counter does,
/// since only the loop increments it.
#[derive(Debug, Clone)]
pub struct HealthMonitor {
    limits: HealthLimits,
    /// When it last made progress: a health message arrived and, if the node draws, its frame counter had changed.
    moved_at: Instant,
    heard_at: Instant,
    /// Whether health is expected from the start, because the node is known to be present.
    is_present: bool,
    /// Whether the node must first be seen to make progress; its first health message is only a baseline.
    is_doubted: bool,
    last: Option<Health>,
    /// Since when its rate has been on the other side of the limit than `slow` indicates.
    crossing: Option<Instant>,
    slow: bool,
    /// How often it became slow again soon after a recovery.
    relapses: u32,
    /// When its rate last recovered.
    recovered_at: Option<Instant>,
    /// Pauses of its loop while health messages arrived.
    stalls: StallMemory,
    /// Pauses of its health messages.
    silences: StallMemory,
}

/// The condition of a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HealthVerdict {
    /// It has sent no health yet, or drawn no frame.
    Starting,
    /// It makes normal progress.
    Running,
    /// It makes progress, but slowly.
    Slow {
        /// Frames per second.
        fps: f32,
    },
    /// It makes progress, with repeated pauses longer than [`HealthLimits::unresponsive_after`].
    Stalling,
    /// It draws single frames with long pauses, as when a window system throttles a hidden window.
    Throttled {
        /// Time between two frames.
        every: Duration,
    },
    /// Its network threads are alive, but its loop makes no progress.
    Frozen {
        /// Time since the last progress.
        for_: Duration,
    },
    /// No message arrives from it.
    Silent {
        /// Time since the last message.
        for_: Duration,
    },
}

impl HealthVerdict {
    /// Returns the verdict in plain words; empty if all is well.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Starting => "it has just come, and said nothing yet".into(),
            Self::Running => String::new(),
            Self::Slow { fps } => format!("draws only {fps:.0} frames a second"),
            Self::Stalling => {
                "its render loop pauses again and again, for most of a second or longer".into()
            },
            Self::Throttled { every } => {
                let every = every.as_secs_f32();
                let pace = if every < 1.5 {
                    "once a second".into()
                } else {
                    format!("every {every:.0} s")
                };
                format!(
                    "draws about {pace}; the window may be covered, minimised or on a locked screen"
                )
            },
            Self::Frozen { for_ } => {
                format!("its render loop has not moved for {:.1} s", for_.as_secs_f32())
            },
            Self::Silent { for_ } => format!("no sign of life for {:.1} s", for_.as_secs_f32()),
        }
    }

    /// Returns whether its loop has made no progress for too long.
    #[must_use]
    pub const fn is_unresponsive(&self) -> bool {
        matches!(self, Self::Frozen { .. } | Self::Silent { .. })
    }

    /// Returns how specific a verdict of slow progress is; 0 for all other verdicts.
    ///
    /// While a node stays slow, only a more specific verdict replaces the previous one.
    #[must_use]
    pub const fn slowness(&self) -> u8 {
        match self {
            Self::Slow { .. } => 1,
            Self::Stalling => 2,
            Self::Throttled { .. } => 3,
            Self::Starting | Self::Running | Self::Frozen { .. } | Self::Silent { .. } => 0,
        }
    }
}

impl HealthMonitor {
    /// Starts monitoring a node that may take time to start: it counts as starting until its first health message.
    #[must_use]
    pub fn new(limits: HealthLimits, now: Instant) -> Self {
        Self {
            limits,
            moved_at: now,
            heard_at: now,
            is_present: false,
            is_doubted: false,
            last: None,
            crossing: None,
            slow: false,
            relapses: 0,
            recovered_at: None,
            stalls: StallMemory::default(),
            silences: StallMemory::default(),
        }
    }

    /// Starts monitoring a node that is already present: without health messages it counts as silent.
    #[must_use]
    pub fn of_present(limits: HealthLimits, now: Instant) -> Self {
        let mut watch = Self::new(limits, now);
        watch.is_present = true;
        watch
    }

    /// Starts monitoring a node that another monitor judged as `slow` or not before.
    ///
    /// It counts as making progress only after the frame counter changes: a first health message does not prove that
    /// a frozen loop recovered.
    #[must_use]
    pub fn of_known(limits: HealthLimits, slow: bool, now: Instant) -> Self {
        let mut watch = Self::new(limits, now);
        (watch.is_doubted, watch.slow) = (true, slow);
        watch
    }

    /// Replaces the limits from now on.
    pub const fn set_limits(&mut self, limits: HealthLimits) {
        self.limits = limits;
    }

    /// Returns the last health message.
    #[must_use]
    pub const fn last(&self) -> Option<&Health> {
        self.last.as_ref()
    }

    /// Excuses all silence until `now`, because no message could be received.
    pub const fn excuse(&mut self, now: Instant) {
        self.moved_at = now;
        self.heard_at = now;
    }

    /// Handles a health message.
    pub fn hear(&mut self, health: Health, now: Instant) {
        let (silent, still) = (since(self.heard_at, now), since(self.moved_at, now));
        self.heard_at = now;
        let has_drawn = self.last.as_ref().is_some_and(has_drawn);
        let moved = match (self.last.as_ref().and_then(|last| last.frames), health.frames) {
            (Some(before), Some(frames)) => before.count != frames.count,
            (None, Some(_)) if self.is_doubted => {
                // Count progress from here on.
                self.moved_at = now;
                false
            },
            _ => true,
        };
        if has_drawn {
            self.remember(silent, still, moved, now);
        }
        if moved {
            self.moved_at = now;
            self.is_doubted = false;
        }
        if let Some(frames) = health.frames.filter(|frames| frames.count > 0) {
            self.weigh(frames.fps, now);
        }
        self.last = Some(health);
    }

    /// Records a pause that has ended.
    fn remember(&mut self, silent: Duration, still: Duration, moved: bool, now: Instant) {
        let limit = self.limits.unresponsive_after;
        if silent >= limit {
            // The progress of the loop during the silence is unknown.
            self.silences.pause(silent, now);
            return;
        }
        self.silences.moved(silent, limit, now);
        if moved && still >= limit {
            self.stalls.pause(still, now);
        } else if moved {
            self.stalls.moved(still, limit, now);
        }
    }

    /// Updates whether the node is slow, given its current rate.
    fn weigh(&mut self, fps: f32, now: Instant) {
        let below = fps < self.limits.slow_below_fps;
        if below == self.slow {
            self.crossing = None;
            return;
        }
        let doublings = if self.slow { self.relapses.min(MOST_DOUBLINGS) } else { 0 };
        let begun = *self.crossing.get_or_insert(now);
        if since(begun, now) < self.limits.slow_after * 2_u32.pow(doublings) {
            return;
        }
        self.crossing = None;
        self.slow = below;
        if below {
            let soon = self.recovered_at.is_some_and(|at| since(at, now) < FLAPPING);
            self.relapses = if soon { self.relapses.saturating_add(1) } else { 0 };
        } else {
            self.recovered_at = Some(now);
        }
    }

    /// Returns the verdict at `now`.
    #[must_use]
    pub fn verdict(&self, now: Instant) -> HealthVerdict {
        let silent = now.saturating_duration_since(self.heard_at);
        let Some(last) = &self.last else {
            return if self.is_present && silent >= self.limits.unresponsive_after {
                HealthVerdict::Silent { for_: silent }
            } else {
                HealthVerdict::Starting
            };
        };
        if silent >= self.allowed_silence(now) {
            return HealthVerdict::Silent { for_: silent };
        }
        let still = now.saturating_duration_since(self.moved_at);
        let has_drawn = has_drawn(last);
        // While health messages may be late, the state of the loop is unknown too.
        let allowed = self.allowed_stall(now).max(self.allowed_silence(now));
        if has_drawn && still >= allowed {
            // A process that is suspended may have missed frames first; call it frozen only if health messages still
            // arrive.
            let is_heard = silent * 3 < still * 2;
            return if is_heard {
                HealthVerdict::Frozen { for_: still }
            } else {
                HealthVerdict::Silent { for_: silent }
            };
        }
        match last.frames {
            _ if !has_drawn || self.is_doubted => HealthVerdict::Starting,
            Some(frames) => self.verdict_of_rate(frames.fps, now),
            None if self.silences.is_unsteady(now) => HealthVerdict::Stalling,
            None => HealthVerdict::Running,
        }
    }

    /// Returns the verdict for a loop that makes progress.
    fn verdict_of_rate(&self, fps: f32, now: Instant) -> HealthVerdict {
        // For a slow node, one pause suffices.
        let pace = self.stalls.pace().or_else(|| self.stalls.unrecovered().filter(|_| self.slow));
        match pace {
            Some(every) if every < self.stalls.allowance(self.limits.unresponsive_after, now) => {
                HealthVerdict::Throttled { every }
            },
            _ if self.stalls.is_unsteady(now) || self.silences.is_unsteady(now) => {
                HealthVerdict::Stalling
            },
            _ if self.slow => HealthVerdict::Slow { fps },
            _ => HealthVerdict::Running,
        }
    }

    fn allowed_stall(&self, now: Instant) -> Duration {
        self.stalls.allowance(self.limits.unresponsive_after, now)
    }

    fn allowed_silence(&self, now: Instant) -> Duration {
        self.silences.allowance(self.limits.unresponsive_after, now)
    }

    /// Returns when the verdict would change if no further message arrived.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let (stall, silence) = (self.allowed_stall(now), self.allowed_silence(now));
        let of = |_: &Health| (self.moved_at + stall.max(silence)).min(self.heard_at + silence);
        self.last.as_ref().map(of)
    }
}

fn since(at: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(at)
}

/// Returns whether the node has drawn a frame, or has no loop that draws.
fn has_drawn(health: &Health) -> bool {
    health.frames.is_none_or(|frames| frames.count > 0)
}

#[cfg(test)]
mod tests {
    use hana_protocol::message::Frames;

    use super::*;

    const BEAT: Duration = Duration::from_millis(100);

    fn health(count: u64, fps: f32) -> Health {
        Health { frames: Some(Frames { count, fps, max_us: 0 }), ..Health::default() }
    }

    #[test]
    fn one_that_is_stopped_as_a_whole_is_silent_also_if_its_loop_stumbled_just_before() {
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
    fn silence_that_was_ours_is_excused() {
        let start = Instant::now();
        let mut watch = HealthMonitor::of_present(HealthLimits::default(), start);
        watch.hear(health(1, 60.0), start);
        assert!(watch.verdict(start + 9 * BEAT).is_unresponsive());
        watch.excuse(start + 9 * BEAT);
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
    fn a_covered_window_is_slow_and_unresponsive_once_at_most() {
        for pause in [8, 10, 12, 20, 30] {
            let start = Instant::now();
            let mut watch = HealthMonitor::new(HealthLimits::default(), start);
            // Full rate for six seconds, then one frame every `pause` health messages.
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
    fn a_covered_window_that_hangs_is_still_unresponsive() {
        let start = Instant::now();
        let mut watch = HealthMonitor::new(HealthLimits::default(), start);
        verdicts_of(&mut watch, start, 0..200, |_| 1.0, |beat| beat % 10 == 0);
        let after = verdicts_of(&mut watch, start, 200..240, |_| 1.0, |_| false);
        let noticed = after.iter().find(|(_, verdict)| verdict.is_unresponsive());
        assert!(noticed.is_some_and(|(beat, _)| *beat <= 225), "{after:?}");
    }

    #[test]
    fn a_window_that_is_uncovered_runs_and_its_next_hang_is_noticed_as_ever() {
        let start = Instant::now();
        let mut watch = HealthMonitor::new(HealthLimits::default(), start);
        verdicts_of(&mut watch, start, 0..300, |_| 1.0, |beat| beat % 10 == 0);
        // Long enough for the pauses to be forgotten.
        let after = verdicts_of(&mut watch, start, 300..1_000, |_| 60.0, |_| true);
        assert_eq!(after.last().map(|(_, verdict)| *verdict), Some(HealthVerdict::Running));
        let hang = verdicts_of(&mut watch, start, 1_000..1_010, |_| 60.0, |_| false);
        let noticed = hang.iter().find(|(_, verdict)| verdict.is_unresponsive());
        assert!(noticed.is_some_and(|(beat, _)| *beat <= 1_007), "{hang:?}");
    }

    #[test]
    fn pauses_that_come_back_every_few_seconds_are_one_condition() {
        let start = Instant::now();
        let mut watch = HealthMonitor::new(HealthLimits::default(), start);
        // Three seconds at full rate, then a second without frames, for ten minutes.
        let changes = verdicts_of(&mut watch, start, 0..6_000, |_| 60.0, |beat| beat % 40 < 30);
        assert!(unresponsive(&changes) <= 3, "{changes:?}");
        assert_eq!(changes.last().map(|(_, verdict)| *verdict), Some(HealthVerdict::Stalling));
        assert!(changes.len() <= 8, "{changes:?}");
    }

    #[test]
    fn health_that_arrives_in_bursts_is_one_condition() {
        let start = Instant::now();
        let mut watch = HealthMonitor::new(HealthLimits::default(), start);
        let mut flips = 0;
        let mut was_unresponsive = false;
        for beat in 0..6_000 {
            let now = start + BEAT * beat;
            // No frame for one second in four.
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
    fn a_rate_around_the_limit_does_not_go_back_and_forth() {
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
    fn a_steady_twenty_frames_a_second_raise_no_alarm() {
        let (_, _, verdicts) = at_rate(20.0, 600);
        let (first, rest) = verdicts.split_at(1);
        assert_eq!(first, [HealthVerdict::Starting]);
        assert!(rest.iter().all(|verdict| *verdict == HealthVerdict::Running));
    }

    #[test]
    fn a_loop_at_two_frames_a_second_is_slow_and_not_unresponsive() {
        let (_, _, verdicts) = at_rate(2.0, 30);
        assert!(verdicts.iter().all(|verdict| !verdict.is_unresponsive()));
        assert_eq!(verdicts.last(), Some(&HealthVerdict::Slow { fps: 2.0 }));
    }

    #[test]
    fn a_frozen_loop_is_noticed_within_a_second_although_health_goes_on() {
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
    fn a_silent_node_is_noticed_within_a_second() {
        let (watch, heard_at, _) = at_rate(60.0, 2);
        assert!(!watch.verdict(heard_at + Duration::from_millis(600)).is_unresponsive());
        assert!(matches!(
            watch.verdict(heard_at + Duration::from_millis(701)),
            HealthVerdict::Silent { .. }
        ));
    }

    #[test]
    fn one_that_is_there_and_is_never_heard_is_silent() {
        let start = Instant::now();
        let watch = HealthMonitor::of_present(HealthLimits::default(), start);
        assert_eq!(watch.verdict(start + BEAT), HealthVerdict::Starting);
        assert!(watch.verdict(start + BEAT * 8).is_unresponsive());
        let patient = HealthMonitor::new(HealthLimits::default(), start);
        assert_eq!(patient.verdict(start + BEAT * 8), HealthVerdict::Starting);
    }

    #[test]
    fn one_that_has_drawn_nothing_yet_is_starting_and_not_frozen() {
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
    fn one_that_was_watched_before_runs_once_it_is_seen_to_move() {
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
    fn a_node_without_a_loop_is_never_frozen() {
        let start = Instant::now();
        let mut watch = HealthMonitor::new(HealthLimits::default(), start);
        assert_eq!(watch.verdict(start), HealthVerdict::Starting);
        for beat in 0..100 {
            watch.hear(Health::default(), start + BEAT * beat);
            assert_eq!(watch.verdict(start + BEAT * beat), HealthVerdict::Running);
        }
    }
}
