use std::time::{Duration, Instant};

/// A filter that logs a lasting problem when it begins and when it changes, not each time it occurs.
///
/// A problem that recurs at short intervals, such as a disk that is full every other second, counts as lasting.
#[derive(Debug, Default)]
pub(crate) struct LogOnce {
    current: Option<String>,
    /// The last logged problem and its time.
    logged: Option<(String, Instant)>,
}

/// The least time before the same problem is logged again after it was over.
const REPEAT_INTERVAL: Duration = Duration::from_mins(1);

impl LogOnce {
    /// Returns whether to log `problem`: `false` if it lasts, or recurs soon after it was logged.
    pub(crate) fn should_log(&mut self, problem: &impl ToString) -> bool {
        self.should_log_at(problem.to_string(), Instant::now())
    }

    fn should_log_at(&mut self, problem: String, now: Instant) -> bool {
        if self.current.as_ref() == Some(&problem) {
            return false;
        }
        self.current = Some(problem.clone());
        let is_logged = self.logged.as_ref().is_some_and(|(logged, at)| {
            *logged == problem && now.saturating_duration_since(*at) < REPEAT_INTERVAL
        });
        if !is_logged {
            self.logged = Some((problem, now));
        }
        !is_logged
    }

    /// Marks the problem as over and returns whether there was one.
    pub(crate) fn clear(&mut self) -> bool {
        self.current.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_is_logged_once_and_again_after_it_was_over() {
        let start = Instant::now();
        let mut log = LogOnce::default();
        let mut should_log = |problem: &str, at| log.should_log_at(problem.into(), at);
        assert!(should_log("full", start));
        assert!(!should_log("full", start + REPEAT_INTERVAL * 2), "it lasts");
        assert!(should_log("read-only", start));
        assert!(log.clear());
        assert!(!log.clear());
        assert!(log.should_log_at("read-only".into(), start + REPEAT_INTERVAL));
    }

    #[test]
    fn flapping_problem_is_logged_once_a_minute() {
        let start = Instant::now();
        let mut log = LogOnce::default();
        let mut logged = 0;
        for second in 0..120 {
            let now = start + Duration::from_secs(second);
            logged += u32::from(log.should_log_at("full".into(), now));
            log.clear();
        }
        assert_eq!(logged, 2);
    }
}
