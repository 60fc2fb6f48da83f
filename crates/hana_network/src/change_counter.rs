use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what seldom comes and a program is to look for: a problem, a change of the connection, an order to end.
///
/// A program looks once a frame, and mostly finds nothing: at one place instead of four, each of which would have to be
/// fetched into its cache. It may count what it finds out itself too. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct ChangeCounter(Arc<AtomicU64>);

impl ChangeCounter {
    /// Something has come, and is where it will be looked for.
    pub fn tell(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// How often something has come: as often as when it was looked at last, and there is nothing new.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
