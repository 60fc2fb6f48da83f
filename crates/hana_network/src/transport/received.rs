use hana_protocol::wire::Envelope;

/// A message with its key and, if it comes from a hana node, its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received<M> {
    /// The key.
    pub key: String,
    /// The sender, its instance, the sequence number and the time of sending; `None` from a foreign program.
    pub envelope: Option<Envelope>,
    /// The message.
    pub message: M,
}
