use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Decides which errors are printed: a new error immediately, then its repeat count at growing intervals. Pure.
#[derive(Debug, Default)]
pub(super) struct RateLimitedErrors {
    /// The recent errors, with their repeats that are not printed yet.
    recent: BTreeMap<String, Repeats>,
    second: Option<Second>,
}

#[derive(Debug)]
struct Repeats {
    count: u64,
    /// The time at which the repeats are printed; `over` is the interval over which they are counted.
    due: Instant,
    over: Duration,
}

/// The errors printed in this second.
#[derive(Debug)]
struct Second {
    begun: Instant,
    printed: u32,
    unprinted: u64,
}

impl RateLimitedErrors {
    /// Maximum number of errors printed in a second. Other errors are only counted.
    const PER_SECOND: u32 = 20;
    /// Maximum number of errors whose repeats are counted separately.
    const MAX_RECENT: usize = 32;
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(16);

    /// Records an error. Returns whether it must be printed now.
    pub(super) fn report(&mut self, error: &str, now: Instant) -> bool {
        if let Some(repeats) = self.recent.get_mut(error) {
            repeats.count += 1;
            return false;
        }
        let begun = || Second { begun: now, printed: 0, unprinted: 0 };
        let second = self.second.get_or_insert_with(begun);
        if second.printed >= Self::PER_SECOND || self.recent.len() >= Self::MAX_RECENT {
            second.unprinted += 1;
            return false;
        }
        second.printed += 1;
        let (due, over) = (now + Self::FIRST, Self::FIRST);
        self.recent.insert(error.to_owned(), Repeats { count: 0, due, over });
        true
    }

    /// Returns the lines to print at the time `now`.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<String> {
        let mut lines = vec![];
        self.recent.retain(|error, repeats| {
            if now < repeats.due {
                return true;
            }
            if repeats.count == 0 {
                return false;
            }
            let Repeats { count, over, .. } = repeats;
            let times = if *count == 1 { "once more" } else { &format!("{count} times more") };
            lines.push(format!("{error} ({times} in {} s)", over.as_secs()));
            repeats.count = 0;
            repeats.over = (repeats.over * 2).min(Self::LONGEST);
            repeats.due = now + repeats.over;
            true
        });
        let is_over =
            |second: &Second| now.saturating_duration_since(second.begun) >= Duration::from_secs(1);
        if let Some(second) = self.second.take_if(|second| is_over(second))
            && second.unprinted > 0
        {
            lines.push(format!("and {} other errors in this second", second.unprinted));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn repeated_error_is_counted_and_printed_ever_less_often() {
        let (start, mut errors) = (Instant::now(), RateLimitedErrors::default());
        let mut lines = vec![];
        for ms in 0..60_000 {
            let now = start + MS * ms;
            if errors.report("no zoom", now) {
                lines.push("no zoom".to_owned());
            }
            lines.extend(errors.tick(now));
        }
        assert_eq!(
            lines[..3],
            ["no zoom", "no zoom (1000 times more in 1 s)", "no zoom (2000 times more in 2 s)"]
        );
        assert!(lines.len() <= 8, "{lines:?}");
        // Once the repeats have ended, the error is again printed immediately.
        for second in 0..40 {
            lines.extend(errors.tick(start + MS * (60_000 + 1000 * second)));
        }
        assert!(errors.report("no zoom", start + MS * 100_000));
    }

    #[test]
    fn many_different_errors_are_bounded_and_all_counted() {
        let (start, mut errors) = (Instant::now(), RateLimitedErrors::default());
        let (mut printed, mut counted) = (0_u64, 0_u64);
        for number in 0..10_000_u32 {
            let now = start + MS * (number / 10);
            printed += u64::from(errors.report(&format!("error {number}"), now));
            for line in errors.tick(now) {
                let number = line.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
                counted += number.unwrap_or_default();
            }
        }
        for line in errors.tick(start + MS * 5000) {
            let number = line.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
            counted += number.unwrap_or_default();
        }
        assert_eq!(printed, u64::from(RateLimitedErrors::PER_SECOND));
        assert_eq!(printed + counted, 10_000);
    }
}
