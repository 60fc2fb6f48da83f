use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter of rare events that a program must check for: a fault, a connection change, a shutdown request.
///
/// A program checks once per frame and usually finds no new event. It then reads one counter instead of four values,
/// each of which occupies its own cache line. The program may also count events that it detects itself. Clones share
/// the counter.
#[derive(Debug, Clone, Default)]
pub struct ChangeCounter(Arc<AtomicU64>);

impl ChangeCounter {
    /// Counts an event. Call this only when the program can already read the event.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Returns the number of events so far. If the number is unchanged, there is no new event.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
