//! The claims to one parameter: the controllers that took it, play it or lost it.

use std::time::{Duration, Instant};

use hana_protocol::id::{NodeId, Stamp};
use hana_protocol::message::{Ownership, OwnershipKind, Priority};
use hana_protocol::parameter::{ParameterName, Sharing};

use crate::ownership::mixer::Mixer;

/// The time without values after which a controller that did not take the parameter loses it.
///
/// It is longer than the pauses within a gesture, and shorter than the walk to another keyboard.
pub(super) const IDLE_RELEASE: Duration = Duration::from_secs(1);
/// The minimum interval between two reports of refused values, for each parameter.
const REPORT_INTERVAL: Duration = Duration::from_secs(3);

/// The ownership of one parameter.
#[derive(Debug, Default)]
pub(super) struct ParameterClaims {
    pub(super) sharing: Sharing,
    /// The controller that took the parameter.
    pub(super) taken: Option<Claimed>,
    /// The controller that plays the parameter without having taken it, because the parameter was free or the
    /// controller's priority is higher than the claim's.
    pub(super) playing: Option<ActiveWriter>,
    /// The ownership that ended last, while there is no new one.
    pub(super) before: Option<Ownership>,
    /// The controller preempted by a one-off command; its values are refused until it pauses.
    pub(super) preempted: Option<Preempted>,
    /// The controller that played last; if it vanishes, the parameter returns to its default.
    pub(super) last: Option<LastWriter>,
    pub(super) contributions: Mixer,
    pub(super) refused: WriteRefused,
}

#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) by: NodeId,
    pub(super) stamp: Stamp,
    pub(super) priority: Priority,
}

#[derive(Debug)]
pub(super) struct ActiveWriter {
    pub(super) by: NodeId,
    pub(super) priority: Priority,
    pub(super) last_seen: Instant,
}

#[derive(Debug)]
pub(super) struct Preempted {
    pub(super) app: NodeId,
    pub(super) by: NodeId,
    pub(super) last_seen: Instant,
}

#[derive(Debug)]
pub(super) struct LastWriter {
    pub(super) by: NodeId,
    /// The value and the time at which the return to the default began, if it has begun.
    pub(super) from: Option<(f32, Instant)>,
}

/// Counts the values that were refused because another controller owns the parameter.
#[derive(Debug, Default)]
pub(super) struct WriteRefused {
    unreported: u64,
    reported_at: Option<Instant>,
}

impl ParameterClaims {
    pub(super) fn holder(&self, now: Instant) -> Option<(&NodeId, OwnershipKind, Priority)> {
        let playing = self.playing.as_ref().filter(|playing| playing.is_active(now));
        let taken = self.taken.as_ref();
        match (playing, taken) {
            // A controller plays over a claim only if its priority is higher, or if it played before the claim.
            (Some(playing), None) => Some((&playing.by, OwnershipKind::Active, playing.priority)),
            (Some(playing), Some(taken)) if playing.priority > taken.priority => {
                Some((&playing.by, OwnershipKind::Active, playing.priority))
            },
            (_, Some(taken)) => Some((&taken.by, OwnershipKind::Claimed, taken.priority)),
            (None, None) => None,
        }
    }
}

impl Claimed {
    pub(super) fn to_ownership(&self, parameter: ParameterName, how: OwnershipKind) -> Ownership {
        let Self { by, stamp, priority } = self;
        Ownership {
            parameter,
            by: by.clone(),
            how,
            priority: *priority,
            stamp: Some(stamp.clone()),
        }
    }

    pub(super) fn into_ended(self, parameter: ParameterName, how: OwnershipKind) -> Ownership {
        let Self { by, stamp, priority } = self;
        Ownership { parameter, by, how, priority, stamp: Some(stamp) }
    }
}

impl ActiveWriter {
    pub(super) fn is_active(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_seen) < IDLE_RELEASE
    }
}

impl LastWriter {
    /// Returns the value on the way to `default`, and whether the default is reached.
    ///
    /// The return starts from the value at the first call, so the value never jumps.
    pub(super) fn fade_step(
        &mut self,
        value: f32,
        default: f32,
        over: Duration,
        now: Instant,
    ) -> (f32, bool) {
        let (from, begun) = *self.from.get_or_insert((value, now));
        let passed = now.saturating_duration_since(begun);
        let is_there = passed >= over;
        let along = if is_there { 1.0 } else { passed.as_secs_f32() / over.as_secs_f32() };
        ((default - from).mul_add(smooth(along), from), is_there)
    }
}

impl WriteRefused {
    /// Counts a refused value; returns the number of refused values if a report is due.
    pub(super) fn count(&mut self, now: Instant) -> Option<u64> {
        self.unreported += 1;
        if self
            .reported_at
            .is_some_and(|reported_at| now.saturating_duration_since(reported_at) < REPORT_INTERVAL)
        {
            return None;
        }
        self.reported_at = Some(now);
        Some(std::mem::take(&mut self.unreported))
    }
}

/// Eases in and out, from 0 to 1.
fn smooth(along: f32) -> f32 {
    along * along * 2.0_f32.mul_add(-along, 3.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fade_starts_at_the_current_value_and_ends_at_the_default() {
        let (start, over) = (Instant::now(), Duration::from_secs(2));
        let mut last = LastWriter { by: NodeId::new("app").unwrap(), from: None };
        assert_eq!(last.fade_step(1.0, 0.0, over, start), (1.0, false));
        let (middle, is_there) = last.fade_step(0.7, 0.0, over, start + over / 2);
        assert!((middle - 0.5).abs() < 1e-6 && !is_there);
        assert_eq!(last.fade_step(0.1, 0.0, over, start + over), (0.0, true));
    }

    #[test]
    fn refusals_are_reported_at_intervals() {
        let start = Instant::now();
        let mut refused = WriteRefused::default();
        assert_eq!(refused.count(start), Some(1));
        assert_eq!(refused.count(start), None);
        assert_eq!(refused.count(start + REPORT_INTERVAL), Some(2));
    }
}
