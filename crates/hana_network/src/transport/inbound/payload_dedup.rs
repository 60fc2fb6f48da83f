use std::time::{Duration, Instant};

/// Distinguishes duplicates from intended repetitions, for messages without an envelope.
///
/// A foreign program that sends a command is connected to several daemons, each of which forwards it, so the command
/// may arrive more than once within a few milliseconds. An intended repetition takes longer.
#[derive(Debug, Default)]
pub(crate) struct PayloadDedup {
    last: Option<(Vec<u8>, Instant)>,
}

impl PayloadDedup {
    /// Duplicates over two paths never arrived more than a few milliseconds apart; a program that opens a session for
    /// each command takes hundreds.
    const WINDOW: Duration = Duration::from_millis(100);

    /// Returns whether `payload`, which arrives at `now`, is a duplicate of the previous one.
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
