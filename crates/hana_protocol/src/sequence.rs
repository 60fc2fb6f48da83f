use std::collections::HashMap;

use crate::Envelope;
use crate::NodeId;

/// The receive side of `UnreliableSequenced`: the newest wins, an older one is never delivered after a
/// newer, and the first message of a restarted publisher is not taken for an old one.
///
/// A publisher is a node and its instance; instances are ordered by the time they began. Messages without
/// an envelope are unsequenced and always pass. One filter serves one key.
#[derive(Debug, Default)]
pub struct SequenceFilter {
    seen: HashMap<NodeId, (u64, u64)>,
}

/// What a [`SequenceFilter`] says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// To be delivered; `missed` messages of the same publisher never came before it.
    New {
        /// How many sequence numbers were skipped.
        missed: u64,
    },
    /// Already delivered, or overtaken by a newer one: to be dropped and counted.
    Stale,
}

impl SequenceFilter {
    /// A publisher beyond this many pushes out the one whose instance is the oldest, so that a foreign
    /// program that makes up senders cannot grow the filter without bound.
    pub const MAX_PUBLISHERS: usize = 64;

    /// Judges a message by its envelope.
    pub fn arrive(&mut self, envelope: Option<&Envelope>) -> Arrival {
        let Some(envelope) = envelope else { return Arrival::New { missed: 0 } };
        let newest = (envelope.instance, envelope.sequence);
        if let Some(last) = self.seen.get_mut(&envelope.from) {
            if newest <= *last {
                return Arrival::Stale;
            }
            let missed = if newest.0 == last.0 { newest.1 - last.1 - 1 } else { 0 };
            *last = newest;
            return Arrival::New { missed };
        }
        if self.seen.len() >= Self::MAX_PUBLISHERS
            && let Some(oldest) =
                self.seen.iter().min_by_key(|(_, newest)| **newest).map(|(id, _)| id.clone())
        {
            self.seen.remove(&oldest);
        }
        self.seen.insert(envelope.from.clone(), newest);
        Arrival::New { missed: 0 }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn envelope(instance: u64, sequence: u64) -> Envelope {
        Envelope { from: NodeId::new("app").unwrap(), instance, sequence, at: 0 }
    }

    #[test]
    fn an_older_message_is_never_delivered_after_a_newer() {
        let mut filter = SequenceFilter::default();
        assert_eq!(filter.arrive(Some(&envelope(1, 5))), Arrival::New { missed: 0 });
        assert_eq!(filter.arrive(Some(&envelope(1, 4))), Arrival::Stale);
        assert_eq!(filter.arrive(Some(&envelope(1, 5))), Arrival::Stale);
        assert_eq!(filter.arrive(Some(&envelope(1, 9))), Arrival::New { missed: 3 });
    }

    #[test]
    fn the_first_message_of_a_restarted_publisher_is_new() {
        let mut filter = SequenceFilter::default();
        filter.arrive(Some(&envelope(1, 900)));
        assert_eq!(filter.arrive(Some(&envelope(2, 0))), Arrival::New { missed: 0 });
        assert_eq!(filter.arrive(Some(&envelope(1, 901))), Arrival::Stale);
    }

    #[test]
    fn an_unsequenced_message_passes() {
        assert_eq!(SequenceFilter::default().arrive(None), Arrival::New { missed: 0 });
    }

    #[test]
    fn made_up_senders_do_not_grow_the_filter() {
        let mut filter = SequenceFilter::default();
        for n in 0..1000 {
            let from = NodeId::new(&format!("n{n}")).unwrap();
            filter.arrive(Some(&Envelope { from, ..envelope(n, 0) }));
        }
        assert_eq!(filter.seen.len(), SequenceFilter::MAX_PUBLISHERS);
    }
}
