//! The messages of the reference, which have the same size as hana's, and their keys.

use hana_protocol::message::ModulationBatch;
use hana_protocol::wire::{Lane, codec};
use serde::Serialize;

/// The key of the reference's queries.
pub(crate) const RAW_ASK: &str = "raw/ask";
/// The keys of the reference for the lanes, in the order of `Lanes`. Like hana's keys, they name the publisher.
pub(crate) const RAW_LANES: [(&str, Lane); 4] = [
    ("raw/player/topic/latest", Lane::UnreliableSequenced),
    ("raw/player/topic/reliable-ordered", Lane::ReliableOrdered),
    ("raw/player/topic/best-effort", Lane::UnreliableUnordered),
    ("raw/player/topic/reliable-unordered", Lane::ReliableUnordered),
];
/// The key expressions of the subscriptions, which match any publisher, like those of hana.
pub(crate) const RAW_PATTERNS: [&str; 4] = [
    "raw/*/topic/latest",
    "raw/*/topic/reliable-ordered",
    "raw/*/topic/best-effort",
    "raw/*/topic/reliable-unordered",
];

/// Returns the encoded size of one of hana's messages.
pub(crate) fn bytes_of(message: &impl Serialize) -> usize {
    codec::encode(message).map_or(0, |payload| payload.len())
}

/// Creates a modulation batch for the given numbers, whose size the reference's messages copy.
pub(crate) fn frame_of(parameters: usize, moments: usize) -> ModulationBatch {
    ModulationBatch {
        instance: 1_760_000_000_000_000,
        at: 1_760_000_000_000_000,
        after: (0..moments)
            .map(|moment| u32::try_from(moment * 1000).unwrap_or_default())
            .collect(),
        indices: (0..parameters).map(|place| u16::try_from(place).unwrap_or_default()).collect(),
        samples: vec![0.5; parameters * moments],
    }
}

/// Creates a numbered payload of this many bytes.
pub(crate) fn numbered(number: u64, bytes: usize) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(bytes.max(8), 0);
    payload
}

/// Returns the number of a payload from [`numbered`].
pub(crate) fn number(payload: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(payload.get(..8)?.try_into().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn number_is_read_as_written() {
        let payload = numbered(7_000_000_000, 12);
        assert_eq!((payload.len(), number(&payload).unwrap()), (12, 7_000_000_000));
        assert_eq!(number(&[1, 2]), None);
    }
}
