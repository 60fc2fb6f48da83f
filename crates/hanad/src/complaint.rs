use std::time::{Duration, Instant};

/// A filter that logs a lasting problem when it begins and when it changes, not each time it occurs.
///
/// A problem that comes and goes, such as a disk that is full every other second, counts as lasting.
#[derive(Debug, Default)]
pub(crate) struct LogOnce {
    now: Option<String>,
    /// The last logged problem and its time.
    said: Option<(String, Instant)>,
}

/// The least time before a problem that was over is logged again.
const AGAIN: Duration = Duration::from_mins(1);

impl LogOnce {
    /// Returns whether to log `problem`, which is not the case if it was the last one logged.
    pub(crate) fn is_news(&mut self, problem: &impl ToString) -> bool {
        self.is_news_at(problem.to_string(), Instant::now())
    }

    fn is_news_at(&mut self, problem: String, now: Instant) -> bool {
        if self.now.as_ref() == Some(&problem) {
            return false;
        }
        self.now = Some(problem.clone());
        let is_said = self.said.as_ref().is_some_and(|(said, at)| {
            *said == problem && now.saturating_duration_since(*at) < AGAIN
        });
        if !is_said {
            self.said = Some((problem, now));
        }
        !is_said
    }

    /// Ends the problem and returns whether there was one.
    pub(crate) fn is_over(&mut self) -> bool {
        self.now.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_said_once_and_again_when_it_has_been_over() {
        let start = Instant::now();
        let mut complaint = LogOnce::default();
        let mut news = |problem: &str, at| complaint.is_news_at(problem.into(), at);
        assert!(news("full", start));
        assert!(!news("full", start + AGAIN * 2), "it lasts");
        assert!(news("read-only", start));
        assert!(complaint.is_over());
        assert!(!complaint.is_over());
        assert!(complaint.is_news_at("read-only".into(), start + AGAIN));
    }

    #[test]
    fn a_trouble_that_comes_and_goes_is_said_once_a_minute() {
        let start = Instant::now();
        let mut complaint = LogOnce::default();
        let mut said = 0;
        for second in 0..120 {
            let now = start + Duration::from_secs(second);
            said += u32::from(complaint.is_news_at("full".into(), now));
            complaint.is_over();
        }
        assert_eq!(said, 2);
    }
}
