use std::time::Duration;
use std::time::Instant;

use crate::Health;

/// What counts as slow and as unresponsive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HealthLimits {
    /// A loop that has not moved for this long is unresponsive. The default, 0.7 s, is seven beats of
    /// health and fourteen frames at 20 fps: noticed within a second, no false alarm on a busy machine.
    pub unresponsive_after: Duration,
    /// Below this rate for `slow_after` it is slow, in frames per second.
    pub slow_below_fps: f32,
    /// For how long it must be below the rate, or above it again, before it is said.
    pub slow_after: Duration,
}

impl Default for HealthLimits {
    fn default() -> Self {
        Self {
            unresponsive_after: Duration::from_millis(700),
            slow_below_fps: 10.0,
            slow_after: Duration::from_secs(1),
        }
    }
}

/// Judges one node by its health. Pure: it is told what arrived and what time it is.
///
/// A liveliness token cannot tell that a loop hangs, since the network has threads of its own; the frame
/// counter can, since only the loop bumps it.
#[derive(Debug, Clone)]
pub struct HealthWatch {
    limits: HealthLimits,
    /// When it was last seen to move: health arrived and, if it draws, with a counter that had changed.
    moved_at: Instant,
    heard_at: Instant,
    /// Whether health is due from the beginning: the node is known to be there.
    is_present: bool,
    /// Whether it is to be seen to move before it counts as moving: what it says first only says where it stands.
    is_doubted: bool,
    last: Option<Health>,
    /// Since when its rate has been on the other side of the limit than `slow` says.
    crossing: Option<Instant>,
    slow: bool,
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// Nothing heard from it yet, or no frame drawn.
    Starting,
    /// It moves as it should.
    Running,
    /// It moves, too slowly.
    Slow {
        /// Frames per second.
        fps: f32,
    },
    /// The network side of it lives, but its loop has not moved.
    Frozen {
        /// For how long.
        for_: Duration,
    },
    /// Nothing at all has come from it.
    Silent {
        /// For how long.
        for_: Duration,
    },
}

impl Verdict {
    /// The verdict in plain words; empty when there is nothing to say.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Starting => "it has just come, and said nothing yet".into(),
            Self::Running => String::new(),
            Self::Slow { fps } => format!("draws only {fps:.0} frames a second"),
            Self::Frozen { for_ } => {
                format!("its render loop has not moved for {:.1} s", for_.as_secs_f32())
            },
            Self::Silent { for_ } => format!("no sign of life for {:.1} s", for_.as_secs_f32()),
        }
    }

    /// Whether its loop has not moved for too long.
    #[must_use]
    pub const fn is_unresponsive(&self) -> bool {
        matches!(self, Self::Frozen { .. } | Self::Silent { .. })
    }
}

impl HealthWatch {
    /// Begins to watch at `now` one that may take its time to start: until it is heard it is starting.
    #[must_use]
    pub const fn new(limits: HealthLimits, now: Instant) -> Self {
        Self {
            limits,
            moved_at: now,
            heard_at: now,
            is_present: false,
            is_doubted: false,
            last: None,
            crossing: None,
            slow: false,
        }
    }

    /// Begins to watch at `now` one that is there already: if it is not heard, it is silent.
    #[must_use]
    pub const fn of_present(limits: HealthLimits, now: Instant) -> Self {
        let mut watch = Self::new(limits, now);
        watch.is_present = true;
        watch
    }

    /// Begins to watch at `now` one that another has watched before, and that was `slow` then or not. It counts as
    /// moving once it is seen to move: one that was frozen then has not moved because it is heard for the first time.
    #[must_use]
    pub const fn of_known(limits: HealthLimits, slow: bool, now: Instant) -> Self {
        let mut watch = Self::new(limits, now);
        (watch.is_doubted, watch.slow) = (true, slow);
        watch
    }

    /// Judges by other limits from now on.
    pub const fn set_limits(&mut self, limits: HealthLimits) {
        self.limits = limits;
    }

    /// The last health heard.
    #[must_use]
    pub const fn last(&self) -> Option<&Health> {
        self.last.as_ref()
    }

    /// Nothing could be heard until `now`, through no fault of its own: what was missed does not count.
    pub const fn excuse(&mut self, now: Instant) {
        self.moved_at = now;
        self.heard_at = now;
    }

    /// Health has arrived.
    pub fn hear(&mut self, health: Health, now: Instant) {
        self.heard_at = now;
        let moved = match (self.last.as_ref().and_then(|last| last.frames), health.frames) {
            (Some(before), Some(frames)) => before.count != frames.count,
            (None, Some(_)) if self.is_doubted => {
                // From here on.
                self.moved_at = now;
                false
            },
            _ => true,
        };
        if moved {
            self.moved_at = now;
            self.is_doubted = false;
        }
        if let Some(frames) = health.frames.filter(|frames| frames.count > 0) {
            let below = frames.fps < self.limits.slow_below_fps;
            if below == self.slow {
                self.crossing = None;
            } else {
                let since = *self.crossing.get_or_insert(now);
                if now.saturating_duration_since(since) >= self.limits.slow_after {
                    self.slow = below;
                    self.crossing = None;
                }
            }
        }
        self.last = Some(health);
    }

    /// The verdict at `now`.
    #[must_use]
    pub fn verdict(&self, now: Instant) -> Verdict {
        let silent = now.saturating_duration_since(self.heard_at);
        let Some(last) = &self.last else {
            return if self.is_present && silent >= self.limits.unresponsive_after {
                Verdict::Silent { for_: silent }
            } else {
                Verdict::Starting
            };
        };
        let has_drawn = last.frames.is_none_or(|frames| frames.count > 0);
        if silent >= self.limits.unresponsive_after {
            return Verdict::Silent { for_: silent };
        }
        let still = now.saturating_duration_since(self.moved_at);
        if has_drawn && still >= self.limits.unresponsive_after {
            // One that is stopped as a whole may have stumbled just before: of its loop alone speaks who is still heard.
            let is_heard = silent * 3 < still * 2;
            return if is_heard {
                Verdict::Frozen { for_: still }
            } else {
                Verdict::Silent { for_: silent }
            };
        }
        match last.frames {
            _ if !has_drawn || self.is_doubted => Verdict::Starting,
            Some(frames) if self.slow => Verdict::Slow { fps: frames.fps },
            _ => Verdict::Running,
        }
    }

    /// When the verdict would change if nothing more were heard.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.last
            .as_ref()
            .map(|_| self.moved_at.min(self.heard_at) + self.limits.unresponsive_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Frames;

    const BEAT: Duration = Duration::from_millis(100);

    fn health(count: u64, fps: f32) -> Health {
        Health { frames: Some(Frames { count, fps, max_us: 0 }), ..Health::default() }
    }

    #[test]
    fn one_that_is_stopped_as_a_whole_is_silent_also_if_its_loop_stumbled_just_before() {
        let start = Instant::now();
        let mut watch = HealthWatch::new(HealthLimits::default(), start);
        watch.hear(health(1, 60.0), start);
        // Two beats in which the loop did not get its turn; then nothing.
        watch.hear(health(1, 60.0), start + BEAT);
        watch.hear(health(1, 60.0), start + BEAT * 2);
        let verdict = watch.verdict(start + BEAT * 7);
        assert!(matches!(verdict, Verdict::Silent { .. }), "{verdict:?}");
        // Whose loop hangs is heard.
        let mut watch = HealthWatch::new(HealthLimits::default(), start);
        for beat in 0..7 {
            watch.hear(health(1, 60.0), start + BEAT * beat);
        }
        let verdict = watch.verdict(start + BEAT * 7);
        assert!(matches!(verdict, Verdict::Frozen { .. }), "{verdict:?}");
    }

    #[test]
    fn silence_that_was_ours_is_excused() {
        let start = Instant::now();
        let mut watch = HealthWatch::of_present(HealthLimits::default(), start);
        watch.hear(health(1, 60.0), start);
        assert!(watch.verdict(start + 9 * BEAT).is_unresponsive());
        watch.excuse(start + 9 * BEAT);
        assert_eq!(watch.verdict(start + 12 * BEAT), Verdict::Running);
        assert!(watch.verdict(start + 17 * BEAT).is_unresponsive());
    }

    fn at_rate(fps: f32, seconds: u32) -> (HealthWatch, Instant, Vec<Verdict>) {
        let start = Instant::now();
        let mut watch = HealthWatch::new(HealthLimits::default(), start);
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
        assert_eq!(first, [Verdict::Starting]);
        assert!(rest.iter().all(|verdict| *verdict == Verdict::Running));
    }

    #[test]
    fn a_loop_at_two_frames_a_second_is_slow_and_not_unresponsive() {
        let (_, _, verdicts) = at_rate(2.0, 30);
        assert!(verdicts.iter().all(|verdict| !verdict.is_unresponsive()));
        assert_eq!(verdicts.last(), Some(&Verdict::Slow { fps: 2.0 }));
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
        assert_eq!(watch.verdict(frozen_at + Duration::from_secs(5)), Verdict::Running);
    }

    #[test]
    fn a_silent_node_is_noticed_within_a_second() {
        let (watch, heard_at, _) = at_rate(60.0, 2);
        assert!(!watch.verdict(heard_at + Duration::from_millis(600)).is_unresponsive());
        assert!(matches!(
            watch.verdict(heard_at + Duration::from_millis(701)),
            Verdict::Silent { .. }
        ));
    }

    #[test]
    fn one_that_is_there_and_is_never_heard_is_silent() {
        let start = Instant::now();
        let watch = HealthWatch::of_present(HealthLimits::default(), start);
        assert_eq!(watch.verdict(start + BEAT), Verdict::Starting);
        assert!(watch.verdict(start + BEAT * 8).is_unresponsive());
        let patient = HealthWatch::new(HealthLimits::default(), start);
        assert_eq!(patient.verdict(start + BEAT * 8), Verdict::Starting);
    }

    #[test]
    fn one_that_has_drawn_nothing_yet_is_starting_and_not_frozen() {
        let start = Instant::now();
        let mut watch = HealthWatch::new(HealthLimits::default(), start);
        for beat in 0..100 {
            watch.hear(health(0, 0.0), start + BEAT * beat);
            assert_eq!(watch.verdict(start + BEAT * beat), Verdict::Starting);
        }
        watch.hear(health(1, 1.0), start + BEAT * 100);
        assert_eq!(watch.verdict(start + BEAT * 100), Verdict::Running);
    }

    #[test]
    fn one_that_was_watched_before_runs_once_it_is_seen_to_move() {
        let start = Instant::now();
        let known = |slow| HealthWatch::of_known(HealthLimits::default(), slow, start);
        let mut frozen = known(false);
        for beat in 0..20 {
            let now = start + BEAT * beat;
            frozen.hear(health(400, 60.0), now);
            let verdict = frozen.verdict(now);
            assert!(verdict == Verdict::Starting || verdict.is_unresponsive(), "{verdict:?}");
        }
        assert!(frozen.verdict(start + BEAT * 20).is_unresponsive());
        let mut moving = known(false);
        moving.hear(health(400, 60.0), start);
        moving.hear(health(406, 60.0), start + BEAT);
        assert_eq!(moving.verdict(start + BEAT), Verdict::Running);
        let mut slow = known(true);
        slow.hear(health(400, 2.0), start);
        slow.hear(health(401, 2.0), start + BEAT * 5);
        assert_eq!(slow.verdict(start + BEAT * 5), Verdict::Slow { fps: 2.0 });
        let mut without_a_loop = known(false);
        without_a_loop.hear(Health::default(), start);
        assert_eq!(without_a_loop.verdict(start), Verdict::Running);
    }

    #[test]
    fn a_node_without_a_loop_is_never_frozen() {
        let start = Instant::now();
        let mut watch = HealthWatch::new(HealthLimits::default(), start);
        assert_eq!(watch.verdict(start), Verdict::Starting);
        for beat in 0..100 {
            watch.hear(Health::default(), start + BEAT * beat);
            assert_eq!(watch.verdict(start + BEAT * beat), Verdict::Running);
        }
    }
}
