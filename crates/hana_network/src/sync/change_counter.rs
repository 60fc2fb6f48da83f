use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts rare events that a program must check for: a problem, a connection change, a shutdown request.
///
/// A program checks once per frame and usually finds nothing new. Reading one counter replaces reading four places,
/// each of which would occupy its own cache line. The program may also count events that it detects itself. Clones
/// share the count.
#[derive(Debug, Clone, Default)]
pub struct ChangeCounter(Arc<AtomicU64>);

impl ChangeCounter {
    /// Counts an event; call it after the event can be found where the program looks for it.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Returns the number of events so far; an unchanged count means that nothing is new.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
