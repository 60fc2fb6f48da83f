/// Formats a duration in its two largest units, in at most six characters: `59s`, `1m01s`, `23h59m`, `2d03h`, `120d`.
#[must_use]
pub fn short_duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        86_400..8_640_000 => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Formats the time from `since_ms` to `now_ms`, both in Unix milliseconds.
///
/// The time counts as zero if `since_ms` is the later one, because another machine's clock is ahead.
#[must_use]
pub fn time_since(since_ms: u64, now_ms: u64) -> String {
    short_duration(now_ms.saturating_sub(since_ms) / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_and_six_characters_at_most() {
        let texts = [0, 59, 61, 3599, 3661, 86_399, 183_600, 8_639_999, 10_368_000];
        let texts = texts.map(short_duration);
        assert_eq!(
            texts,
            ["0s", "59s", "1m01s", "59m59s", "1h01m", "23h59m", "2d03h", "99d23h", "120d"]
        );
    }

    #[test]
    fn time_since_a_later_moment_is_zero() {
        assert_eq!(time_since(5, 61_005), "1m01s");
        assert_eq!(time_since(10, 5), "0s");
    }
}
