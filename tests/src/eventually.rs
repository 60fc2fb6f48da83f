use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(10);

/// What a probe of [`eventually`] may answer: `bool`, `Option` or `Result`.
pub trait Attempt {
    /// What it yields once it holds.
    type Value;

    /// The value, or what was seen instead.
    ///
    /// # Errors
    ///
    /// When it does not hold yet.
    fn outcome(self) -> Result<Self::Value, String>;
}

impl Attempt for bool {
    type Value = ();

    fn outcome(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".into()) }
    }
}

impl<T> Attempt for Option<T> {
    type Value = T;

    fn outcome(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".into())
    }
}

impl<T, E: Debug> Attempt for Result<T, E> {
    type Value = T;

    fn outcome(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:#?}"))
    }
}

/// Asks `probe` every 10 ms until it holds, and returns what it yields.
///
/// Fails the test when that takes longer than `deadline`, saying what was awaited and what was seen last; a probe
/// that returns `Err(what it saw)` makes that worth reading. The probe is asked once more after the deadline, so that a slow one is not cut off by its own slowness.
#[track_caller]
pub fn eventually<A: Attempt>(
    deadline: Duration,
    awaited: &str,
    mut probe: impl FnMut() -> A,
) -> A::Value {
    let start = Instant::now();
    loop {
        let late = start.elapsed() >= deadline;
        match probe().outcome() {
            Ok(value) => return value,
            Err(seen) if late => panic!(
                "waited {:.2} s (deadline {:.2} s) for: {awaited}\nlast seen: {seen}",
                start.elapsed().as_secs_f64(),
                deadline.as_secs_f64(),
            ),
            Err(_) => thread::sleep(INTERVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_is_handed_on() {
        let mut asked = 0;
        let value = eventually(Duration::from_secs(1), "the third question", || {
            asked += 1;
            (asked == 3).then_some("yes")
        });
        assert_eq!((value, asked), ("yes", 3));
    }

    #[test]
    #[should_panic(expected = "for: a state of running\nlast seen: \"starting\"")]
    fn a_failure_says_what_was_awaited_and_seen() {
        eventually(Duration::ZERO, "a state of running", || Err::<(), _>("starting"));
    }
}
