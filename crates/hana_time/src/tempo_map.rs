use crate::clock_offset::ClockEstimate;
use crate::easing::SlewRate;
use crate::timeline::Timeline;

/// A piecewise timeline: the current segment and scheduled future segments, each with a start time.
///
/// A change of the tempo, or of the rate at which a clock is followed, is published shortly before it takes effect.
/// So all receivers switch at the same moment, and no beat jumps by the transit time of the message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TempoMap {
    /// Segments in the order of their origins. The first one also covers all earlier times.
    segments: [Timeline; Self::PIECES],
    known: usize,
}

impl TempoMap {
    /// Maximum number of segments: the current one and seven changes ahead.
    ///
    /// No more changes are scheduled within the lead time.
    const PIECES: usize = 8;

    /// Creates a map with a single segment.
    #[must_use]
    pub const fn of(timeline: Timeline) -> Self {
        Self { segments: [timeline; Self::PIECES], known: 1 }
    }

    /// Returns the segment at a time.
    #[must_use]
    pub fn at(&self, at_us: i64) -> Timeline {
        let holds = self.known().iter().rev().find(|piece| piece.origin().0 <= at_us);
        *holds.unwrap_or(&self.segments[0])
    }

    /// Returns the last segment.
    #[must_use]
    pub const fn last(&self) -> Timeline {
        self.segments[self.known - 1]
    }

    /// Returns the last change after `after_us` and no later than `until_us`.
    #[must_use]
    pub fn last_between(&self, after_us: i64, until_us: i64) -> Option<Timeline> {
        let comes =
            |piece: &&Timeline| (after_us.saturating_add(1)..=until_us).contains(&piece.origin().0);
        self.known().iter().skip(1).rev().find(comes).copied()
    }

    /// Drops the segments that are over at a time.
    #[must_use]
    pub fn since(mut self, at_us: i64) -> Self {
        let over =
            self.known().iter().skip(1).take_while(|piece| piece.origin().0 <= at_us).count();
        self.segments.rotate_left(over);
        self.known -= over;
        self
    }

    /// Continues with `timeline` from its origin on, replacing all later segments.
    #[must_use]
    pub fn then(mut self, timeline: Timeline) -> Self {
        let from = timeline.origin().0;
        self.known = self.known().iter().take_while(|piece| piece.origin().0 < from).count();
        if self.known == Self::PIECES {
            self.segments.rotate_left(1);
            self.known -= 1;
        }
        self.segments[self.known] = timeline;
        self.known += 1;
        self
    }

    /// Continues with `timeline` from its origin on, initially at the rate of `easing`.
    #[must_use]
    pub fn eased_to(self, timeline: Timeline, easing: Option<SlewRate>) -> Self {
        let at_us = timeline.origin().0;
        let eased = easing.and_then(|SlewRate { rate, for_us }| {
            let eased = timeline.with_rate(rate, at_us).ok()?;
            let until = at_us.saturating_add(for_us.into());
            Some((eased, eased.with_rate(timeline.rate(), until).ok()?))
        });
        match eased {
            Some((eased, after)) => self.then(eased).then(after),
            None => self.then(timeline),
        }
    }

    /// Returns the temporary rate in effect at a time, with the rest of its duration.
    #[must_use]
    pub fn easing_at(&self, at_us: i64) -> Option<SlewRate> {
        let (now, last) = (self.at(at_us), self.last());
        let left = u32::try_from(last.origin().0.saturating_sub(at_us)).ok()?;
        let is_other = now.rate().to_bits() != last.rate().to_bits();
        (left > 0 && is_other).then(|| SlewRate { rate: now.rate(), for_us: left })
    }

    /// Converts this map from another host's clock to the local one.
    #[must_use]
    pub fn to_local(self, clock: &ClockEstimate) -> Self {
        Self { segments: self.segments.map(|piece| piece.to_local(clock)), ..self }
    }

    fn known(&self) -> &[Timeline] {
        &self.segments[..self.known]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tempo_change_applies_from_its_time() {
        let slow = Timeline::new(60.0, 0, 0.0).unwrap();
        let course = TempoMap::of(slow).then(slow.with_tempo(120.0, 1_000_000).unwrap());
        assert!((course.at(999_999).bpm() - 60.0).abs() < 1e-9);
        assert!((course.at(-5).bpm() - 60.0).abs() < 1e-9);
        assert!((course.at(1_000_000).bpm() - 120.0).abs() < 1e-9);
        // A later decision replaces the segments still ahead.
        let course = course.then(slow.with_tempo(90.0, 500_000).unwrap());
        assert!((course.at(2_000_000).bpm() - 90.0).abs() < 1e-9);
        assert!((course.last().bpm() - 90.0).abs() < 1e-9);
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn continued_tempo_map_never_jumps(
            changes in prop::collection::vec((20.0..=999.0_f64, 0.9..=1.1_f64, 0..50_000_i64), 1..20),
        ) {
            let mut course = TempoMap::of(Timeline::new(120.0, 0, 0.0).unwrap());
            let (mut now, mut beat) = (0, 0.0);
            for (bpm, rate, ahead) in changes {
                let from = now + ahead;
                let next = course.at(from).with_tempo(bpm, from).unwrap().with_rate(rate, from).unwrap();
                course = course.then(next);
                for _ in 0..20 {
                    now += 1_000;
                    let next = course.at(now).beat_at(now);
                    // 0.0184 beats is the fastest possible advance in a millisecond.
                    prop_assert!(next > beat && next - beat < 0.0184, "{} to {}", beat, next);
                    beat = next;
                }
            }
        }
    }
}
