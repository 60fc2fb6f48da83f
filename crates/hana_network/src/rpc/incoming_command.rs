use std::fmt;

use hana_protocol::id::NodeId;
use hana_protocol::message::{CommandReply, Control, Refused};
use hana_protocol::wire::codec::Encoding;
use hana_protocol::wire::{Message, codec};
use serde::Serialize;
use zenoh::Wait;
use zenoh::query::Query;

use crate::session::session_worker::SessionWorker;
use crate::transport::diagnostic::Diagnostic;
use crate::transport::inbound::inbound_stats::InboundStats;

/// A received command that may expect a reply. Dropping it without a reply refuses the command.
pub struct Request {
    control: Control,
    from: Option<NodeId>,
    key: String,
    /// The query of the command; `None` after the reply, and for a command sent as a put, which expects no reply.
    query: Option<Query>,
    is_answered: bool,
    worker: SessionWorker,
    inbound: InboundStats,
    /// The encoded envelope of the reply: the id and instance of this node.
    reply_attachment: Vec<u8>,
}

impl Request {
    pub(crate) const fn new(
        control: Control,
        from: Option<NodeId>,
        key: String,
        query: Option<Query>,
        worker: SessionWorker,
        inbound: InboundStats,
        reply_attachment: Vec<u8>,
    ) -> Self {
        Self { control, from, key, query, is_answered: false, worker, inbound, reply_attachment }
    }

    /// Returns the command.
    #[must_use]
    pub const fn control(&self) -> &Control {
        &self.control
    }

    /// Returns the sender, if the command has an envelope.
    #[must_use]
    pub const fn from(&self) -> Option<&NodeId> {
        self.from.as_ref()
    }

    /// Replies that the command was carried out. Does not block.
    pub fn accept<Reply: Serialize>(mut self, reply: Reply) {
        self.reply(CommandReply::Accepted(reply));
    }

    /// Replies that the command was not carried out, with the reason. Does not block.
    pub fn refuse(mut self, reason: impl Into<String>) {
        self.refuse_with(reason.into());
    }

    fn refuse_with(&mut self, reason: String) {
        if self.query.is_none() {
            // The sender does not wait for a reply, so the refusal is reported as an event and in the log.
            let problem = Diagnostic::CommandRefused {
                key: self.key.clone(),
                sender: self.from.clone(),
                command: self.control.name(),
                reason: reason.clone(),
            };
            self.inbound.report_malformed(Control::LANE, problem);
        }
        self.reply(CommandReply::<()>::Refused(Refused { reason }));
    }

    fn reply<Reply: Serialize>(&mut self, answer: CommandReply<Reply>) {
        self.is_answered = true;
        let Some(query) = self.query.take() else { return };
        let payload = match codec::encode(&answer) {
            Ok(payload) => payload,
            Err(problem) => {
                tracing::error!("{}: cannot encode the reply: {problem}", self.key);
                return;
            },
        };
        let (key, reply_attachment) =
            (self.key.clone(), std::mem::take(&mut self.reply_attachment));
        self.worker.spawn_reply(query, move |_, query| {
            let reply = query.reply(key, payload).encoding(Encoding::MESSAGE_PACK);
            if let Err(problem) = reply.attachment(reply_attachment).wait() {
                tracing::warn!("cannot reply to a command: {problem}");
            }
        });
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.is_answered {
            self.refuse_with("the program did not handle it".into());
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("control", &self.control)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}
