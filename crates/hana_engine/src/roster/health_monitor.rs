use std::time::{Duration, Instant};

use hana_protocol::message::Health;

use crate::roster::health_verdict::HealthVerdict;
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

/// Time after a recovery within which a node that becomes slow again has relapsed.
const FLAPPING: Duration = Duration::from_mins(1);
/// Maximum number of times that the recovery time is doubled.
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
    /// Time of the last progress: a health message arrived and, if the node draws, its frame counter had changed.
    moved_at: Instant,
    heard_at: Instant,
    /// Whether health is expected from the start, because the node is known to be present.
    is_present: bool,
    /// Whether the node must first be seen to make progress; its first health message is only a baseline.
    is_doubted: bool,
    last: Option<Health>,
    /// Time since which the rate has been on the other side of the limit than `slow` indicates.
    crossing: Option<Instant>,
    slow: bool,
    /// Number of consecutive times that the node became slow again soon after a recovery.
    relapses: u32,
    /// Time at which the rate last recovered.
    recovered_at: Option<Instant>,
    /// Pauses of the node's loop while health messages arrived.
    stalls: StallMemory,
    /// Pauses of the node's health messages.
    silences: StallMemory,
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

    /// Starts monitoring a node that another monitor judged before; `slow` is true if it judged the node as slow.
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
    pub const fn forgive_until(&mut self, now: Instant) {
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
                // Progress counts from here on.
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
            // A suspended process may stop drawing before its messages stop, so it is frozen only if health messages
            // still arrive.
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

    /// Returns the time at which the verdict would change if no further message arrived.
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
mod tests;
