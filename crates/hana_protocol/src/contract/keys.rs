use std::fmt;

use crate::id::node_id::NodeId;
use crate::id::role::Role;
use crate::id::topic_name::TopicName;
use crate::parameter::parameter::ParameterName;
use crate::wire::lane::Lane;

/// A parsed key of the mesh. [`Display`](fmt::Display) formats it again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// `hana/<node>/alive/<role>/<zid>`: a liveliness token.
    Alive {
        /// The node.
        node: NodeId,
        /// Its role.
        role: Role,
        /// The Zenoh id of its session, which keeps the tokens of two nodes with the same id apart.
        zid: String,
    },
    /// `hana/<node>/info`
    Info(NodeId),
    /// `hana/<node>/health`
    Health(NodeId),
    /// `hana/<node>/control`
    Control(NodeId),
    /// `hana/<node>/event`
    Event(NodeId),
    /// `hana/<node>/sent`
    Sent(NodeId),
    /// `hana/<node>/resend`
    Resend(NodeId),
    /// `hana/<viz>/modulation/<param>`
    Modulation {
        /// The visualization that is played.
        node: NodeId,
        /// The parameter.
        parameter: ParameterName,
    },
    /// `hana/<viz>/modulation/_frame`
    ModulationFrame(NodeId),
    /// `hana/<viz>/look`
    Look(NodeId),
    /// `hana/<viz>/holders`
    Holders(NodeId),
    /// `hana/<app>/session`
    Session(NodeId),
    /// `hana/<viz>/topic/<name>`
    Custom {
        /// The visualization that publishes the topic.
        node: NodeId,
        /// The topic's name.
        topic: TopicName,
    },
    /// `hana/<node>/inbox/<name>`
    Inbox {
        /// The recipient.
        node: NodeId,
        /// The topic's name.
        topic: TopicName,
    },
    /// `hana/_<kind>/inbox/<name>`
    KindInbox {
        /// The kind; the message is for all nodes of it.
        kind: NodeId,
        /// The topic's name.
        topic: TopicName,
    },
    /// `hana/<host>/process/<viz>`
    Process {
        /// The host, whose daemon publishes the state.
        host: NodeId,
        /// The process.
        node: NodeId,
    },
    /// `hana/<host>/lost`
    Lost(NodeId),
    /// `hana/<host>/log/<viz>`
    Log {
        /// The host, whose daemon publishes the output.
        host: NodeId,
        /// The process.
        node: NodeId,
    },
    /// `hana/<host>/timeline`
    Timeline(NodeId),
    /// `hana/<host>/clock`
    Clock(NodeId),
}

impl Key {
    /// The first chunk of every key.
    pub const ROOT: &'static str = "hana";
    /// The chunk that replaces the parameter's name when one message carries many parameters.
    const FRAME: &str = "_frame";
    /// Maximum length of a key in characters. A longer key is not one of the mesh's and is not parsed.
    pub const MAX_LEN: usize = 160;

    /// Parses a key; `None` if it is not one of the mesh's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > Self::MAX_LEN {
            return None;
        }
        let mut chunks = text.split('/');
        // Every variable chunk follows the rule of ids, so a key expression with wildcards is not a key either.
        let is_chunk = |text: &str| NodeId::new(text).is_ok();
        if chunks.next()? != Self::ROOT {
            return None;
        }
        let owner = chunks.next()?;
        let what = chunks.next()?;
        let rest: Vec<&str> = chunks.collect();
        if let Some(kind) = owner.strip_prefix('_') {
            let ("inbox", [topic]) = (what, rest.as_slice()) else { return None };
            let (kind, topic) = (NodeId::new(kind).ok()?, TopicName::new(topic).ok()?);
            return Some(Self::KindInbox { kind, topic });
        }
        let node = NodeId::new(owner).ok()?;
        Some(match (what, rest.as_slice()) {
            ("alive", [role, zid]) if is_chunk(zid) => {
                Self::Alive { node, role: role.parse().ok()?, zid: (*zid).into() }
            },
            ("info", []) => Self::Info(node),
            ("health", []) => Self::Health(node),
            ("control", []) => Self::Control(node),
            ("event", []) => Self::Event(node),
            ("sent", []) => Self::Sent(node),
            ("resend", []) => Self::Resend(node),
            ("modulation", [Self::FRAME]) => Self::ModulationFrame(node),
            ("modulation", [parameter]) => {
                Self::Modulation { node, parameter: ParameterName::new(parameter).ok()? }
            },
            ("look", []) => Self::Look(node),
            ("holders", []) => Self::Holders(node),
            ("session", []) => Self::Session(node),
            ("topic", [topic]) => Self::Custom { node, topic: TopicName::new(topic).ok()? },
            ("inbox", [topic]) => Self::Inbox { node, topic: TopicName::new(topic).ok()? },
            ("process", [process]) => {
                Self::Process { host: node, node: NodeId::new(process).ok()? }
            },
            ("lost", []) => Self::Lost(node),
            ("log", [process]) => Self::Log { host: node, node: NodeId::new(process).ok()? },
            ("timeline", []) => Self::Timeline(node),
            ("clock", []) => Self::Clock(node),
            _ => return None,
        })
    }

    /// Returns the kind of the key.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        match self {
            Self::Alive { .. } => KeyKind::Alive,
            Self::Info(_) => KeyKind::Info,
            Self::Health(_) => KeyKind::Health,
            Self::Control(_) => KeyKind::Control,
            Self::Event(_) => KeyKind::Event,
            Self::Sent(_) => KeyKind::Sent,
            Self::Resend(_) => KeyKind::Resend,
            Self::Modulation { .. } => KeyKind::Modulation,
            Self::ModulationFrame(_) => KeyKind::ModulationFrame,
            Self::Look(_) => KeyKind::Look,
            Self::Holders(_) => KeyKind::Holders,
            Self::Session(_) => KeyKind::Session,
            Self::Custom { .. } => KeyKind::Custom,
            Self::Inbox { .. } => KeyKind::Inbox,
            Self::KindInbox { .. } => KeyKind::KindInbox,
            Self::Process { .. } => KeyKind::Process,
            Self::Lost(_) => KeyKind::Lost,
            Self::Log { .. } => KeyKind::Log,
            Self::Timeline(_) => KeyKind::Timeline,
            Self::Clock(_) => KeyKind::Clock,
        }
    }

    /// Whether only the node in the second chunk publishes on this key. Controllers may command and play any node.
    #[must_use]
    pub const fn is_spoken_by_owner_alone(&self) -> bool {
        self.kind().is_spoken_by_owner_alone()
    }

    /// Returns the node in the second chunk, which owns the key. For [`KindInbox`](Self::KindInbox) it is the kind.
    #[must_use]
    pub const fn owner(&self) -> &NodeId {
        match self {
            Self::Info(node)
            | Self::Health(node)
            | Self::Control(node)
            | Self::Event(node)
            | Self::Sent(node)
            | Self::Resend(node)
            | Self::ModulationFrame(node)
            | Self::Look(node)
            | Self::Holders(node)
            | Self::Session(node)
            | Self::Lost(node)
            | Self::Timeline(node)
            | Self::Clock(node)
            | Self::Alive { node, .. }
            | Self::Modulation { node, .. }
            | Self::Custom { node, .. }
            | Self::Inbox { node, .. } => node,
            Self::Process { host, .. } | Self::Log { host, .. } => host,
            Self::KindInbox { kind, .. } => kind,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = Self::ROOT;
        match self {
            Self::Alive { node, role, zid } => write!(f, "{root}/{node}/alive/{role}/{zid}"),
            Self::Info(node) => write!(f, "{root}/{node}/info"),
            Self::Health(node) => write!(f, "{root}/{node}/health"),
            Self::Control(node) => write!(f, "{root}/{node}/control"),
            Self::Event(node) => write!(f, "{root}/{node}/event"),
            Self::Sent(node) => write!(f, "{root}/{node}/sent"),
            Self::Resend(node) => write!(f, "{root}/{node}/resend"),
            Self::Modulation { node, parameter } => {
                write!(f, "{root}/{node}/modulation/{parameter}")
            },
            Self::ModulationFrame(node) => write!(f, "{root}/{node}/modulation/{}", Self::FRAME),
            Self::Look(node) => write!(f, "{root}/{node}/look"),
            Self::Holders(node) => write!(f, "{root}/{node}/holders"),
            Self::Session(node) => write!(f, "{root}/{node}/session"),
            Self::Custom { node, topic } => write!(f, "{root}/{node}/topic/{topic}"),
            Self::Inbox { node, topic } => write!(f, "{root}/{node}/inbox/{topic}"),
            Self::KindInbox { kind, topic } => write!(f, "{root}/_{kind}/inbox/{topic}"),
            Self::Process { host, node } => write!(f, "{root}/{host}/process/{node}"),
            Self::Lost(host) => write!(f, "{root}/{host}/lost"),
            Self::Log { host, node } => write!(f, "{root}/{host}/log/{node}"),
            Self::Timeline(host) => write!(f, "{root}/{host}/timeline"),
            Self::Clock(host) => write!(f, "{root}/{host}/clock"),
        }
    }
}

/// A row of the contract: the purpose of one kind of key. A test keeps it equal to `keyexprs.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// See [`Key::Alive`].
    Alive,
    /// See [`Key::Info`].
    Info,
    /// See [`Key::Health`].
    Health,
    /// See [`Key::Control`].
    Control,
    /// See [`Key::Event`].
    Event,
    /// See [`Key::Sent`].
    Sent,
    /// See [`Key::Resend`].
    Resend,
    /// See [`Key::Modulation`].
    Modulation,
    /// See [`Key::ModulationFrame`].
    ModulationFrame,
    /// See [`Key::Look`].
    Look,
    /// See [`Key::Holders`].
    Holders,
    /// See [`Key::Session`].
    Session,
    /// See [`Key::Custom`].
    Custom,
    /// See [`Key::Inbox`].
    Inbox,
    /// See [`Key::KindInbox`].
    KindInbox,
    /// See [`Key::Process`].
    Process,
    /// See [`Key::Lost`].
    Lost,
    /// See [`Key::Log`].
    Log,
    /// See [`Key::Timeline`].
    Timeline,
    /// See [`Key::Clock`].
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

impl KeyKind {
    /// All kinds, in the order of `keyexprs.md`.
    pub const ALL: [Self; 20] = [
        Self::Alive,
        Self::Info,
        Self::Health,
        Self::Control,
        Self::Event,
        Self::Sent,
        Self::Resend,
        Self::Modulation,
        Self::ModulationFrame,
        Self::Look,
        Self::Holders,
        Self::Session,
        Self::Custom,
        Self::Inbox,
        Self::KindInbox,
        Self::Process,
        Self::Lost,
        Self::Log,
        Self::Timeline,
        Self::Clock,
    ];

    /// Returns the key as a pattern with the variable chunks in angle brackets.
    #[must_use]
    pub const fn pattern(self) -> &'static str {
        match self {
            Self::Alive => "hana/<node>/alive/<role>/<zid>",
            Self::Info => "hana/<node>/info",
            Self::Health => "hana/<node>/health",
            Self::Control => "hana/<node>/control",
            Self::Event => "hana/<node>/event",
            Self::Sent => "hana/<node>/sent",
            Self::Resend => "hana/<node>/resend",
            Self::Modulation => "hana/<viz>/modulation/<param>",
            Self::ModulationFrame => "hana/<viz>/modulation/_frame",
            Self::Look => "hana/<viz>/look",
            Self::Holders => "hana/<viz>/holders",
            Self::Session => "hana/<app>/session",
            Self::Custom => "hana/<viz>/topic/<name>",
            Self::Inbox => "hana/<node>/inbox/<name>",
            Self::KindInbox => "hana/_<kind>/inbox/<name>",
            Self::Process => "hana/<host>/process/<viz>",
            Self::Lost => "hana/<host>/lost",
            Self::Log => "hana/<host>/log/<viz>",
            Self::Timeline => "hana/<host>/timeline",
            Self::Clock => "hana/<host>/clock",
        }
    }

    /// Returns the name of the key's message type, if it has one and this crate defines it.
    #[must_use]
    pub const fn message(self) -> Option<&'static str> {
        use crate::wire::message::Message;
        Some(match self {
            Self::Alive | Self::Custom | Self::Inbox | Self::KindInbox => return None,
            Self::Info => crate::message::node_info::NodeInfo::NAME,
            Self::Health => crate::message::health::Health::NAME,
            Self::Control => crate::message::control::Control::NAME,
            Self::Event => crate::message::event::Event::NAME,
            Self::Sent => crate::message::retransmit::SequenceHeartbeat::NAME,
            Self::Resend => crate::message::retransmit::RetransmitRequest::NAME,
            Self::Modulation => crate::message::modulation::Modulation::NAME,
            Self::ModulationFrame => crate::message::modulation_batch::ModulationBatch::NAME,
            Self::Look => crate::message::look::Look::NAME,
            Self::Holders => crate::message::parameter_owners::ParameterOwners::NAME,
            Self::Session => crate::message::operator_state::OperatorState::NAME,
            Self::Process => crate::message::process_status::ProcessStatus::NAME,
            Self::Lost => crate::message::lost_peers::LostPeers::NAME,
            Self::Log => crate::message::log_line::LogLine::NAME,
            Self::Timeline => crate::message::host_timeline::HostTimeline::NAME,
            Self::Clock => hana_time::ClockReading::NAME,
        })
    }

    /// Returns the lane; `None` if the key carries no message, or if the message type chooses the lane.
    #[must_use]
    pub const fn lane(self) -> Option<Lane> {
        use crate::wire::message::Message;
        Some(match self {
            Self::Alive | Self::Custom | Self::Inbox | Self::KindInbox => return None,
            Self::Info => crate::message::node_info::NodeInfo::LANE,
            Self::Health => crate::message::health::Health::LANE,
            Self::Control => crate::message::control::Control::LANE,
            Self::Event => crate::message::event::Event::LANE,
            Self::Sent => crate::message::retransmit::SequenceHeartbeat::LANE,
            Self::Resend => crate::message::retransmit::RetransmitRequest::LANE,
            Self::Modulation => crate::message::modulation::Modulation::LANE,
            Self::ModulationFrame => crate::message::modulation_batch::ModulationBatch::LANE,
            Self::Look => crate::message::look::Look::LANE,
            Self::Holders => crate::message::parameter_owners::ParameterOwners::LANE,
            Self::Session => crate::message::operator_state::OperatorState::LANE,
            Self::Process => crate::message::process_status::ProcessStatus::LANE,
            Self::Lost => crate::message::lost_peers::LostPeers::LANE,
            Self::Log => crate::message::log_line::LogLine::LANE,
            Self::Timeline => crate::message::host_timeline::HostTimeline::LANE,
            Self::Clock => hana_time::ClockReading::LANE,
        })
    }

    /// Returns the maximum rate per sender and key; `None` if the key carries no message, or if the message type
    /// chooses the rate.
    #[must_use]
    pub const fn max_per_second(self) -> Option<u32> {
        use crate::wire::message::Message;
        Some(match self {
            Self::Alive | Self::Custom | Self::Inbox | Self::KindInbox => return None,
            Self::Info => crate::message::node_info::NodeInfo::MAX_PER_SECOND,
            Self::Health => crate::message::health::Health::MAX_PER_SECOND,
            Self::Control => crate::message::control::Control::MAX_PER_SECOND,
            Self::Event => crate::message::event::Event::MAX_PER_SECOND,
            Self::Sent => crate::message::retransmit::SequenceHeartbeat::MAX_PER_SECOND,
            Self::Resend => crate::message::retransmit::RetransmitRequest::MAX_PER_SECOND,
            Self::Modulation => crate::message::modulation::Modulation::MAX_PER_SECOND,
            Self::ModulationFrame => {
                crate::message::modulation_batch::ModulationBatch::MAX_PER_SECOND
            },
            Self::Look => crate::message::look::Look::MAX_PER_SECOND,
            Self::Holders => crate::message::parameter_owners::ParameterOwners::MAX_PER_SECOND,
            Self::Session => crate::message::operator_state::OperatorState::MAX_PER_SECOND,
            Self::Process => crate::message::process_status::ProcessStatus::MAX_PER_SECOND,
            Self::Lost => crate::message::lost_peers::LostPeers::MAX_PER_SECOND,
            Self::Log => crate::message::log_line::LogLine::MAX_PER_SECOND,
            Self::Timeline => crate::message::host_timeline::HostTimeline::MAX_PER_SECOND,
            Self::Clock => hana_time::ClockReading::MAX_PER_SECOND,
        })
    }

    /// Whether only the node in the second chunk publishes on this key, about itself or its host.
    ///
    /// Other nodes may command it, play it, and publish on custom topics.
    #[must_use]
    pub const fn is_spoken_by_owner_alone(self) -> bool {
        match self {
            Self::Alive
            | Self::Info
            | Self::Health
            | Self::Event
            | Self::Sent
            | Self::Look
            | Self::Holders
            | Self::Session
            | Self::Process
            | Self::Lost
            | Self::Log
            | Self::Timeline
            | Self::Clock => true,
            Self::Control
            | Self::Resend
            | Self::Modulation
            | Self::ModulationFrame
            | Self::Custom
            | Self::Inbox
            | Self::KindInbox => false,
        }
    }

    /// Returns the history that a late subscriber can get.
    #[must_use]
    pub const fn history(self) -> TopicHistory {
        match self {
            Self::Alive
            | Self::Info
            | Self::Look
            | Self::Holders
            | Self::Session
            | Self::Process
            | Self::Lost
            | Self::Timeline => TopicHistory::State,
            Self::Health
            | Self::Control
            | Self::Event
            | Self::Sent
            | Self::Resend
            | Self::Modulation
            | Self::ModulationFrame
            | Self::Custom
            | Self::Inbox
            | Self::KindInbox
            | Self::Log
            | Self::Clock => TopicHistory::None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_taken_apart_and_put_together_is_the_same() {
        for text in [
            "hana/h1/alive/daemon/2f",
            "hana/h1/info",
            "hana/ripples/health",
            "hana/ripples/control",
            "hana/ripples/event",
            "hana/ripples/sent",
            "hana/ripples/resend",
            "hana/ripples/modulation/zoom",
            "hana/ripples/modulation/_frame",
            "hana/ripples/look",
            "hana/ripples/topic/spark",
            "hana/ripples-2/inbox/spark",
            "hana/_ripples/inbox/spark",
            "hana/h1/process/ripples-2",
            "hana/h1/lost",
            "hana/h1/log/ripples-2",
            "hana/h1/timeline",
            "hana/h1/clock",
        ] {
            assert_eq!(Key::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_foreign_key_is_none_of_ours() {
        for text in [
            "",
            "hana",
            "hana/h1",
            "other/h1/info",
            "hana/H1/info",
            "hana/h1/info/more",
            "hana/h1/alive/king/2f",
            "hana/v/modulation/_other",
            "hana/v/topic/",
            "hana/v/topic/*",
            "hana/_v/topic/spark",
            "hana/_/inbox/spark",
            "hana/__v/inbox/spark",
            "hana/h1/alive/app/",
            &format!("hana/v/topic/{}", "a".repeat(64)),
        ] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_kind_has_a_pattern_that_parses_as_that_kind() {
        for kind in KeyKind::ALL {
            let example = kind.pattern().replace("<role>", "app").replace(['<', '>'], "");
            assert_eq!(Key::parse(&example).unwrap().kind(), kind);
        }
    }
}
