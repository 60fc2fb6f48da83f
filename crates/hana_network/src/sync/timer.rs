use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Wake;
use std::thread;
use std::time::Instant;

/// A component with deadlines.
pub(crate) trait Timer: Send + Sync {
    /// Does the work that is due at `now`; returns the next deadline, or `None` to run again only when the waker
    /// fires.
    fn tick(&self, now: Instant) -> Option<Instant>;
}

/// The timer thread of a node: runs retries, deadlines and announcements.
///
/// Each timer is called when it is due or when its waker fires, independently of the other timers. The thread ends
/// when the last clone and the last waker are dropped.
#[derive(Clone)]
pub(crate) struct TimerThread {
    call_tx: flume::Sender<Call>,
}

/// Wakes the timer thread when the deadline of a timer has moved to an earlier time.
#[derive(Clone)]
pub(crate) struct TimerWaker {
    is_woken: Arc<AtomicBool>,
    call_tx: flume::Sender<Call>,
}

enum Call {
    Add(TimerEntry),
    Wake,
}

struct TimerEntry {
    timer: Weak<dyn Timer>,
    is_woken: Arc<AtomicBool>,
    due: Option<Instant>,
}

impl TimerThread {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (call_tx, call_rx) = flume::unbounded();
        thread::Builder::new().name("hana timer".into()).spawn(move || run(&call_rx))?;
        Ok(Self { call_tx })
    }

    /// Returns a waker for a timer that is added later.
    pub(crate) fn waker(&self) -> TimerWaker {
        TimerWaker { is_woken: Arc::default(), call_tx: self.call_tx.clone() }
    }

    /// Adds a timer, which is called until it is dropped.
    pub(crate) fn add<T: Timer + 'static>(&self, timer: &Arc<T>, waker: &TimerWaker) {
        let timer: Weak<T> = Arc::downgrade(timer);
        let is_woken = Arc::clone(&waker.is_woken);
        self.call_tx
            .send(Call::Add(TimerEntry { timer, is_woken, due: Some(Instant::now()) }))
            .ok();
    }
}

impl TimerWaker {
    /// Makes the thread call the timer soon. Does not block.
    pub(crate) fn wake(&self) {
        self.is_woken.store(true, Ordering::Release);
        // A waiting wake-up is enough, even if it is for another timer.
        if self.call_tx.is_empty() {
            self.call_tx.send(Call::Wake).ok();
        }
    }
}

impl Wake for TimerWaker {
    fn wake(self: Arc<Self>) {
        Self::wake(&self);
    }
}

fn run(call_rx: &flume::Receiver<Call>) {
    let mut all: Vec<TimerEntry> = vec![];
    loop {
        let next = all.iter().filter_map(|entry| entry.due).min();
        let call = next.map_or_else(
            || call_rx.recv().map_err(|_| flume::RecvTimeoutError::Disconnected),
            |at| call_rx.recv_deadline(at),
        );
        match call {
            Ok(Call::Add(entry)) => all.push(entry),
            Ok(Call::Wake) | Err(flume::RecvTimeoutError::Timeout) => {},
            Err(flume::RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        all.retain_mut(|entry| {
            let is_woken = entry.is_woken.swap(false, Ordering::AcqRel);
            if !is_woken && entry.due.is_none_or(|due| due > now) {
                return true;
            }
            let Some(timer) = entry.timer.upgrade() else { return false };
            entry.due = timer.tick(Instant::now());
            true
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use crate::sync::lock::Mutex;

    use super::*;

    struct Once {
        at: Mutex<Option<Instant>>,
        tick_tx: flume::Sender<Instant>,
    }

    impl Timer for Once {
        fn tick(&self, now: Instant) -> Option<Instant> {
            let mut at = self.at.lock();
            if at.is_some_and(|at| at <= now) {
                *at = None;
                self.tick_tx.send(now).unwrap();
            }
            *at
        }
    }

    #[test]
    fn timer_fires_when_due_and_when_woken() {
        let thread = TimerThread::start().unwrap();
        let (tick_tx, tick_rx) = flume::unbounded();
        let begun = Instant::now();
        let first = begun + Duration::from_millis(20);
        let timer = Arc::new(Once { at: Mutex::new(Some(first)), tick_tx });
        let waker = thread.waker();
        thread.add(&timer, &waker);
        assert!(tick_rx.recv_timeout(Duration::from_secs(10)).unwrap() >= first);
        *timer.at.lock() = Some(begun);
        waker.wake();
        assert!(tick_rx.recv_timeout(Duration::from_secs(10)).is_ok());
    }

    struct Counted(Mutex<u32>);

    impl Timer for Counted {
        fn tick(&self, _: Instant) -> Option<Instant> {
            *self.0.lock() += 1;
            None
        }
    }

    #[test]
    fn waker_fires_only_its_own_timer() {
        let thread = TimerThread::start().unwrap();
        let quiet = Arc::new(Counted(Mutex::new(0)));
        thread.add(&quiet, &thread.waker());
        let (tick_tx, tick_rx) = flume::unbounded();
        let timer = Arc::new(Once { at: Mutex::new(None), tick_tx });
        let waker = thread.waker();
        thread.add(&timer, &waker);
        for _ in 0..10 {
            *timer.at.lock() = Some(Instant::now());
            waker.wake();
            assert!(tick_rx.recv_timeout(Duration::from_secs(10)).is_ok());
        }
        assert_eq!(*quiet.0.lock(), 1, "once, when it was added");
    }
}
