//! What goes wrong with messages, told to the program as what it is, and to people in words made of that.

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

/// Something that is wrong with a message that came, or is to go. Nothing has changed by it but a counter of the
/// node's health. Its text says what to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Diagnostic {
    /// A message cannot be read.
    DecodeFailed(DecodeError),
    /// A value that a parameter does not take.
    ValueRefused {
        /// The key it came on.
        key: String,
        /// Who sent it, if it said so.
        sender: Option<NodeId>,
        /// What is wrong with the value.
        problem: ParameterError,
    },
    /// Values for a parameter that somebody else holds.
    Held {
        /// The key they came on.
        key: String,
        /// Who sent them, if it said so.
        sender: Option<NodeId>,
        /// Who holds it.
        by: OwnedByOther,
        /// How many, since this was told last.
        count: u64,
    },
    /// Values by their places in what another run of this program announced.
    OtherRun {
        /// The key they came on.
        key: String,
        /// Who sent them, if it said so.
        sender: Option<NodeId>,
        /// The run whose places they have.
        of: u64,
        /// The run that they came to.
        run: u64,
    },
    /// A command that nobody asked an answer to was not carried out.
    CommandRefused {
        /// The key it came on.
        key: String,
        /// Who gave it, if it said so.
        sender: Option<NodeId>,
        /// Its name.
        command: &'static str,
        /// Why.
        reason: String,
    },
    /// A message to a pattern of keys where one key is meant.
    NoSingleKey {
        /// The key it came on.
        key: String,
        /// Who sent it, if it said so.
        sender: Option<NodeId>,
        /// What the key should name.
        wanted: &'static str,
    },
    /// One sender sends more than is taken of it.
    TooMany {
        /// The key.
        key: String,
        /// Who sends, if it says so.
        sender: Option<NodeId>,
        /// Messages a second that are taken.
        per_second: u32,
        /// Messages that were not, since this was told last.
        count: u64,
    },
    /// Somebody speaks where only another one does.
    NotOwner {
        /// The key.
        key: String,
        /// Who sends, if it says so.
        sender: Option<NodeId>,
        /// Who alone speaks there.
        owner: NodeId,
        /// Messages that were not taken, since this was told last.
        count: u64,
    },
    /// Two programs send under one name.
    TwoSenders {
        /// The key.
        key: String,
        /// The name.
        sender: Option<NodeId>,
    },
    /// A sender has another shape of a message type; nothing more of it is read on that topic.
    PeerIncompatible {
        /// The key.
        key: String,
        /// Who, and where the shapes differ.
        mismatch: SchemaMismatch,
    },
    /// Messages were dropped.
    Dropped {
        /// The key.
        key: String,
        /// Where.
        queue: QueueKind,
        /// How many, since this was told last.
        count: u64,
    },
    /// Messages of a reliable topic will not be delivered.
    Lost {
        /// The key.
        key: String,
        /// Who sent them.
        sender: NodeId,
        /// The number of the first.
        first: u64,
        /// The number of the last.
        last: u64,
    },
    /// A message was given back to the program that wanted to send it.
    QueueFull {
        /// The key.
        key: String,
        /// How many, since this was told last.
        count: u64,
    },
    /// Anything else, in words.
    Other {
        /// The key.
        key: String,
        /// The words.
        text: String,
    },
}

/// Where messages are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueKind {
    /// The queue of what has come: the program reads less than is sent to it.
    Inbox,
    /// On the way from the sender: a link was full, or broke.
    Network,
    /// The queue of what is to be sent: the program sends faster than the network takes.
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
    /// The key it is about.
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

    /// Who sent what it is about, if that is known.
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

    /// Whether two are the same trouble, told twice.
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

    /// Takes the place of the same trouble, told earlier.
    fn follow(&mut self, mut earlier: Self) {
        if let (Some(count), Some(before)) = (self.count_mut(), earlier.count_mut()) {
            *count = count.saturating_add(*before);
        }
    }
}

/// A name for people.
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

/// What went wrong with messages since the program looked last: bounded, and the same trouble told twice is one,
/// whose counts are added up. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    waiting: Arc<Mutex<VecDeque<Diagnostic>>>,
    news: ChangeCounter,
}

impl Diagnostics {
    /// Troubles of different kinds, keys and senders that wait; of more, the one that has waited longest goes.
    pub const MOST: usize = 64;

    /// Tells `news` of each.
    pub(crate) fn new(news: ChangeCounter) -> Self {
        Self { waiting: Arc::default(), news }
    }

    /// Takes the one that has waited longest, if any. Does not block.
    #[must_use]
    pub fn try_recv(&self) -> Option<Diagnostic> {
        self.waiting().pop_front()
    }

    /// Adds one. Does not block. For what a program finds out itself, such as a full queue.
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
