use std::sync::Arc;
use std::sync::Weak;
use std::thread;
use std::time::Instant;

/// Something that has to do something at a time of its own.
pub(crate) trait Timed: Send + Sync {
    /// Does what is due at `now`; when it wants to be called next, if at all before it is woken.
    fn tick(&self, now: Instant) -> Option<Instant>;
}

/// The thread of a node in which what waits for a time is done: questions that are asked again, deadlines, announcements.
/// Ends when the last of its clones is gone.
#[derive(Clone)]
pub(crate) struct Ticker {
    calls: flume::Sender<Call>,
}

enum Call {
    Add(Weak<dyn Timed>),
    Wake,
}

impl Ticker {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (calls, called) = flume::unbounded();
        thread::Builder::new().name("hana ticker".into()).spawn(move || run(&called))?;
        Ok(Self { calls })
    }

    /// Calls it from now on, as long as it is there.
    pub(crate) fn add<T: Timed + 'static>(&self, timed: &Arc<T>) {
        let timed: Weak<T> = Arc::downgrade(timed);
        self.calls.send(Call::Add(timed)).ok();
    }

    /// Something may be due earlier than was said.
    pub(crate) fn wake(&self) {
        // One call that waits is as good as many.
        if self.calls.is_empty() {
            self.calls.send(Call::Wake).ok();
        }
    }
}

fn run(called: &flume::Receiver<Call>) {
    let mut all: Vec<Weak<dyn Timed>> = vec![];
    let mut next: Option<Instant> = None;
    loop {
        let call = next.map_or_else(
            || called.recv().map_err(|_| flume::RecvTimeoutError::Disconnected),
            |at| called.recv_deadline(at),
        );
        match call {
            Ok(Call::Add(timed)) => all.push(timed),
            Ok(Call::Wake) | Err(flume::RecvTimeoutError::Timeout) => {},
            Err(flume::RecvTimeoutError::Disconnected) => return,
        }
        next = None;
        all.retain(|timed| {
            let Some(timed) = timed.upgrade() else { return false };
            let wanted = timed.tick(Instant::now());
            next = next.into_iter().chain(wanted).min();
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

    impl Timed for Once {
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
        let ticker = Ticker::start().unwrap();
        let (done, when) = flume::unbounded();
        let begun = Instant::now();
        let first = begun + Duration::from_millis(20);
        let timed = Arc::new(Once { at: Mutex::new(Some(first)), done });
        ticker.add(&timed);
        assert!(when.recv_timeout(Duration::from_secs(10)).unwrap() >= first);
        *timed.at.lock().unwrap() = Some(begun);
        ticker.wake();
        assert!(when.recv_timeout(Duration::from_secs(10)).is_ok());
    }
}
