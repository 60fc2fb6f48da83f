use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The permits of a node for opening direct links.
#[derive(Clone, Default)]
pub(super) struct DialPermits(Arc<AtomicUsize>);

/// The permit to open one link. Dropping it makes it available again.
pub(super) struct DialPermit(DialPermits);

/// The maximum number of links that a node opens at the same time: each costs both ends some threads and milliseconds.
const MAX_DIALING: usize = 4;

impl DialPermits {
    /// Returns a permit to open a link, if one is free.
    pub(super) fn acquire(&self) -> Option<DialPermit> {
        let one_more = |taken| (taken < MAX_DIALING).then_some(taken + 1);
        let taken = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        taken.is_ok().then(|| DialPermit(self.clone()))
    }
}

impl Drop for DialPermit {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}
