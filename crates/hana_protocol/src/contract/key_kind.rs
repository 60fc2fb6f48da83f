use hana_time::ClockReading;

use crate::message::control::Control;
use crate::message::event::Event;
use crate::message::health::Health;
use crate::message::host_timeline::HostTimeline;
use crate::message::log_line::LogLine;
use crate::message::look::Look;
use crate::message::lost_peers::LostPeers;
use crate::message::modulation::Modulation;
use crate::message::modulation::batch::ModulationBatch;
use crate::message::node_info::NodeInfo;
use crate::message::operator_state::OperatorState;
use crate::message::parameter_owners::ParameterOwners;
use crate::message::process_status::ProcessStatus;
use crate::message::retransmit::{RetransmitRequest, SequenceHeartbeat};
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// A kind of key, with one row in the table of the contract. A test compares the table with `keyexprs.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// See [`Key::Alive`](crate::contract::Key::Alive).
    Alive,
    /// See [`Key::Info`](crate::contract::Key::Info).
    Info,
    /// See [`Key::Health`](crate::contract::Key::Health).
    Health,
    /// See [`Key::Control`](crate::contract::Key::Control).
    Control,
    /// See [`Key::Event`](crate::contract::Key::Event).
    Event,
    /// See [`Key::LastSent`](crate::contract::Key::LastSent).
    LastSent,
    /// See [`Key::Retransmit`](crate::contract::Key::Retransmit).
    Retransmit,
    /// See [`Key::Modulation`](crate::contract::Key::Modulation).
    Modulation,
    /// See [`Key::ModulationBatch`](crate::contract::Key::ModulationBatch).
    ModulationBatch,
    /// See [`Key::Look`](crate::contract::Key::Look).
    Look,
    /// See [`Key::Owners`](crate::contract::Key::Owners).
    Owners,
    /// See [`Key::Operator`](crate::contract::Key::Operator).
    Operator,
    /// See [`Key::Custom`](crate::contract::Key::Custom).
    Custom,
    /// See [`Key::Inbox`](crate::contract::Key::Inbox).
    Inbox,
    /// See [`Key::KindInbox`](crate::contract::Key::KindInbox).
    KindInbox,
    /// See [`Key::Process`](crate::contract::Key::Process).
    Process,
    /// See [`Key::LostPeers`](crate::contract::Key::LostPeers).
    LostPeers,
    /// See [`Key::Log`](crate::contract::Key::Log).
    Log,
    /// See [`Key::Timeline`](crate::contract::Key::Timeline).
    Timeline,
    /// See [`Key::Clock`](crate::contract::Key::Clock).
    Clock,
}

/// The history that a late subscriber can get from a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicHistory {
    /// The current value, in reply to a query.
    State,
    /// None: a subscriber receives only what is published after it subscribed.
    None,
}

/// The nodes that may publish on a key.
#[derive(Clone, Copy)]
enum Publishers {
    /// The node in the second chunk.
    OwnerOnly,
    /// Any node.
    Anyone,
}

/// The row of a kind in the table of the contract.
struct Row {
    pattern: &'static str,
    message: Option<&'static str>,
    lane: Option<Lane>,
    max_per_second: Option<u32>,
    publishers: Publishers,
    history: TopicHistory,
}

impl Row {
    const fn of<M: Message>(
        pattern: &'static str,
        publishers: Publishers,
        history: TopicHistory,
    ) -> Self {
        Self {
            message: Some(M::NAME),
            lane: Some(M::LANE),
            max_per_second: Some(M::MAX_PER_SECOND),
            ..Self::without_message(pattern, publishers, history)
        }
    }

    /// Returns the row of a kind without a message, or with a message that a program defines.
    const fn without_message(
        pattern: &'static str,
        publishers: Publishers,
        history: TopicHistory,
    ) -> Self {
        Self { pattern, message: None, lane: None, max_per_second: None, publishers, history }
    }
}

impl KeyKind {
    /// All kinds, in the order of `keyexprs.md`.
    pub const ALL: [Self; 20] = [
        Self::Alive,
        Self::Info,
        Self::Health,
        Self::Control,
        Self::Event,
        Self::LastSent,
        Self::Retransmit,
        Self::Modulation,
        Self::ModulationBatch,
        Self::Look,
        Self::Owners,
        Self::Operator,
        Self::Custom,
        Self::Inbox,
        Self::KindInbox,
        Self::Process,
        Self::LostPeers,
        Self::Log,
        Self::Timeline,
        Self::Clock,
    ];

    /// The table of the contract, one row per kind.
    const fn row(self) -> Row {
        use Publishers::{Anyone, OwnerOnly};
        use TopicHistory::{None, State};
        match self {
            Self::Alive => Row::without_message("hana/<node>/alive/<role>/<zid>", OwnerOnly, State),
            Self::Info => Row::of::<NodeInfo>("hana/<node>/info", OwnerOnly, State),
            Self::Health => Row::of::<Health>("hana/<node>/health", OwnerOnly, None),
            Self::Control => Row::of::<Control>("hana/<node>/control", Anyone, None),
            Self::Event => Row::of::<Event>("hana/<node>/event", OwnerOnly, None),
            Self::LastSent => {
                Row::of::<SequenceHeartbeat>("hana/<node>/last_sent", OwnerOnly, None)
            },
            Self::Retransmit => {
                Row::of::<RetransmitRequest>("hana/<node>/retransmit", Anyone, None)
            },
            Self::Modulation => {
                Row::of::<Modulation>("hana/<viz>/modulation/<param>", Anyone, None)
            },
            Self::ModulationBatch => {
                Row::of::<ModulationBatch>("hana/<viz>/modulation/_batch", Anyone, None)
            },
            Self::Look => Row::of::<Look>("hana/<viz>/look", OwnerOnly, State),
            Self::Owners => Row::of::<ParameterOwners>("hana/<viz>/owners", OwnerOnly, State),
            Self::Operator => Row::of::<OperatorState>("hana/<app>/operator", OwnerOnly, State),
            Self::Custom => Row::without_message("hana/<viz>/topic/<name>", Anyone, None),
            Self::Inbox => Row::without_message("hana/<node>/inbox/<name>", Anyone, None),
            Self::KindInbox => Row::without_message("hana/_<kind>/inbox/<name>", Anyone, None),
            Self::Process => {
                Row::of::<ProcessStatus>("hana/<host>/process/<viz>", OwnerOnly, State)
            },
            Self::LostPeers => Row::of::<LostPeers>("hana/<host>/lost_peers", OwnerOnly, State),
            Self::Log => Row::of::<LogLine>("hana/<host>/log/<viz>", OwnerOnly, None),
            Self::Timeline => Row::of::<HostTimeline>("hana/<host>/timeline", OwnerOnly, State),
            Self::Clock => Row::of::<ClockReading>("hana/<host>/clock", OwnerOnly, None),
        }
    }

    /// Returns the key as a pattern with the variable chunks in angle brackets.
    #[must_use]
    pub const fn pattern(self) -> &'static str {
        self.row().pattern
    }

    /// Returns the part of the pattern after the node: `info`, `modulation/_batch`.
    pub(crate) const fn suffix(self) -> &'static str {
        SUFFIXES[self as usize]
    }

    /// Returns the kind with this suffix, if the suffix has no variable chunk.
    pub(crate) fn of_suffix(suffix: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.suffix() == suffix)
    }

    /// Returns the name of the key's message type, if this crate defines it; `None` if it does not, or the key has no
    /// message.
    #[must_use]
    pub const fn message(self) -> Option<&'static str> {
        self.row().message
    }

    /// Returns the lane; `None` if the key carries no message, or if the message type chooses the lane.
    #[must_use]
    pub const fn lane(self) -> Option<Lane> {
        self.row().lane
    }

    /// Returns the maximum rate per sender and key; `None` if the key carries no message, or if the message type
    /// chooses the rate.
    #[must_use]
    pub const fn max_per_second(self) -> Option<u32> {
        self.row().max_per_second
    }

    /// Whether only the node in the second chunk may publish on this key, about itself or its host.
    ///
    /// Any node may publish on the other keys: commands, played values, retransmit requests and custom messages.
    #[must_use]
    pub const fn is_owner_only(self) -> bool {
        matches!(self.row().publishers, Publishers::OwnerOnly)
    }

    /// Returns the history that a late subscriber can get.
    #[must_use]
    pub const fn history(self) -> TopicHistory {
        self.row().history
    }
}

/// The part of each pattern after the node, in the order of [`KeyKind::ALL`].
const SUFFIXES: [&str; KeyKind::ALL.len()] = {
    let mut suffixes = [""; KeyKind::ALL.len()];
    let mut kind = 0;
    while kind < suffixes.len() {
        suffixes[kind] = after_second_slash(KeyKind::ALL[kind].pattern());
        kind += 1;
    }
    suffixes
};

const fn after_second_slash(pattern: &'static str) -> &'static str {
    let mut slashes = 0;
    let mut at = 0;
    while slashes < 2 {
        if pattern.as_bytes()[at] == b'/' {
            slashes += 1;
        }
        at += 1;
    }
    pattern.split_at(at).1
}
