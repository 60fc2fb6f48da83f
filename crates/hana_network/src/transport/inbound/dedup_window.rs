use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use hana_protocol::id::NodeId;
use hana_protocol::wire::Envelope;

/// Detects duplicates, so that each message is accepted only once.
///
/// A duplicate is a message that was retried because its reply was lost, or that arrived over a second path.
///
/// Pure. Stores the newest [`WINDOW`](Self::WINDOW) sequence numbers of each instance of a sender; older numbers count
/// as already accepted.
#[derive(Debug, Default)]
pub(crate) struct DedupWindow {
    senders: HashMap<(NodeId, u64), SenderWindow>,
}

#[derive(Debug)]
struct SenderWindow {
    /// All sequence numbers below this one count as accepted.
    from: u64,
    numbers: BTreeSet<u64>,
    last_message: Instant,
}

impl DedupWindow {
    /// The number of sequence numbers stored for one instance of a sender.
    ///
    /// It is the maximum number of messages of this instance that may wait for replies.
    const WINDOW: usize = 1024;
    /// The maximum number of sender instances; when it is exceeded, the instance that has been silent longest is
    /// removed.
    const MOST: usize = 256;

    /// Accepts a message; returns `false` if the message was accepted before.
    pub(crate) fn insert(&mut self, envelope: &Envelope, now: Instant) -> bool {
        let of = (envelope.from.clone(), envelope.instance);
        if !self.senders.contains_key(&of)
            && self.senders.len() >= Self::MOST
            && let Some(silent) = self
                .senders
                .iter()
                .min_by_key(|(_, sender)| sender.last_message)
                .map(|(node, _)| node.clone())
        {
            self.senders.remove(&silent);
        }
        let new = || SenderWindow { from: 0, numbers: BTreeSet::new(), last_message: now };
        let sender = self.senders.entry(of).or_insert_with(new);
        sender.last_message = now;
        if envelope.sequence < sender.from || !sender.numbers.insert(envelope.sequence) {
            return false;
        }
        while sender.numbers.len() > Self::WINDOW
            && let Some(oldest) = sender.numbers.pop_first()
        {
            sender.from = oldest + 1;
        }
        true
    }

    /// Removes an accepted message, so that it can be accepted again.
    pub(crate) fn remove(&mut self, envelope: &Envelope) {
        let of = (envelope.from.clone(), envelope.instance);
        if let Some(sender) = self.senders.get_mut(&of) {
            sender.numbers.remove(&envelope.sequence);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn envelope(instance: u64, sequence: u64) -> Envelope {
        Envelope { from: NodeId::new("desk").unwrap(), instance, sequence, at: 0 }
    }

    #[test]
    fn each_message_is_inserted_once_in_any_order() {
        let (mut taken, now) = (DedupWindow::default(), Instant::now());
        for sequence in [3, 1, 2] {
            assert!(taken.insert(&envelope(1, sequence), now));
            assert!(!taken.insert(&envelope(1, sequence), now));
        }
        assert!(taken.insert(&envelope(2, 1), now), "another run counts anew");
        taken.remove(&envelope(1, 2));
        assert!(taken.insert(&envelope(1, 2), now));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut taken, now) = (DedupWindow::default(), Instant::now());
        for sequence in 0..5000 {
            assert!(taken.insert(&envelope(1, sequence), now));
        }
        assert!(!taken.insert(&envelope(1, 7), now), "too old to know");
        for instance in 0..1000 {
            taken.insert(&envelope(instance, 0), now);
        }
        assert_eq!(taken.senders.len(), DedupWindow::MOST);
    }
}
