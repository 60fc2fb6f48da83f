use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::node_id::NodeId;

/// The sender of a message, its instance, the sequence number and the time of sending.
///
/// The envelope travels in the attachment, so the payload is only the message, and a foreign program may omit the
/// envelope. On the wire, it is a `MessagePack` array `[1, from, instance, sequence, at]` of about 35 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The sender.
    pub from: NodeId,
    /// The sender's instance: the time it joined, in Unix microseconds by its own clock.
    ///
    /// The clock may be set between two instances, so the newer instance need not have the larger number; see
    /// `Succession` in `hana_engine`.
    pub instance: u64,
    /// The message's number in this publisher's sequence on this key, from 0.
    pub sequence: u64,
    /// The time of sending: Unix microseconds by the sender's clock.
    pub at: i64,
}

/// The reason why an attachment cannot be decoded as an envelope.
#[derive(Debug, Error)]
pub enum EnvelopeError {
    /// The attachment is not the expected array.
    #[error("the attachment is not an envelope of hana: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
    /// The attachment exceeds [`Envelope::MAX_BYTES`] and was not decoded.
    #[error("the attachment has {bytes} bytes, an envelope has at most {limit}")]
    TooLarge {
        /// Bytes received.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The envelope has a version that this build does not know.
    #[error(
        "the attachment is an envelope of version {found}, this build knows version {known}; update the older side"
    )]
    Version {
        /// The envelope's version.
        found: u8,
        /// The version that this build knows.
        known: u8,
    },
}

#[derive(Serialize, Deserialize)]
struct EnvelopeWire<T>(u8, T, u64, u64, i64);

impl Envelope {
    const VERSION: u8 = 1;
    /// Maximum size of an attachment; a longer attachment is rejected without being decoded. The longest envelope has
    /// 94 bytes.
    pub const MAX_BYTES: usize = 128;

    /// Encodes the envelope as an attachment.
    ///
    /// # Errors
    ///
    /// Never in practice: every field is a number or a short string.
    pub fn encode(&self) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        rmp_serde::to_vec(&EnvelopeWire(
            Self::VERSION,
            &self.from,
            self.instance,
            self.sequence,
            self.at,
        ))
    }

    /// Decodes an attachment.
    ///
    /// # Errors
    ///
    /// When the bytes are too long, are not an envelope, or have another version.
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

    /// Converts a time of the sender's clock to the local wall clock; both are Unix milliseconds.
    ///
    /// `unix_ms` is the local time at which the message arrives. The two clocks may be years apart; a difference of a
    /// few seconds is attributed to transit, and the time is returned unchanged.
    #[must_use]
    pub fn to_local_ms(&self, their_ms: u64, unix_ms: u64) -> u64 {
        /// An upper bound for the transit time of a message.
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
    fn envelope_survives_the_wire_and_stays_small() {
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
    fn time_of_a_host_years_off_is_read_by_the_own_clock() {
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
        // Extreme values do not overflow, and no converted time lies in the future.
        let odd = Envelope { at: i64::MIN, ..of(0) };
        assert_eq!(odd.to_local_ms(u64::MAX, now), now);
        assert_eq!(Envelope { at: i64::MAX, ..of(0) }.to_local_ms(5, now), 0);
    }

    #[test]
    fn malformed_attachment_is_no_envelope() {
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
