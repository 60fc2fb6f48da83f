use serde::Deserialize;
use serde::Serialize;
use thiserror::Error;

use crate::NodeId;

/// Who sent a message, which instance of it, its place in the sequence, and when. Travels in the
/// attachment, so that the payload is the message alone and a foreign program may leave it out.
///
/// On the wire: a `MessagePack` array `[1, from, instance, sequence, at]`, about 35 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The node that sent it.
    pub from: NodeId,
    /// Which run of that node: Unix microseconds of its joining. A newer run has a larger one.
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
struct Wire<T>(u8, T, u64, u64, i64);

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
        rmp_serde::to_vec(&Wire(Self::VERSION, &self.from, self.instance, self.sequence, self.at))
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
        let Wire(version, from, instance, sequence, at) =
            rmp_serde::from_slice::<Wire<NodeId>>(bytes)?;
        if version != Self::VERSION {
            return Err(EnvelopeError::Version { found: version, known: Self::VERSION });
        }
        Ok(Self { from, instance, sequence, at })
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
    fn what_is_no_envelope_is_said_to_be_none() {
        assert!(matches!(Envelope::decode(b"hello"), Err(EnvelopeError::Malformed(_))));
        assert!(matches!(Envelope::decode(&[]), Err(EnvelopeError::Malformed(_))));
        assert!(matches!(Envelope::decode(&[0; 200]), Err(EnvelopeError::TooLarge { .. })));
        let of_tomorrow = rmp_serde::to_vec(&Wire(9, "a", 0, 0, 0)).unwrap();
        assert!(matches!(
            Envelope::decode(&of_tomorrow),
            Err(EnvelopeError::Version { found: 9, known: 1 })
        ));
    }
}
