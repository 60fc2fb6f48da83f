use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Wake;
use std::thread;
use std::time::Instant;

/// A component with deadlines.
pub(crate) trait Timer: Send + Sync {
    /// Does the work due at `now`; returns the next deadline, or `None` to run again only when its waker fires.
    fn tick(&self, now: Instant) -> Option<Instant>;
}

/// The timer thread of a node: runs retries, deadlines and announcements.
///
/// Each timer is called when it is due or its waker fires, independently of the others. The thread ends when the last
/// clone and the last waker are dropped.
#[derive(Clone)]
pub(crate) struct TimerThread {
    calls: flume::Sender<Call>,
}

/// Wakes the timer thread because a timer's deadline moved earlier.
#[derive(Clone)]
pub(crate) struct TimerWaker {
    is_rung: Arc<AtomicBool>,
    calls: flume::Sender<Call>,
}

enum Call {
    Add(TimerEntry),
    Look,
}

struct TimerEntry {
    timed: Weak<dyn Timer>,
    is_rung: Arc<AtomicBool>,
    due: Option<Instant>,
}

impl TimerThread {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (calls, called) = flume::unbounded();
        thread::Builder::new().name("hana ticker".into()).spawn(move || run(&called))?;
        Ok(Self { calls })
    }

    /// Returns a waker for a timer that will be added.
    pub(crate) fn bell(&self) -> TimerWaker {
        TimerWaker { is_rung: Arc::default(), calls: self.calls.clone() }
    }

    /// Registers a timer; it is called until it is dropped.
    pub(crate) fn add<T: Timer + 'static>(&self, timed: &Arc<T>, bell: &TimerWaker) {
        let timed: Weak<T> = Arc::downgrade(timed);
        let is_rung = Arc::clone(&bell.is_rung);
        self.calls.send(Call::Add(TimerEntry { timed, is_rung, due: Some(Instant::now()) })).ok();
    }
}

impl TimerWaker {
    /// Schedules a call of the timer soon. Does not block.
    pub(crate) fn ring(&self) {
        self.is_rung.store(true, Ordering::Release);
        // One waiting wake-up is enough, whichever timer it is for.
        if self.calls.is_empty() {
            self.calls.send(Call::Look).ok();
        }
    }
}

impl Wake for TimerWaker {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

fn run(called: &flume::Receiver<Call>) {
    let mut all: Vec<TimerEntry> = vec![];
    loop {
        let next = all.iter().filter_map(|entry| entry.due).min();
        let call = next.map_or_else(
            || called.recv().map_err(|_| flume::RecvTimeoutError::Disconnected),
            |at| called.recv_deadline(at),
        );
        match call {
            Ok(Call::Add(entry)) => all.push(entry),
            Ok(Call::Look) | Err(flume::RecvTimeoutError::Timeout) => {},
            Err(flume::RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        all.retain_mut(|entry| {
            let is_rung = entry.is_rung.swap(false, Ordering::AcqRel);
            if !is_rung && entry.due.is_none_or(|due| due > now) {
                return true;
            }
            let Some(timed) = entry.timed.upgrade() else { return false };
            entry.due = timed.tick(Instant::now());
            true
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    struct Once {
        at: Mutex<Option<Instant>>,
        done: flume::Sender<Instant>,
    }

    impl Timer for Once {
        fn tick(&self, now: Instant) -> Option<Instant> {
            let mut at = self.at.lock().unwrap();
            if at.is_some_and(|at| at <= now) {
                *at = None;
                self.done.send(now).unwrap();
            }
            *at
        }
    }

    #[test]
    fn what_has_a_time_is_called_then_and_when_it_is_woken() {
        let ticker = TimerThread::start().unwrap();
        let (done, when) = flume::unbounded();
        let begun = Instant::now();
        let first = begun + Duration::from_millis(20);
        let timed = Arc::new(Once { at: Mutex::new(Some(first)), done });
        let bell = ticker.bell();
        ticker.add(&timed, &bell);
        assert!(when.recv_timeout(Duration::from_secs(10)).unwrap() >= first);
        *timed.at.lock().unwrap() = Some(begun);
        bell.ring();
        assert!(when.recv_timeout(Duration::from_secs(10)).is_ok());
    }

    struct Counted(Mutex<u32>);

    impl Timer for Counted {
        fn tick(&self, _: Instant) -> Option<Instant> {
            *self.0.lock().unwrap() += 1;
            None
        }
    }

    #[test]
    fn one_bell_calls_one_and_not_the_others() {
        let ticker = TimerThread::start().unwrap();
        let quiet = Arc::new(Counted(Mutex::new(0)));
        ticker.add(&quiet, &ticker.bell());
        let (done, when) = flume::unbounded();
        let timed = Arc::new(Once { at: Mutex::new(None), done });
        let bell = ticker.bell();
        ticker.add(&timed, &bell);
        for _ in 0..10 {
            *timed.at.lock().unwrap() = Some(Instant::now());
            bell.ring();
            assert!(when.recv_timeout(Duration::from_secs(10)).is_ok());
        }
        assert_eq!(*quiet.0.lock().unwrap(), 1, "once, when it was added");
    }
}
