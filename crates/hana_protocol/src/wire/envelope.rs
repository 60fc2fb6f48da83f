use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::node_id::NodeId;

/// Who sent a message, which instance of it, its place in the sequence, and when. Travels in the
/// attachment, so that the payload is the message alone and a foreign program may leave it out.
///
/// On the wire: a `MessagePack` array `[1, from, instance, sequence, at]`, about 35 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The node that sent it.
    pub from: NodeId,
    /// Which instance of that node: Unix microseconds of its joining, as its machine had them. The clock may have been set, so
    /// the newer of two need not have the larger number; see `Succession` in `hana_engine`.
    pub instance: u64,
    /// Place in the sequence of this publisher on this key, from 0.
    pub sequence: u64,
    /// When it was sent: Unix microseconds by the sender's clock.
    pub at: i64,
}

/// Why an attachment is not an envelope.
#[derive(Debug, Error)]
pub enum EnvelopeError {
    /// Not the array that an envelope is.
    #[error("the attachment is not an envelope of hana: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
    /// More bytes than any envelope has; it was not read.
    #[error("the attachment has {bytes} bytes, an envelope has at most {limit}")]
    TooLarge {
        /// Bytes received.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// An envelope of a layout this build does not know.
    #[error(
        "the attachment is an envelope of version {found}, this build knows version {known}; update the older side"
    )]
    Version {
        /// The version it has.
        found: u8,
        /// The version that is known.
        known: u8,
    },
}

#[derive(Serialize, Deserialize)]
struct EnvelopeWire<T>(u8, T, u64, u64, i64);

impl Envelope {
    const VERSION: u8 = 1;
    /// An attachment of more bytes is no envelope, and is not read. The longest has 94.
    pub const MAX_BYTES: usize = 128;

    /// The attachment's bytes.
    ///
    /// # Errors
    ///
    /// Never in practice: every field is a number or a short text.
    pub fn encode(&self) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        rmp_serde::to_vec(&EnvelopeWire(
            Self::VERSION,
            &self.from,
            self.instance,
            self.sequence,
            self.at,
        ))
    }

    /// Reads an attachment.
    ///
    /// # Errors
    ///
    /// When the bytes are no envelope, or one of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(EnvelopeError::TooLarge { bytes: bytes.len(), limit: Self::MAX_BYTES });
        }
        let EnvelopeWire(version, from, instance, sequence, at) =
            rmp_serde::from_slice::<EnvelopeWire<NodeId>>(bytes)?;
        if version != Self::VERSION {
            return Err(EnvelopeError::Version { found: version, known: Self::VERSION });
        }
        Ok(Self { from, instance, sequence, at })
    }

    /// A time of the sender's machine, in Unix milliseconds, as the wall clock here has it; `unix_ms` is that when the message
    /// arrives. The two clocks may be years apart; what is a few seconds off may have been under way.
    #[must_use]
    pub fn to_local_ms(&self, their_ms: u64, unix_ms: u64) -> u64 {
        /// More than messages are under way for.
        const APART_MS: u64 = 10_000;
        let own = i64::try_from(unix_ms).unwrap_or(i64::MAX);
        let behind = own.saturating_sub(self.at.div_euclid(1000));
        if behind.unsigned_abs() < APART_MS {
            return their_ms;
        }
        their_ms.saturating_add_signed(behind).min(unix_ms)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_survives_the_wire_and_stays_small() {
        let envelope = Envelope {
            from: NodeId::new("ripples").unwrap(),
            instance: 1_760_000_000_000_000,
            sequence: 70_000,
            at: 1_760_000_000_000_001,
        };
        let bytes = envelope.encode().unwrap();
        assert!(bytes.len() <= 35, "{}", bytes.len());
        assert_eq!(Envelope::decode(&bytes).unwrap(), envelope);
        let longest = Envelope {
            from: NodeId::new(&"a".repeat(NodeId::MAX_LEN)).unwrap(),
            instance: u64::MAX,
            sequence: u64::MAX,
            at: i64::MIN,
        };
        let bytes = longest.encode().unwrap();
        assert!(bytes.len() <= Envelope::MAX_BYTES, "{}", bytes.len());
        assert_eq!(Envelope::decode(&bytes).unwrap(), longest);
    }

    #[test]
    fn a_time_of_a_machine_years_off_is_told_by_the_own_clock() {
        let year_ms = 365 * 86_400_000_u64;
        let now = 60 * year_ms;
        let of = |their_now: u64| Envelope {
            from: NodeId::new("h1").unwrap(),
            instance: 1,
            sequence: 0,
            at: i64::try_from(their_now * 1000).unwrap(),
        };
        for their_now in [year_ms, now - 11_000, now + 11_000, 80 * year_ms] {
            assert_eq!(of(their_now).to_local_ms(their_now - 5000, now), now - 5000);
        }
        assert_eq!(of(now - 300).to_local_ms(now - 5000, now), now - 5000, "it was under way");
        // What cannot be overflows nothing, and nothing began later than now.
        let odd = Envelope { at: i64::MIN, ..of(0) };
        assert_eq!(odd.to_local_ms(u64::MAX, now), now);
        assert_eq!(Envelope { at: i64::MAX, ..of(0) }.to_local_ms(5, now), 0);
    }

    #[test]
    fn what_is_no_envelope_is_said_to_be_none() {
        assert!(matches!(Envelope::decode(b"hello"), Err(EnvelopeError::Malformed(_))));
        assert!(matches!(Envelope::decode(&[]), Err(EnvelopeError::Malformed(_))));
        assert!(matches!(Envelope::decode(&[0; 200]), Err(EnvelopeError::TooLarge { .. })));
        let of_tomorrow = rmp_serde::to_vec(&EnvelopeWire(9, "a", 0, 0, 0)).unwrap();
        assert!(matches!(
            Envelope::decode(&of_tomorrow),
            Err(EnvelopeError::Version { found: 9, known: 1 })
        ));
    }
}
