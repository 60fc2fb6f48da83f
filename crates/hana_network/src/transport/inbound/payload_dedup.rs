use std::time::{Duration, Instant};

/// Distinguishes duplicates from intended repetitions, for messages without an envelope.
///
/// A foreign program that sends a command may be connected to several daemons. Each daemon forwards the command, so it
/// may arrive several times within a few milliseconds. Intended repetitions have a longer interval.
#[derive(Debug, Default)]
pub(crate) struct PayloadDedup {
    last: Option<(Vec<u8>, Instant)>,
}

impl PayloadDedup {
    /// The maximum time between duplicates. Duplicates over two paths arrive at most a few milliseconds apart; a
    /// program that opens a session for each command needs hundreds of milliseconds.
    const WINDOW: Duration = Duration::from_millis(100);

    /// Returns whether `payload`, which arrived at `now`, is a duplicate of the previous payload.
    pub(crate) fn is_duplicate(&mut self, payload: &[u8], now: Instant) -> bool {
        let is_duplicate = self.last.as_ref().is_some_and(|(last, at)| {
            last == payload && now.saturating_duration_since(*at) < Self::WINDOW
        });
        if !is_duplicate {
            self.last = Some((payload.to_vec(), now));
        }
        is_duplicate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_arrives_at_once_and_repetition_later() {
        let mut filter = PayloadDedup::default();
        let start = Instant::now();
        assert!(!filter.is_duplicate(b"stop", start));
        assert!(filter.is_duplicate(b"stop", start + Duration::from_millis(3)));
        assert!(filter.is_duplicate(b"stop", start + Duration::from_millis(5)));
        assert!(!filter.is_duplicate(b"start", start + Duration::from_millis(6)));
        assert!(!filter.is_duplicate(b"start", start + Duration::from_millis(206)));
    }
}
