use std::fmt;
use std::marker::PhantomData;

use crate::contract::key::Key;
use crate::id::node_id::NodeId;
use crate::id::topic_name::TopicName;
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
use crate::message::retransmit::SequenceHeartbeat;
use crate::parameter::parameter::ParameterName;
use crate::wire::message::CustomMessage;

/// One key together with the type of the message that it carries.
pub struct Topic<M> {
    key: Key,
    message: PhantomData<fn() -> M>,
}

/// A set of keys, possibly with wildcards, that all carry the same message type.
pub struct Topics<M> {
    pattern: String,
    message: PhantomData<fn() -> M>,
}

impl<M> Topic<M> {
    const fn at(key: Key) -> Self {
        Self { key, message: PhantomData }
    }

    /// Returns the key.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }
}

impl<M> Topics<M> {
    fn matching(pattern: impl Into<String>) -> Self {
        Self { pattern: pattern.into(), message: PhantomData }
    }

    /// Returns the key expression.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }
}

impl<M> Clone for Topic<M> {
    fn clone(&self) -> Self {
        Self::at(self.key.clone())
    }
}
impl<M> Clone for Topics<M> {
    fn clone(&self) -> Self {
        Self::matching(self.pattern.clone())
    }
}
impl<M> fmt::Debug for Topic<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({})", self.key)
    }
}
impl<M> fmt::Debug for Topics<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topics({})", self.pattern)
    }
}
impl<M> From<Topic<M>> for Topics<M> {
    fn from(topic: Topic<M>) -> Self {
        Self::matching(topic.key.to_string())
    }
}

impl Topic<NodeInfo> {
    /// Identity and capabilities of `node`.
    #[must_use]
    pub const fn info(node: NodeId) -> Self {
        Self::at(Key::Info(node))
    }
}
impl Topics<NodeInfo> {
    /// Identity and capabilities of every node.
    #[must_use]
    pub fn every_info() -> Self {
        Self::matching("hana/*/info")
    }
}

impl Topic<Health> {
    /// Health of `node`.
    #[must_use]
    pub const fn health(node: NodeId) -> Self {
        Self::at(Key::Health(node))
    }
}
impl Topics<Health> {
    /// Health of every node.
    #[must_use]
    pub fn every_health() -> Self {
        Self::matching("hana/*/health")
    }
}

impl Topic<Control> {
    /// Commands to `node`.
    #[must_use]
    pub const fn control(node: NodeId) -> Self {
        Self::at(Key::Control(node))
    }
}

impl Topic<Event> {
    /// Events that `node` reports.
    #[must_use]
    pub const fn event(node: NodeId) -> Self {
        Self::at(Key::Event(node))
    }
}
impl Topics<Event> {
    /// Events that any node reports.
    #[must_use]
    pub fn every_event() -> Self {
        Self::matching("hana/*/event")
    }
}

impl Topics<SequenceHeartbeat> {
    /// The newest sequence numbers of every node on reliable topics.
    #[must_use]
    pub fn every_last_sent() -> Self {
        Self::matching("hana/*/last_sent")
    }
}

impl Topic<Modulation> {
    /// Values of one parameter of `node`.
    #[must_use]
    pub const fn modulation(node: NodeId, parameter: ParameterName) -> Self {
        Self::at(Key::Modulation { node, parameter })
    }
}
impl Topics<Modulation> {
    /// Values of every parameter of `node`.
    #[must_use]
    pub fn modulation_of(node: &NodeId) -> Self {
        Self::matching(format!("{}/{node}/modulation/*", Key::ROOT))
    }
}

impl Topic<ModulationBatch> {
    /// Values of many parameters of `node` in one message.
    #[must_use]
    pub const fn modulation_batch(node: NodeId) -> Self {
        Self::at(Key::ModulationBatch(node))
    }
}

impl Topic<Look> {
    /// All current values of `node`.
    #[must_use]
    pub const fn look(node: NodeId) -> Self {
        Self::at(Key::Look(node))
    }
}
impl Topics<Look> {
    /// All current values of every visualization.
    #[must_use]
    pub fn every_look() -> Self {
        Self::matching("hana/*/look")
    }
}

impl Topic<ParameterOwners> {
    /// Owners of the parameters of `node`.
    #[must_use]
    pub const fn owners(node: NodeId) -> Self {
        Self::at(Key::Owners(node))
    }
}
impl Topics<ParameterOwners> {
    /// Owners of the parameters of every visualization.
    #[must_use]
    pub fn every_owners() -> Self {
        Self::matching("hana/*/owners")
    }
}

impl Topic<OperatorState> {
    /// Operator state of `app`.
    #[must_use]
    pub const fn operator(app: NodeId) -> Self {
        Self::at(Key::Operator(app))
    }
}
impl Topics<OperatorState> {
    /// Operator state of every app and bridge.
    #[must_use]
    pub fn every_operator() -> Self {
        Self::matching("hana/*/operator")
    }
}

impl Topic<ProcessStatus> {
    /// State of the process `node`, published by the daemon of `host`.
    #[must_use]
    pub const fn process(host: NodeId, node: NodeId) -> Self {
        Self::at(Key::Process { host, node })
    }
}
impl Topics<ProcessStatus> {
    /// State of every process, published by every daemon.
    #[must_use]
    pub fn every_process() -> Self {
        Self::matching("hana/*/process/*")
    }
}

impl Topics<ProcessStatus> {
    /// State of the process `node`, published by any daemon.
    #[must_use]
    pub fn process_of(node: &NodeId) -> Self {
        Self::matching(format!("{}/*/process/{node}", Key::ROOT))
    }
}

impl Topic<LostPeers> {
    /// Hosts and visualizations that the daemon of `host` has lost.
    #[must_use]
    pub const fn lost_peers(host: NodeId) -> Self {
        Self::at(Key::LostPeers(host))
    }
}

impl Topic<HostTimeline> {
    /// The timeline of `host`.
    #[must_use]
    pub const fn timeline(host: NodeId) -> Self {
        Self::at(Key::Timeline(host))
    }
}
impl Topics<HostTimeline> {
    /// The timeline of every host.
    #[must_use]
    pub fn every_timeline() -> Self {
        Self::matching("hana/*/timeline")
    }
}

impl Topic<LogLine> {
    /// The output of `node` on `host`.
    #[must_use]
    pub const fn log(host: NodeId, node: NodeId) -> Self {
        Self::at(Key::Log { host, node })
    }
}
impl Topics<LogLine> {
    /// The output of `node`, wherever it runs.
    #[must_use]
    pub fn log_of(node: &NodeId) -> Self {
        Self::matching(format!("{}/*/log/{node}", Key::ROOT))
    }
}

impl<M: CustomMessage> Topic<M> {
    /// The custom topic of this message type at `node`.
    #[must_use]
    pub fn custom(node: NodeId) -> Self {
        Self::at(Key::Custom { node, topic: TopicName::of::<M>() })
    }

    /// Messages of this type to `node`.
    #[must_use]
    pub fn to_node(node: NodeId) -> Self {
        Self::at(Key::Inbox { node, topic: TopicName::of::<M>() })
    }

    /// Messages of this type to all nodes of `kind`.
    #[must_use]
    pub fn to_kind(kind: NodeId) -> Self {
        Self::at(Key::KindInbox { kind, topic: TopicName::of::<M>() })
    }
}
impl<M: CustomMessage> Topics<M> {
    /// The custom topic of this message type at every visualization.
    #[must_use]
    pub fn every_custom() -> Self {
        Self::matching(format!("{}/*/topic/{}", Key::ROOT, M::TOPIC))
    }
}
