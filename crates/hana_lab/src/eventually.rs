use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(10);

/// The possible results of a probe for [`eventually`]: `bool`, `Option` or `Result`.
pub trait Attempt {
    /// The value on success.
    type Value;

    /// Returns the value, or a description of the current state as error.
    ///
    /// # Errors
    ///
    /// Fails if the condition does not hold yet.
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

/// Repeats `probe` every 10 ms until it succeeds, and returns its value.
///
/// Fails the test after `deadline`, and prints the awaited condition and the last state, which is readable if the
/// probe returns `Err(state)`. The probe runs once more after the deadline, so that a slow probe does not fail
/// because of its own duration.
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
    fn value_of_a_successful_probe_is_returned() {
        let mut probes = 0;
        let value = eventually(Duration::from_secs(1), "the third probe", || {
            probes += 1;
            (probes == 3).then_some("yes")
        });
        assert_eq!((value, probes), ("yes", 3));
    }

    #[test]
    #[should_panic(expected = "for: a state of running\nlast seen: \"starting\"")]
    fn failure_names_the_condition_and_the_last_state() {
        eventually(Duration::ZERO, "a state of running", || Err::<(), _>("starting"));
    }
}
