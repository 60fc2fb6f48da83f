use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use hana_protocol::Counters;

/// The counters of a node, bumped from any thread.
#[derive(Debug, Default)]
pub(crate) struct NodeCounters {
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
    pub(crate) dropped: Counter,
    pub(crate) missed: Counter,
    pub(crate) late: Counter,
    pub(crate) malformed: Counter,
    pub(crate) limited: Counter,
    pub(crate) impersonated: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl NodeCounters {
    pub(crate) fn snapshot(&self) -> Counters {
        Counters {
            sent: self.sent.get(),
            received: self.received.get(),
            dropped: self.dropped.get(),
            missed: self.missed.get(),
            late: self.late.get(),
            malformed: self.malformed.get(),
            limited: self.limited.get(),
            impersonated: self.impersonated.get(),
        }
    }
}
