use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Serialize;
use serde_json::{Value, json};

use crate::worker::arrival_log::{ArrivalLog, now_ns};

/// The count of received messages of one subscription.
#[derive(Debug, Clone, Copy, Default, Serialize, serde::Deserialize)]
pub(crate) struct ReceiveCount {
    /// The number of messages.
    pub(crate) came: u64,
    /// The arrival time of the first message, in nanoseconds of this machine's clock; `last_ns` is that of the last
    /// one.
    pub(crate) first_ns: u64,
    pub(crate) last_ns: u64,
}

/// The counters of one subscription.
#[derive(Debug, Default)]
pub(crate) struct ReceiveCounter {
    pub(crate) log: ArrivalLog,
    came: AtomicU64,
    first_ns: AtomicU64,
    last_ns: AtomicU64,
    /// Whether messages are only counted, without recording the time of each.
    pub(crate) counts_only: AtomicBool,
}

impl ReceiveCounter {
    /// Records or counts a message.
    pub(crate) fn record(&self, number: u64) {
        if self.counts_only.load(Ordering::Relaxed) {
            self.count(1);
        } else {
            self.log.record(number);
        }
    }

    /// Adds `more` messages. The first arrival time is only as precise as the interval between calls.
    pub(crate) fn count(&self, more: u64) {
        let now = now_ns();
        if self.came.fetch_add(more, Ordering::Relaxed) == 0 {
            self.first_ns.store(now, Ordering::Relaxed);
        }
        self.last_ns.store(now, Ordering::Relaxed);
    }

    fn take_count(&self) -> ReceiveCount {
        ReceiveCount {
            came: self.came.swap(0, Ordering::Relaxed),
            first_ns: self.first_ns.load(Ordering::Relaxed),
            last_ns: self.last_ns.load(Ordering::Relaxed),
        }
    }
}

/// Handles the commands of subscribing workers.
///
/// `stamp` and `count` select the mode; `take` and `counted` return the result of each subscription.
pub(crate) fn reply_of(counters: &[Arc<ReceiveCounter>], word: &str) -> Option<Value> {
    match word {
        "stamp" | "count" => {
            for counter in counters {
                counter.counts_only.store(word == "count", Ordering::Relaxed);
                counter.log.take();
                counter.take_count();
            }
            Some(json!(null))
        },
        "take" => {
            Some(json!(counters.iter().map(|counter| counter.log.take()).collect::<Vec<_>>()))
        },
        "counted" => {
            Some(json!(counters.iter().map(|counter| counter.take_count()).collect::<Vec<_>>()))
        },
        _ => None,
    }
}
