//! Diagnostics about messages: an enum for the program, and formatted text for the operator.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::sync::lock::{Mutex, MutexGuard};
use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::message::OwnedByOther;
use hana_protocol::parameter::ParameterError;
use hana_protocol::wire::codec::DecodeError;
use hana_time::sanitize_line;

use crate::sync::change_counter::ChangeCounter;
use crate::transport::schema_mismatch::SchemaMismatch;

/// A fault of a received or outgoing message.
///
/// Besides its report, a fault only increments a counter in the node's health. The text of a diagnostic includes the
/// remedy.
#[derive(Debug, Clone, PartialEq)]
pub enum Diagnostic {
    /// A message cannot be decoded.
    DecodeFailed(DecodeError),
    /// A parameter rejected a value.
    ValueRefused {
        /// The key that the value arrived on.
        key: String,
        /// The sender, if the message names one.
        sender: Option<NodeId>,
        /// The reason for the rejection.
        problem: ParameterError,
    },
    /// Values were received for a parameter that another controller owns.
    OwnedByOther {
        /// The key that the values arrived on.
        key: String,
        /// The sender, if the message names one.
        sender: Option<NodeId>,
        /// The owner of the parameter.
        by: OwnedByOther,
        /// The number of values dropped since the last report.
        count: u64,
    },
    /// Values were received whose indices refer to the parameter list of another instance of this program.
    StaleInstance {
        /// The key that the values arrived on.
        key: String,
        /// The sender, if the message names one.
        sender: Option<NodeId>,
        /// The instance to whose parameter list the indices refer.
        of: u64,
        /// The instance that received the values.
        run: u64,
    },
    /// A command was refused, and its sender did not request a reply.
    CommandRefused {
        /// The key that the command arrived on.
        key: String,
        /// The sender, if the message names one.
        sender: Option<NodeId>,
        /// The name of the command.
        command: &'static str,
        /// The reason for the refusal.
        reason: String,
    },
    /// A message was sent to a key pattern where a single key is required.
    WildcardKey {
        /// The key that the message arrived on.
        key: String,
        /// The sender, if the message names one.
        sender: Option<NodeId>,
        /// The kind of entity that the key must name.
        wanted: &'static str,
    },
    /// A sender exceeds its permitted rate.
    RateLimited {
        /// The key of the messages.
        key: String,
        /// The sender, if the messages name one.
        sender: Option<NodeId>,
        /// The permitted number of messages per second.
        per_second: u32,
        /// The number of messages dropped since the last report.
        count: u64,
    },
    /// A node publishes on a key that another node owns.
    NotOwner {
        /// The key of the messages.
        key: String,
        /// The sender, if the messages name one.
        sender: Option<NodeId>,
        /// The owner of the key.
        owner: NodeId,
        /// The number of messages dropped since the last report.
        count: u64,
    },
    /// Two programs publish under one id.
    DuplicateSender {
        /// The key of the messages.
        key: String,
        /// The shared id, if the messages name one.
        sender: Option<NodeId>,
    },
    /// A sender uses an incompatible schema of a message type. Its further messages on that topic are not decoded.
    PeerIncompatible {
        /// The key of the message.
        key: String,
        /// The sender, and the differences between the schemas.
        mismatch: SchemaMismatch,
    },
    /// Messages were dropped.
    Dropped {
        /// The key of the messages.
        key: String,
        /// The place where the messages were dropped.
        queue: QueueKind,
        /// The number of messages dropped since the last report.
        count: u64,
    },
    /// Messages of a reliable topic are lost for good.
    Lost {
        /// The key of the messages.
        key: String,
        /// The sender of the messages.
        sender: NodeId,
        /// The first missing sequence number.
        first: u64,
        /// The last missing sequence number.
        last: u64,
    },
    /// The send queue was full, so messages were returned to the program.
    QueueFull {
        /// The key of the messages.
        key: String,
        /// The number of returned messages since the last report.
        count: u64,
    },
    /// Any other fault, as text.
    Other {
        /// The key that the fault concerns.
        key: String,
        /// The description of the fault.
        text: String,
    },
}

/// The place where messages are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueKind {
    /// The receive queue: the program reads more slowly than messages arrive.
    Inbox,
    /// The path from the sender: a link was full or broken.
    Network,
    /// The send queue: the program publishes faster than the network accepts.
    Outbox,
}

impl fmt::Display for QueueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Inbox => "inbox",
            Self::Network => "network",
            Self::Outbox => "sender",
        })
    }
}

impl Diagnostic {
    /// Returns the key that the diagnostic concerns.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::DecodeFailed(DecodeError { key, .. })
            | Self::ValueRefused { key, .. }
            | Self::OwnedByOther { key, .. }
            | Self::StaleInstance { key, .. }
            | Self::CommandRefused { key, .. }
            | Self::WildcardKey { key, .. }
            | Self::RateLimited { key, .. }
            | Self::NotOwner { key, .. }
            | Self::DuplicateSender { key, .. }
            | Self::PeerIncompatible { key, .. }
            | Self::Dropped { key, .. }
            | Self::Lost { key, .. }
            | Self::QueueFull { key, .. }
            | Self::Other { key, .. } => key,
        }
    }

    /// Returns the sender of the message, if the message names one.
    #[must_use]
    pub const fn sender(&self) -> Option<&NodeId> {
        match self {
            Self::DecodeFailed(DecodeError { sender, .. })
            | Self::ValueRefused { sender, .. }
            | Self::OwnedByOther { sender, .. }
            | Self::StaleInstance { sender, .. }
            | Self::CommandRefused { sender, .. }
            | Self::WildcardKey { sender, .. }
            | Self::RateLimited { sender, .. }
            | Self::NotOwner { sender, .. }
            | Self::DuplicateSender { sender, .. } => sender.as_ref(),
            Self::PeerIncompatible { mismatch, .. } => Some(&mismatch.sender),
            Self::Lost { sender, .. } => Some(sender),
            Self::Dropped { .. } | Self::QueueFull { .. } | Self::Other { .. } => None,
        }
    }

    /// Returns whether both diagnostics report the same fault; their counts may differ.
    fn same_kind_as(&self, other: &Self) -> bool {
        let is_same_place = match (self, other) {
            (Self::Dropped { queue, .. }, Self::Dropped { queue: of_other, .. }) => {
                queue == of_other
            },
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        };
        is_same_place && self.key() == other.key() && self.sender() == other.sender()
    }

    const fn count_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::RateLimited { count, .. }
            | Self::OwnedByOther { count, .. }
            | Self::NotOwner { count, .. }
            | Self::Dropped { count, .. }
            | Self::QueueFull { count, .. } => Some(count),
            _ => None,
        }
    }

    /// Merges an earlier report of the same fault into this one by adding its count.
    fn absorb(&mut self, mut earlier: Self) {
        if let (Some(count), Some(before)) = (self.count_mut(), earlier.count_mut()) {
            *count = count.saturating_add(*before);
        }
    }
}

/// Returns the name of the sender for an error text.
fn from(sender: Option<&NodeId>) -> &str {
    sender.map_or("an unnamed sender", NodeId::as_str)
}

fn quoted(sender: Option<&NodeId>) -> String {
    sender.map_or_else(|| "an unnamed sender".into(), |sender| format!("'{sender}'"))
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = sanitize_line(self.key(), Key::MAX_LEN);
        match self {
            Self::DecodeFailed(error) => error.fmt(f),
            Self::ValueRefused { sender, problem, .. } => {
                write!(f, "{key}: from {}: {problem}", from(sender.as_ref()))
            },
            Self::OwnedByOther { sender, by, count, .. } => {
                write!(f, "{key}: from {}: {by}; {count} dropped", from(sender.as_ref()))
            },
            Self::StaleInstance { sender, of, run, .. } => write!(
                f,
                "{key}: from {}: field 'instance': the indices refer to instance {of}, but this is instance {run}; query the info again",
                from(sender.as_ref())
            ),
            Self::CommandRefused { sender, command, reason, .. } => {
                write!(f, "{key}: refused {command} from {}: {reason}", from(sender.as_ref()))
            },
            Self::WildcardKey { sender, wanted, .. } => write!(
                f,
                "{key}: from {}: does not name a {wanted}; put to one key, not to a pattern",
                from(sender.as_ref())
            ),
            Self::RateLimited { sender, per_second, count, .. } => write!(
                f,
                "{key}: {} sends more than {per_second} messages per second, the limit for one sender on one key; {count} dropped; reduce its rate",
                quoted(sender.as_ref())
            ),
            Self::NotOwner { sender, owner, count, .. } => write!(
                f,
                "{key}: {} publishes on a key that only '{owner}' may publish on; {count} dropped; {}",
                quoted(sender.as_ref()),
                if sender.is_some() {
                    "publish under its own id"
                } else {
                    "only hana nodes publish here, with their id in the attachment"
                }
            ),
            Self::DuplicateSender { sender, .. } => write!(
                f,
                "{key}: two senders use the id {}; only messages of the first are accepted; check whether the id is set twice (HANA_NODE, HANA_HOST) or impersonated",
                quoted(sender.as_ref())
            ),
            Self::PeerIncompatible { mismatch, .. } => f.write_str(&mismatch.text),
            Self::Dropped { queue: QueueKind::Inbox, count, .. } => write!(
                f,
                "{key}: {count} dropped, oldest first: this program reads too slowly; read every frame, or reduce the rate"
            ),
            Self::Dropped { queue: QueueKind::Network, count, .. } => write!(
                f,
                "{key}: {count} lost in the network: a link was full or broken; reduce the rate"
            ),
            Self::Dropped { queue: QueueKind::Outbox, count, .. } => write!(
                f,
                "{key}: {count} not sent, oldest first: this program sends faster than the network accepts; send less"
            ),
            Self::Lost { sender, first, last, .. } => {
                let which = if first == last {
                    format!("message {first}")
                } else {
                    format!("messages {first} to {last}")
                };
                write!(
                    f,
                    "{key}: {which} of '{sender}' did not arrive and cannot be retransmitted any more; it sends faster than the network accepts, or was disconnected for too long"
                )
            },
            Self::QueueFull { count, .. } => write!(
                f,
                "{key}: the queue is full, {count} not sent; send less, or use an unreliable lane"
            ),
            Self::Other { text, .. } => f.write_str(text),
        }
    }
}

/// A bounded queue of the diagnostics that the program has not yet read.
///
/// Repeated reports of one fault are merged, and their counts are added. Clones share the queue.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    waiting: Arc<Mutex<VecDeque<Diagnostic>>>,
    change_counter: ChangeCounter,
}

impl Diagnostics {
    /// The maximum number of waiting diagnostics. When it is exceeded, the oldest is dropped.
    ///
    /// Diagnostics of the same kind, key and sender count as one.
    pub const MOST: usize = 64;

    /// Creates a queue that increments `change_counter` for each diagnostic.
    pub(crate) fn new(change_counter: ChangeCounter) -> Self {
        Self { waiting: Arc::default(), change_counter }
    }

    /// Removes and returns the oldest diagnostic, if any. Does not block.
    #[must_use]
    pub fn try_recv(&self) -> Option<Diagnostic> {
        self.waiting().pop_front()
    }

    /// Adds a diagnostic. Does not block.
    ///
    /// Programs call this for faults that they detect themselves, such as a full queue.
    pub fn report(&self, mut problem: Diagnostic) {
        let mut waiting = self.waiting();
        self.change_counter.increment();
        if let Some(known) = waiting.iter_mut().find(|known| known.same_kind_as(&problem)) {
            std::mem::swap(known, &mut problem);
            known.absorb(problem);
            return;
        }
        if waiting.len() >= Self::MOST {
            waiting.pop_front();
        }
        waiting.push_back(problem);
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Diagnostic>> {
        self.waiting.lock()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn dropped(key: &str, queue: QueueKind, count: u64) -> Diagnostic {
        Diagnostic::Dropped { key: key.into(), queue, count }
    }

    #[test]
    fn same_fault_is_merged_with_its_counts() {
        let problems = Diagnostics::default();
        for _ in 0..1000 {
            problems.report(dropped("a", QueueKind::Inbox, 2));
            problems.report(dropped("a", QueueKind::Network, 1));
            problems.report(dropped("b", QueueKind::Inbox, 1));
        }
        assert_eq!(problems.try_recv(), Some(dropped("a", QueueKind::Inbox, 2000)));
        assert_eq!(problems.try_recv(), Some(dropped("a", QueueKind::Network, 1000)));
        assert_eq!(problems.try_recv(), Some(dropped("b", QueueKind::Inbox, 1000)));
        assert_eq!(problems.try_recv(), None);
        problems.report(dropped("a", QueueKind::Inbox, 1));
        assert_eq!(problems.try_recv(), Some(dropped("a", QueueKind::Inbox, 1)), "it begins anew");
    }

    #[test]
    fn forged_keys_and_senders_take_bounded_memory() {
        let problems = Diagnostics::default();
        for n in 0..1000 {
            problems.report(Diagnostic::DuplicateSender {
                key: format!("hana/{n}/health"),
                sender: NodeId::new(&format!("n{n}")).ok(),
            });
        }
        assert_eq!(problems.waiting().len(), Diagnostics::MOST);
        let first = problems.try_recv().unwrap();
        assert_eq!(first.key(), "hana/936/health", "the newest are kept");
    }
}
