use hana_protocol::wire::Envelope;

/// A message with its key and, if it comes from a hana node, its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<M> {
    /// The key of the message.
    pub key: String,
    /// The sender, its instance, the sequence number and the time of sending; `None` if a foreign program sent the
    /// message.
    pub envelope: Option<Envelope>,
    /// The decoded message.
    pub message: M,
}
