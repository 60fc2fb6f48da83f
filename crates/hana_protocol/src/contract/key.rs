use std::fmt;

use crate::contract::key_kind::KeyKind;
use crate::id::node_id::NodeId;
use crate::id::role::Role;
use crate::id::topic_name::TopicName;
use crate::parameter::parameter::ParameterName;
use crate::wire::codec::MAX_KEY_LEN;

/// A parsed key of the mesh. [`Display`](fmt::Display) formats it again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// `hana/<node>/alive/<role>/<zid>`: a liveliness token.
    Alive {
        /// The node.
        node: NodeId,
        /// Its role.
        role: Role,
        /// The Zenoh id of the node's session, which distinguishes the tokens of two nodes with the same id.
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
    /// `hana/<node>/last_sent`
    LastSent(NodeId),
    /// `hana/<node>/retransmit`
    Retransmit(NodeId),
    /// `hana/<viz>/modulation/<param>`
    Modulation {
        /// The visualization that is played.
        node: NodeId,
        /// The parameter.
        parameter: ParameterName,
    },
    /// `hana/<viz>/modulation/_batch`
    ModulationBatch(NodeId),
    /// `hana/<viz>/look`
    Look(NodeId),
    /// `hana/<viz>/owners`
    Owners(NodeId),
    /// `hana/<app>/operator`
    Operator(NodeId),
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
        /// The kind: the message is for all nodes of this kind.
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
    /// `hana/<host>/lost_peers`
    LostPeers(NodeId),
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
    /// Maximum length of a key in characters. A longer key does not belong to the mesh and is not parsed.
    pub const MAX_LEN: usize = MAX_KEY_LEN;

    /// Parses a key; returns `None` if it does not belong to the mesh.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > Self::MAX_LEN {
            return None;
        }
        let mut chunks = text.split('/');
        // Every variable chunk follows the rule of ids, so a key expression with wildcards is not parsed as a key.
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
            ("modulation", [parameter]) if !parameter.starts_with('_') => {
                Self::Modulation { node, parameter: ParameterName::new(parameter).ok()? }
            },
            ("topic", [topic]) => Self::Custom { node, topic: TopicName::new(topic).ok()? },
            ("inbox", [topic]) => Self::Inbox { node, topic: TopicName::new(topic).ok()? },
            ("process", [process]) => {
                Self::Process { host: node, node: NodeId::new(process).ok()? }
            },
            ("log", [process]) => Self::Log { host: node, node: NodeId::new(process).ok()? },
            _ => {
                let suffix = text.splitn(3, '/').nth(2)?;
                return Self::of_node(KeyKind::of_suffix(suffix)?, node);
            },
        })
    }

    /// Returns the key of a kind whose only variable chunk is the node; `None` for any other kind.
    fn of_node(kind: KeyKind, node: NodeId) -> Option<Self> {
        Some(match kind {
            KeyKind::Info => Self::Info(node),
            KeyKind::Health => Self::Health(node),
            KeyKind::Control => Self::Control(node),
            KeyKind::Event => Self::Event(node),
            KeyKind::LastSent => Self::LastSent(node),
            KeyKind::Retransmit => Self::Retransmit(node),
            KeyKind::ModulationBatch => Self::ModulationBatch(node),
            KeyKind::Look => Self::Look(node),
            KeyKind::Owners => Self::Owners(node),
            KeyKind::Operator => Self::Operator(node),
            KeyKind::LostPeers => Self::LostPeers(node),
            KeyKind::Timeline => Self::Timeline(node),
            KeyKind::Clock => Self::Clock(node),
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
            Self::LastSent(_) => KeyKind::LastSent,
            Self::Retransmit(_) => KeyKind::Retransmit,
            Self::Modulation { .. } => KeyKind::Modulation,
            Self::ModulationBatch(_) => KeyKind::ModulationBatch,
            Self::Look(_) => KeyKind::Look,
            Self::Owners(_) => KeyKind::Owners,
            Self::Operator(_) => KeyKind::Operator,
            Self::Custom { .. } => KeyKind::Custom,
            Self::Inbox { .. } => KeyKind::Inbox,
            Self::KindInbox { .. } => KeyKind::KindInbox,
            Self::Process { .. } => KeyKind::Process,
            Self::LostPeers(_) => KeyKind::LostPeers,
            Self::Log { .. } => KeyKind::Log,
            Self::Timeline(_) => KeyKind::Timeline,
            Self::Clock(_) => KeyKind::Clock,
        }
    }

    /// Whether only the node in the second chunk may publish on this key. Any node may publish on the other keys.
    #[must_use]
    pub const fn is_owner_only(&self) -> bool {
        self.kind().is_owner_only()
    }

    /// Returns the node in the second chunk, which owns the key; for [`KindInbox`](Self::KindInbox), the kind.
    #[must_use]
    pub const fn owner(&self) -> &NodeId {
        match self {
            Self::Info(node)
            | Self::Health(node)
            | Self::Control(node)
            | Self::Event(node)
            | Self::LastSent(node)
            | Self::Retransmit(node)
            | Self::ModulationBatch(node)
            | Self::Look(node)
            | Self::Owners(node)
            | Self::Operator(node)
            | Self::LostPeers(node)
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
            Self::Modulation { node, parameter } => {
                write!(f, "{root}/{node}/modulation/{parameter}")
            },
            Self::Custom { node, topic } => write!(f, "{root}/{node}/topic/{topic}"),
            Self::Inbox { node, topic } => write!(f, "{root}/{node}/inbox/{topic}"),
            Self::KindInbox { kind, topic } => write!(f, "{root}/_{kind}/inbox/{topic}"),
            Self::Process { host, node } => write!(f, "{root}/{host}/process/{node}"),
            Self::Log { host, node } => write!(f, "{root}/{host}/log/{node}"),
            _ => write!(f, "{root}/{}/{}", self.owner(), self.kind().suffix()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn key_survives_the_round_trip() {
        for text in [
            "hana/h1/alive/daemon/2f",
            "hana/h1/info",
            "hana/ripples/health",
            "hana/ripples/control",
            "hana/ripples/event",
            "hana/ripples/last_sent",
            "hana/ripples/retransmit",
            "hana/ripples/modulation/zoom",
            "hana/ripples/modulation/_batch",
            "hana/ripples/look",
            "hana/ripples/topic/spark",
            "hana/ripples-2/inbox/spark",
            "hana/_ripples/inbox/spark",
            "hana/h1/process/ripples-2",
            "hana/h1/lost_peers",
            "hana/h1/log/ripples-2",
            "hana/h1/timeline",
            "hana/h1/clock",
        ] {
            assert_eq!(Key::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn foreign_key_is_not_parsed() {
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
