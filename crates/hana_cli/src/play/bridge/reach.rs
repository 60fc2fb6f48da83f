use std::time::{Duration, Instant};

/// Decides when to report that a visualization stopped or resumed answering. Pure.
#[derive(Debug)]
pub(super) struct Reach {
    /// The last time at which the visualization answered or was not played.
    well: Instant,
    is_reported: bool,
}

/// A change to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReachNews {
    Silent,
    Back,
}

impl Reach {
    /// How long a visualization may be silent before it is reported: longer than a restart or a change of path takes.
    const PATIENCE: Duration = Duration::from_secs(1);

    pub(super) const fn new(now: Instant) -> Self {
        Self { well: now, is_reported: false }
    }

    /// Records whether the visualization answers now and whether it is played. Returns a change to report, if any.
    pub(super) fn look(
        &mut self,
        is_answered: bool,
        is_played: bool,
        now: Instant,
    ) -> Option<ReachNews> {
        if is_answered {
            self.well = now;
            return std::mem::take(&mut self.is_reported).then_some(ReachNews::Back);
        }
        if self.is_reported {
            return None;
        }
        if !is_played {
            self.well = now;
        }
        self.is_reported = now.saturating_duration_since(self.well) >= Self::PATIENCE;
        self.is_reported.then_some(ReachNews::Silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_its_end_are_reported_once_each() {
        let start = Instant::now();
        let mut reach = Reach::new(start);
        let mut news = vec![];
        for ms in 0..10_000 {
            let is_answered = !(2000..8000).contains(&ms);
            let now = start + Duration::from_millis(ms);
            news.extend(reach.look(is_answered, true, now).map(|news| (ms, news)));
        }
        assert_eq!(news, [(2999, ReachNews::Silent), (8000, ReachNews::Back)]);
    }

    #[test]
    fn silence_without_playing_is_not_reported() {
        let start = Instant::now();
        let mut reach = Reach::new(start);
        for ms in 0..10_000 {
            assert_eq!(reach.look(false, false, start + Duration::from_millis(ms)), None);
        }
    }
}
