use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{io, process, thread};

use crate::service::service_manager;

/// Aborts the process when its loop freezes, so that the service manager restarts it.
///
/// Launched processes continue.
///
/// The watchdog counts ticks of its own thread instead of reading a clock. While the machine is suspended, the
/// process is stopped or the clock is set, the thread makes at most one tick. It makes many ticks without a round of
/// the loop only if the loop itself has frozen.
#[derive(Debug, Clone)]
pub(crate) struct Watchdog(Arc<AtomicU64>);

/// The time limit for one round of the loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WatchdogLimit {
    /// The time between two checks.
    pub(crate) tick: Duration,
    /// The number of consecutive checks without progress after which the loop counts as frozen.
    pub(crate) ticks: u32,
}

impl WatchdogLimit {
    /// The limit for the daemon: ten seconds, which is longer than any round takes on a busy machine.
    pub(crate) const DAEMON: Self = Self { tick: Duration::from_millis(500), ticks: 20 };

    const fn in_all(self) -> Duration {
        self.tick.saturating_mul(self.ticks)
    }
}

/// The longest time between two heartbeats.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// The time limit for logging the stall, since the output may be frozen too.
const STALL_LOG_TIMEOUT: Duration = Duration::from_secs(1);

impl Watchdog {
    /// Starts to watch. `on_stall` logs why the process ends, and has one second to do so.
    pub(crate) fn start(
        limit: WatchdogLimit,
        on_stall: impl FnOnce(Duration) + Send + 'static,
    ) -> io::Result<Self> {
        let watchdog = Self(Arc::default());
        let heartbeats = Arc::clone(&watchdog.0);
        let is_watched = service_manager::watches_every().is_some();
        thread::Builder::new().name("watchdog".into()).spawn(move || {
            let mut detector = StallDetector::new(limit.ticks);
            loop {
                thread::sleep(limit.tick);
                match detector.tick(heartbeats.load(Ordering::Relaxed)) {
                    StallVerdict::Moves if is_watched => service_manager::alive(),
                    StallVerdict::Moves | StallVerdict::Waits => {},
                    StallVerdict::Hangs => end(limit, on_stall),
                }
            }
        })?;
        Ok(watchdog)
    }

    /// Records a round of the loop.
    pub(crate) fn heartbeat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Logs the cause and aborts, even if logging freezes.
fn end(limit: WatchdogLimit, on_stall: impl FnOnce(Duration) + Send + 'static) -> ! {
    let (done_tx, done_rx) = mpsc::channel();
    let logger = thread::Builder::new().name("stall log".into()).spawn(move || {
        on_stall(limit.in_all());
        done_tx.send(()).ok();
    });
    if logger.is_ok() {
        done_rx.recv_timeout(STALL_LOG_TIMEOUT).ok();
    }
    process::abort()
}

/// Detects a stalled loop. Pure.
#[derive(Debug)]
struct StallDetector {
    ticks: u32,
    seen: u64,
    without: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StallVerdict {
    /// The loop has completed a round since the last tick.
    Moves,
    /// The loop has not completed a round, but is within its limit.
    Waits,
    /// The loop has not completed a round for longer than its limit.
    Hangs,
}

impl StallDetector {
    const fn new(ticks: u32) -> Self {
        Self { ticks, seen: 0, without: 0 }
    }

    /// Advances by one tick. `heartbeats` is the number of heartbeats since the start.
    const fn tick(&mut self, heartbeats: u64) -> StallVerdict {
        if heartbeats != self.seen {
            self.seen = heartbeats;
            self.without = 0;
            return StallVerdict::Moves;
        }
        self.without = self.without.saturating_add(1);
        if self.without >= self.ticks { StallVerdict::Hangs } else { StallVerdict::Waits }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Returns the tick at which a loop that completes the given rounds per tick counts as frozen.
    fn hangs_at(rounds: impl IntoIterator<Item = u64>) -> Option<usize> {
        let mut detector = StallDetector::new(WatchdogLimit::DAEMON.ticks);
        let mut heartbeats = 0;
        rounds.into_iter().position(|round| {
            heartbeats += round;
            detector.tick(heartbeats) == StallVerdict::Hangs
        })
    }

    #[test]
    fn slow_loop_is_not_reported() {
        assert_eq!(hangs_at((0..10_000).map(|tick| u64::from(tick % 3 == 0))), None);
        assert_eq!(hangs_at((0..10_000).map(|tick| u64::from(tick % 20 == 0))), None);
    }

    #[test]
    fn frozen_loop_is_reported_after_ten_seconds_of_ticks() {
        assert_eq!(WatchdogLimit::DAEMON.in_all(), Duration::from_secs(10));
        let moves_then_stops = [1; 5].into_iter().chain([0; 100]);
        assert_eq!(hangs_at(moves_then_stops), Some(5 + 20 - 1));
        assert_eq!(hangs_at([0; 100]), Some(19), "one that has never moved");
    }

    /// Covers suspended machines, stopped processes and clock changes: loop and watchdog both make at most one step.
    ///
    /// Neither reads a clock, so the length of the pause has no effect.
    #[test]
    fn suspended_machine_counts_as_one_tick() {
        let day = (0..1000).flat_map(|_| [1, 1, 0]);
        assert_eq!(hangs_at(day), None);
        let mut detector = StallDetector::new(20);
        assert_eq!(detector.tick(7), StallVerdict::Moves);
        assert_eq!(detector.tick(7), StallVerdict::Waits);
        assert_eq!(detector.tick(8), StallVerdict::Moves);
    }

    /// The environment variable that makes the subprocess of the two tests below freeze.
    const HANGS: &str = "HANA_TEST_LOOP_HANGS";
    const SHORT: WatchdogLimit = WatchdogLimit { tick: Duration::from_millis(50), ticks: 20 };

    #[test]
    #[ignore = "run by the two tests below, in a process of its own that is to die"]
    fn frozen_loop() {
        let Ok(how) = std::env::var(HANGS) else { return };
        let watchdog = Watchdog::start(SHORT, move |after| {
            eprintln!("no sign of the loop for {} s", after.as_secs());
            if how == "with its output" {
                thread::sleep(Duration::from_hours(1));
            }
        })
        .unwrap();
        // Sixty rounds take much longer than the limit.
        for _ in 0..60 {
            watchdog.heartbeat();
            thread::sleep(Duration::from_millis(50));
        }
        eprintln!("hangs now");
        thread::sleep(Duration::from_hours(1));
    }

    #[cfg(unix)]
    fn watch_it_hang(how: &str) -> (String, Duration) {
        use std::os::unix::process::ExitStatusExt;

        const SIGABRT: i32 = 6;
        let begun = Instant::now();
        let output = process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "service::watchdog::tests::frozen_loop", "--ignored", "--nocapture"])
            .env(HANGS, how)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
        assert!(said.contains("hangs now\n"), "it was ended before it hung: {said}");
        (said, begun.elapsed())
    }

    #[cfg(unix)]
    #[test]
    fn process_with_frozen_loop_logs_and_aborts() {
        let (said, took) = watch_it_hang("alone");
        assert!(said.ends_with("no sign of the loop for 1 s\n"), "{said}");
        assert!(took < Duration::from_mins(1), "{took:?}");
    }

    #[cfg(unix)]
    #[test]
    fn process_with_frozen_output_is_aborted_too() {
        let (_, took) = watch_it_hang("with its output");
        assert!(took < Duration::from_mins(1), "{took:?}");
    }
}
