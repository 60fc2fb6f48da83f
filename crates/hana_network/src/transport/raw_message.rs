use hana_protocol::id::NodeId;
use hana_protocol::wire::codec::{Encoding, PayloadError};
use hana_protocol::wire::{Envelope, Message, codec};
use zenoh::bytes::ZBytes;
use zenoh::query::Query;
use zenoh::sample::Sample;

/// An undecoded message, for subscribers to messages of all types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// The key of the message.
    pub key: String,
    /// The sender's envelope; `None` if a foreign program sent the message.
    pub envelope: Option<Envelope>,
    /// The encoding that the sender declared for the payload.
    pub encoding: Encoding,
    /// The payload; empty if it is larger than the size limit of the subscriber.
    pub payload: Vec<u8>,
    /// The size of the payload in bytes, also if it is larger than the limit.
    pub bytes: usize,
}

impl RawMessage {
    /// Converts a Zenoh sample. A payload of more than `limit` bytes is not copied.
    pub(crate) fn from_sample(sample: &Sample, limit: usize) -> Self {
        let envelope = envelope_in(sample.attachment());
        let encoding = sample.encoding().to_string();
        Self::new(sample.key_expr().as_str(), sample.payload(), envelope, &encoding, limit)
    }

    /// Converts a Zenoh query that arrived on `key`. A payload of more than `limit` bytes is not copied.
    pub(crate) fn from_query(query: &Query, key: &str, limit: usize) -> Self {
        let none = ZBytes::new();
        let encoding = query.encoding().map(ToString::to_string).unwrap_or_default();
        let envelope = envelope_in(query.attachment());
        Self::new(key, query.payload().unwrap_or(&none), envelope, &encoding, limit)
    }

    pub(crate) fn new(
        key: &str,
        payload: &ZBytes,
        envelope: Option<Envelope>,
        encoding: &str,
        limit: usize,
    ) -> Self {
        let bytes = payload.len();
        Self {
            key: key.into(),
            envelope,
            encoding: Encoding::from_label(encoding),
            payload: if bytes > limit { vec![] } else { payload.to_bytes().into_owned() },
            bytes,
        }
    }

    /// Returns the sender, if the message has an envelope.
    pub(crate) fn sender(&self) -> Option<&NodeId> {
        self.envelope.as_ref().map(|envelope| &envelope.from)
    }

    /// Decodes the payload as a message of type `M`.
    pub(crate) fn decode<M: Message>(&self) -> Result<M, PayloadError> {
        if self.bytes > M::MAX_BYTES {
            return Err(PayloadError::TooLarge { bytes: self.bytes, limit: M::MAX_BYTES });
        }
        codec::decode(&self.payload, self.encoding)
    }
}

/// Returns the envelope in an attachment, if it contains one. An attachment that is too long is not copied.
pub(crate) fn envelope_in(attachment: Option<&ZBytes>) -> Option<Envelope> {
    let attachment = attachment.filter(|bytes| bytes.len() <= Envelope::MAX_BYTES)?;
    Envelope::decode(&attachment.to_bytes()).ok()
}
