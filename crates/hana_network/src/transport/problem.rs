//! Diagnostics about messages: typed for the program, and formatted as text for the operator.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::message::OwnedByOther;
use hana_protocol::parameter::ParameterError;
use hana_protocol::wire::codec::DecodeError;
use hana_time::sanitize_line;

use crate::change_counter::ChangeCounter;
use crate::custom::custom_subscription::SchemaMismatch;

/// A fault of a received or outgoing message.
///
/// Its only effect is a counter in the node's health. Its text includes the remedy.
#[derive(Debug, Clone, PartialEq)]
pub enum Diagnostic {
    /// A message cannot be decoded.
    DecodeFailed(DecodeError),
    /// A value that the parameter rejects.
    ValueRefused {
        /// The key that the value arrived on.
        key: String,
        /// The sender, if the message names one.
        sender: Option<NodeId>,
        /// The reason for the rejection.
        problem: ParameterError,
    },
    /// Values for a parameter that another controller owns.
    Held {
        /// The key that the values arrived on.
        key: String,
        /// The sender, if the message names one.
        sender: Option<NodeId>,
        /// The owner of the parameter.
        by: OwnedByOther,
        /// The number of values since the last report.
        count: u64,
    },
    /// Values indexed by the parameter list of another instance of this program.
    OtherRun {
        /// The key that the values arrived on.
        key: String,
        /// The sender, if the message names one.
        sender: Option<NodeId>,
        /// The instance whose indices they use.
        of: u64,
        /// The instance that received them.
        run: u64,
    },
    /// A command without a requested reply was refused.
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
    /// A message to a key pattern where a single key is required.
    NoSingleKey {
        /// The key that the message arrived on.
        key: String,
        /// The sender, if the message names one.
        sender: Option<NodeId>,
        /// The entity that the key should name.
        wanted: &'static str,
    },
    /// A sender exceeds its rate.
    TooMany {
        /// The key.
        key: String,
        /// The sender, if the messages name one.
        sender: Option<NodeId>,
        /// The admitted number of messages per second.
        per_second: u32,
        /// The number of messages dropped since the last report.
        count: u64,
    },
    /// A node publishes on a key that another node owns.
    NotOwner {
        /// The key.
        key: String,
        /// The sender, if the messages name one.
        sender: Option<NodeId>,
        /// The owner of the key.
        owner: NodeId,
        /// The number of messages dropped since the last report.
        count: u64,
    },
    /// Two programs publish under one id.
    TwoSenders {
        /// The key.
        key: String,
        /// The id.
        sender: Option<NodeId>,
    },
    /// A sender uses an incompatible schema of a message type; its further messages on that topic are not decoded.
    PeerIncompatible {
        /// The key.
        key: String,
        /// The sender, and where the schemas differ.
        mismatch: SchemaMismatch,
    },
    /// Messages were dropped.
    Dropped {
        /// The key.
        key: String,
        /// The place where they were dropped.
        queue: QueueKind,
        /// The number of messages since the last report.
        count: u64,
    },
    /// Messages of a reliable topic that will never be delivered.
    Lost {
        /// The key.
        key: String,
        /// The sender.
        sender: NodeId,
        /// The first missing sequence number.
        first: u64,
        /// The last missing sequence number.
        last: u64,
    },
    /// A message that the full send queue returned to the program.
    QueueFull {
        /// The key.
        key: String,
        /// The number of messages since the last report.
        count: u64,
    },
    /// Any other fault, as text.
    Other {
        /// The key.
        key: String,
        /// The text.
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
            Self::Outbox => "outbox",
        })
    }
}

impl Diagnostic {
    /// Returns the key that the diagnostic is about.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::DecodeFailed(DecodeError { key, .. })
            | Self::ValueRefused { key, .. }
            | Self::Held { key, .. }
            | Self::OtherRun { key, .. }
            | Self::CommandRefused { key, .. }
            | Self::NoSingleKey { key, .. }
            | Self::TooMany { key, .. }
            | Self::NotOwner { key, .. }
            | Self::TwoSenders { key, .. }
            | Self::PeerIncompatible { key, .. }
            | Self::Dropped { key, .. }
            | Self::Lost { key, .. }
            | Self::QueueFull { key, .. }
            | Self::Other { key, .. } => key,
        }
    }

    /// Returns the sender of the message, if it is known.
    #[must_use]
    pub const fn sender(&self) -> Option<&NodeId> {
        match self {
            Self::DecodeFailed(DecodeError { sender, .. })
            | Self::ValueRefused { sender, .. }
            | Self::Held { sender, .. }
            | Self::OtherRun { sender, .. }
            | Self::CommandRefused { sender, .. }
            | Self::NoSingleKey { sender, .. }
            | Self::TooMany { sender, .. }
            | Self::NotOwner { sender, .. }
            | Self::TwoSenders { sender, .. } => sender.as_ref(),
            Self::PeerIncompatible { mismatch, .. } => Some(&mismatch.sender),
            Self::Lost { sender, .. } => Some(sender),
            Self::Dropped { .. } | Self::QueueFull { .. } | Self::Other { .. } => None,
        }
    }

    /// Returns whether both report the same fault, apart from their counts.
    fn is_like(&self, other: &Self) -> bool {
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
            Self::TooMany { count, .. }
            | Self::Held { count, .. }
            | Self::NotOwner { count, .. }
            | Self::Dropped { count, .. }
            | Self::QueueFull { count, .. } => Some(count),
            _ => None,
        }
    }

    /// Replaces an earlier report of the same fault, and adds its count.
    fn follow(&mut self, mut earlier: Self) {
        if let (Some(count), Some(before)) = (self.count_mut(), earlier.count_mut()) {
            *count = count.saturating_add(*before);
        }
    }
}

/// Returns the sender's name as shown to people.
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
            Self::Held { sender, by, count, .. } => {
                write!(f, "{key}: from {}: {by}; {count} not taken", from(sender.as_ref()))
            },
            Self::OtherRun { sender, of, run, .. } => write!(
                f,
                "{key}: from {}: field 'instance': the indices are those of run {of}, and this is run {run}; ask for its info again",
                from(sender.as_ref())
            ),
            Self::CommandRefused { sender, command, reason, .. } => {
                write!(f, "{key}: {command} from {} is refused: {reason}", from(sender.as_ref()))
            },
            Self::NoSingleKey { sender, wanted, .. } => write!(
                f,
                "{key}: from {}: this names no {wanted}; put to one key, not to a pattern",
                from(sender.as_ref())
            ),
            Self::TooMany { sender, per_second, count, .. } => write!(
                f,
                "{key}: {} sends more than {per_second} messages a second, which is what is taken of one sender on one key; {count} not taken; let it send less often",
                quoted(sender.as_ref())
            ),
            Self::NotOwner { sender, owner, count, .. } => write!(
                f,
                "{key}: {} speaks for '{owner}', who alone speaks on this key; {count} not taken; {}",
                quoted(sender.as_ref()),
                if sender.is_some() {
                    "let that program publish under its own id"
                } else {
                    "only hana's own nodes publish here, and say who they are in the attachment"
                }
            ),
            Self::TwoSenders { sender, .. } => write!(
                f,
                "{key}: two senders call themselves {}; the one that was heard first is believed; is an id given twice (HANA_NODE, HANA_HOST), or does somebody impersonate it?",
                quoted(sender.as_ref())
            ),
            Self::PeerIncompatible { mismatch, .. } => f.write_str(&mismatch.text),
            Self::Dropped { queue: QueueKind::Inbox, count, .. } => write!(
                f,
                "{key}: {count} dropped, the longest waiting: this program reads less than comes; read every frame, or have less sent"
            ),
            Self::Dropped { queue: QueueKind::Network, count, .. } => write!(
                f,
                "{key}: {count} lost on the way: a link was full, or broke; have less sent"
            ),
            Self::Dropped { queue: QueueKind::Outbox, count, .. } => write!(
                f,
                "{key}: {count} not sent, the longest waiting: this program sends faster than the network takes; send less"
            ),
            Self::Lost { sender, first, last, .. } => {
                let which = if first == last {
                    format!("message {first}")
                } else {
                    format!("messages {first} to {last}")
                };
                write!(
                    f,
                    "{key}: {which} of '{sender}' did not arrive and cannot be had any more; it sends faster than the network takes, or was away for too long"
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

/// A bounded queue of the diagnostics that the program has not read yet.
///
/// Repeated reports of one fault are merged and their counts added. Clones share the queue.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    waiting: Arc<Mutex<VecDeque<Diagnostic>>>,
    news: ChangeCounter,
}

impl Diagnostics {
    /// The maximum number of waiting diagnostics, counted by kind, key and sender; beyond it, the one that has waited
    /// longest is dropped.
    pub const MOST: usize = 64;

    /// Creates a queue that notifies `news` of each diagnostic.
    pub(crate) fn new(news: ChangeCounter) -> Self {
        Self { waiting: Arc::default(), news }
    }

    /// Removes and returns the diagnostic that has waited longest, if any. Does not block.
    #[must_use]
    pub fn try_recv(&self) -> Option<Diagnostic> {
        self.waiting().pop_front()
    }

    /// Adds a diagnostic. Does not block.
    ///
    /// For faults that a program detects itself, such as a full queue.
    pub fn tell(&self, mut problem: Diagnostic) {
        let mut waiting = self.waiting();
        self.news.tell();
        if let Some(known) = waiting.iter_mut().find(|known| known.is_like(&problem)) {
            std::mem::swap(known, &mut problem);
            known.follow(problem);
            return;
        }
        if waiting.len() >= Self::MOST {
            waiting.pop_front();
        }
        waiting.push_back(problem);
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Diagnostic>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn the_same_trouble_is_told_once_with_all_that_it_cost() {
        let problems = Diagnostics::default();
        for _ in 0..1000 {
            problems.tell(dropped("a", QueueKind::Inbox, 2));
            problems.tell(dropped("a", QueueKind::Network, 1));
            problems.tell(dropped("b", QueueKind::Inbox, 1));
        }
        assert_eq!(problems.try_recv(), Some(dropped("a", QueueKind::Inbox, 2000)));
        assert_eq!(problems.try_recv(), Some(dropped("a", QueueKind::Network, 1000)));
        assert_eq!(problems.try_recv(), Some(dropped("b", QueueKind::Inbox, 1000)));
        assert_eq!(problems.try_recv(), None);
        problems.tell(dropped("a", QueueKind::Inbox, 1));
        assert_eq!(problems.try_recv(), Some(dropped("a", QueueKind::Inbox, 1)), "it begins anew");
    }

    #[test]
    fn made_up_keys_and_senders_do_not_grow_it() {
        let problems = Diagnostics::default();
        for n in 0..1000 {
            problems.tell(Diagnostic::TwoSenders {
                key: format!("hana/{n}/health"),
                sender: NodeId::new(&format!("n{n}")).ok(),
            });
        }
        assert_eq!(problems.waiting().len(), Diagnostics::MOST);
        let first = problems.try_recv().unwrap();
        assert_eq!(first.key(), "hana/936/health", "the newest are kept");
    }
}
