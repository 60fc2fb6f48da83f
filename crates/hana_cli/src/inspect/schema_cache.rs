use std::collections::HashMap;
use std::time::{Duration, Instant};

use hana_network::Node;
use hana_protocol::contract::{Key, Topics};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::NodeInfo;
use hana_protocol::wire::Envelope;

use crate::mesh;

/// The announced custom message types of nodes, queried when needed and then cached.
///
/// A command that watches messages does not define these types itself.
pub(crate) struct SchemaCache<'a> {
    node: &'a Node<role::App>,
    known: HashMap<NodeId, Known>,
    all_nodes: Option<(Instant, Vec<NodeInfo>)>,
}

struct Known {
    queried: Instant,
    /// The announcement; `None` if the name is not that of a node, or the node does not reply.
    info: Option<NodeInfo>,
}

/// A custom message type as announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeName {
    pub(crate) name: String,
    pub(crate) version: u32,
}

/// How long an announcement, or its absence, is cached while no message shows that it is out of date.
const CACHE_TIME: Duration = Duration::from_secs(2);
/// Maximum number of cached nodes: names in envelopes may be forged.
const MAX_NODES: usize = 1024;

impl<'a> SchemaCache<'a> {
    pub(crate) fn new(node: &'a Node<role::App>) -> Self {
        Self { node, known: HashMap::new(), all_nodes: None }
    }

    /// Returns the type of a message on a custom topic, as its sender announces it, or else as a recipient announces
    /// it.
    ///
    /// Queries an unknown type, and waits a moment for the reply.
    pub(crate) fn type_of(&mut self, key: &Key, envelope: Option<&Envelope>) -> Option<TypeName> {
        let (owner, topic, is_kind) = match key {
            Key::Custom { node, topic } | Key::Inbox { node, topic } => (node, topic, false),
            Key::KindInbox { kind, topic } => (kind, topic, true),
            _ => return None,
        };
        let type_in = |info: &NodeInfo| {
            info.message_on(topic.as_str())
                .map(|known| TypeName { name: known.name.clone(), version: known.version })
        };
        let by_sender = envelope
            .and_then(|envelope| type_in(self.info_of(&envelope.from, Some(envelope.instance))?));
        by_sender.or_else(|| {
            if is_kind {
                self.all_nodes().iter().filter(|info| info.kind() == owner).find_map(type_in)
            } else {
                type_in(self.info_of(owner, None)?)
            }
        })
    }

    fn info_of(&mut self, node: &NodeId, instance: Option<u64>) -> Option<&NodeInfo> {
        let is_known = self.known.get(node).is_some_and(|known| match (&known.info, instance) {
            (Some(info), Some(instance)) if info.instance == instance => true,
            _ => known.queried.elapsed() < CACHE_TIME,
        });
        if !is_known {
            if self.known.len() >= MAX_NODES {
                self.known.clear();
            }
            let info = mesh::info_of(self.node, node).unwrap_or_default();
            self.known.insert(node.clone(), Known { queried: Instant::now(), info });
        }
        self.known.get(node)?.info.as_ref()
    }

    fn all_nodes(&mut self) -> &[NodeInfo] {
        let is_known =
            self.all_nodes.as_ref().is_some_and(|(queried, _)| queried.elapsed() < CACHE_TIME);
        if !is_known {
            let every_info = Topics::<NodeInfo>::every_info();
            let found = mesh::query_all(self.node, &every_info, |_| true).unwrap_or_default();
            let infos = found.into_iter().map(|received| received.message).collect();
            self.all_nodes = Some((Instant::now(), infos));
        }
        self.all_nodes.as_ref().map(|(_, infos)| infos.as_slice()).unwrap_or_default()
    }
}
