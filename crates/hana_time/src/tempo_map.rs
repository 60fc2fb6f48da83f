use crate::clock_offset::ClockEstimate;
use crate::easing::SlewRate;
use crate::timeline::Timeline;

/// The way a timeline takes: what holds now, and what is known to come, each from a time of its own on.
///
/// A change of tempo, or of the rate at which a clock is followed, is said a moment before it holds. So whoever hears it
/// goes over to it at the very same time, and nobody's beat jumps by what the message took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TempoMap {
    /// In the order of their origins. The first one holds for all that was before it too.
    pieces: [Timeline; Self::PIECES],
    known: usize,
}

impl TempoMap {
    /// What holds, and seven changes that come: more are not decided within a moment.
    const PIECES: usize = 8;

    /// One that is the same for ever.
    #[must_use]
    pub const fn of(timeline: Timeline) -> Self {
        Self { pieces: [timeline; Self::PIECES], known: 1 }
    }

    /// What holds at a time.
    #[must_use]
    pub fn at(&self, at_us: i64) -> Timeline {
        let holds = self.known().iter().rev().find(|piece| piece.origin().0 <= at_us);
        *holds.unwrap_or(&self.pieces[0])
    }

    /// What holds in the end.
    #[must_use]
    pub const fn last(&self) -> Timeline {
        self.pieces[self.known - 1]
    }

    /// The last change that comes after one time, and not after another.
    #[must_use]
    pub fn last_between(&self, after_us: i64, until_us: i64) -> Option<Timeline> {
        let comes =
            |piece: &&Timeline| (after_us.saturating_add(1)..=until_us).contains(&piece.origin().0);
        self.known().iter().skip(1).rev().find(comes).copied()
    }

    /// Without what is over at a time.
    #[must_use]
    pub fn since(mut self, at_us: i64) -> Self {
        let over =
            self.known().iter().skip(1).take_while(|piece| piece.origin().0 <= at_us).count();
        self.pieces.rotate_left(over);
        self.known -= over;
        self
    }

    /// From the origin of `timeline` on, it is this one, whatever was to come.
    #[must_use]
    pub fn then(mut self, timeline: Timeline) -> Self {
        let from = timeline.origin().0;
        self.known = self.known().iter().take_while(|piece| piece.origin().0 < from).count();
        if self.known == Self::PIECES {
            self.pieces.rotate_left(1);
            self.known -= 1;
        }
        self.pieces[self.known] = timeline;
        self.known += 1;
        self
    }

    /// From the origin of `timeline` on it goes there, by the rate of `easing` at first.
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

    /// The easing that is under way at a time, as it would be said anew.
    #[must_use]
    pub fn easing_at(&self, at_us: i64) -> Option<SlewRate> {
        let (now, last) = (self.at(at_us), self.last());
        let left = u32::try_from(last.origin().0.saturating_sub(at_us)).ok()?;
        let is_other = now.rate().to_bits() != last.rate().to_bits();
        (left > 0 && is_other).then(|| SlewRate { rate: now.rate(), for_us: left })
    }

    /// The same by the clock here, of one that is by the clock of another host.
    #[must_use]
    pub fn here(self, clock: &ClockEstimate) -> Self {
        Self { pieces: self.pieces.map(|piece| piece.here(clock)), ..self }
    }

    fn known(&self) -> &[Timeline] {
        &self.pieces[..self.known]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_change_holds_from_its_time_on_and_not_before() {
        let slow = Timeline::new(60.0, 0, 0.0).unwrap();
        let course = TempoMap::of(slow).then(slow.with_tempo(120.0, 1_000_000).unwrap());
        assert!((course.at(999_999).bpm() - 60.0).abs() < 1e-9);
        assert!((course.at(-5).bpm() - 60.0).abs() < 1e-9);
        assert!((course.at(1_000_000).bpm() - 120.0).abs() < 1e-9);
        // Another decision takes the place of what has not come yet.
        let course = course.then(slow.with_tempo(90.0, 500_000).unwrap());
        assert!((course.at(2_000_000).bpm() - 90.0).abs() < 1e-9);
        assert!((course.last().bpm() - 90.0).abs() < 1e-9);
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn what_goes_on_from_what_holds_never_jumps(
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
                    // A millisecond of the fastest there is.
                    prop_assert!(next > beat && next - beat < 0.0184, "{} to {}", beat, next);
                    beat = next;
                }
            }
        }
    }
}
