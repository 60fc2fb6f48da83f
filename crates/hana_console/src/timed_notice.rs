use std::time::{Duration, Instant};

/// A message to the operator that disappears after a few seconds. Pure: it takes the time.
#[derive(Debug, Default)]
pub struct TimedNotice {
    shown: Option<(String, Instant)>,
}

impl TimedNotice {
    /// The time for which a message is shown.
    pub const DURATION: Duration = Duration::from_secs(6);

    /// Shows a message in place of the previous one.
    pub fn show(&mut self, text: String, now: Instant) {
        self.shown = Some((text, now + Self::DURATION));
    }

    /// Removes the message when its [`DURATION`](Self::DURATION) is over.
    pub fn expire(&mut self, now: Instant) {
        self.shown.take_if(|(_, until)| now >= *until);
    }

    /// Returns the message, if one is shown.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.shown.as_ref().map(|(text, _)| text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_expire_and_newer_ones_replace_them() {
        let now = Instant::now();
        let mut notice = TimedNotice::default();
        notice.show("a".into(), now);
        let later = now + TimedNotice::DURATION / 2;
        notice.show("b".into(), later);
        notice.expire(now + TimedNotice::DURATION);
        assert_eq!(notice.text(), Some("b"));
        notice.expire(later + TimedNotice::DURATION);
        assert_eq!(notice.text(), None);
    }
}
