use std::sync::Arc;
use std::time::{Duration, Instant};

use hana_engine::delivery::{Succession, Turn};
use hana_engine::playout::{PathEvent, PathSelector};
use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::{ModulationBatch, NodeInfo};
use hana_protocol::wire::{Message, error_chain};
use zenoh::sample::Locality;

use crate::context::node_context::NodeContext;
use crate::control::dial_permit::DialPermit;
use crate::control::direct_link::{DirectLink, DirectLinkError};
use crate::session::session_worker::RegistrationGuard;
use crate::sync::pending::Pending;
use crate::transport::inbound::subscription::Subscription;
use crate::transport::outbound::send_queue::OutgoingTopic;
use crate::transport::received::Received;

/// Manages the path of a play session and its direct link.
pub(super) struct LinkManager {
    pub(super) selector: PathSelector,
    pub(super) info: Option<NodeInfo>,
    /// The current instance and the earlier ones.
    pub(super) instances: Option<Succession>,
    pub(super) published: Subscription<Received<NodeInfo>>,
    pub(super) info_query: Option<Pending<Vec<Received<NodeInfo>>>>,
    /// The time of the next info query while the info is unknown.
    pub(super) query_at: Option<Instant>,
    pub(super) link: Option<OpenLink>,
    pub(super) opening: Option<Pending<Result<DirectLink, DirectLinkError>>>,
    pub(super) dial: DialState,
    pub(super) opened: Option<DirectLink>,
    pub(super) mesh_topic: Arc<OutgoingTopic>,
    /// The reason why there is no link, so that each reason is logged once.
    pub(super) reported: Option<String>,
}

pub(super) struct OpenLink {
    pub(super) link: Arc<DirectLink>,
    pub(super) topic: Arc<OutgoingTopic>,
    pub(super) _on_close: RegistrationGuard,
}

/// The progress of opening a link. A node limits the number of links that it opens at once.
pub(super) enum DialState {
    /// No link is wanted.
    Idle,
    /// A link will be opened when a permit is free.
    Waiting,
    /// A link is being opened.
    Dialing(#[expect(dead_code, reason = "dropping it frees the permit")] DialPermit),
}

/// The time limit of an info query, and the interval between two queries.
pub(super) const INFO_TIMEOUT: Duration = Duration::from_secs(1);

impl LinkManager {
    pub(super) fn new(context: &NodeContext, node: &NodeId, now: Instant) -> Self {
        let key = Key::ModulationBatch(node.clone());
        Self {
            selector: PathSelector::new(now),
            info: None,
            instances: None,
            published: context.subscribe(&Key::Info(node.clone()).to_string()),
            info_query: None,
            query_at: Some(now),
            link: None,
            opening: None,
            dial: DialState::Idle,
            opened: None,
            mesh_topic: context.outgoing_topic(&key, ModulationBatch::LANE, Locality::Any),
            reported: None,
        }
    }

    /// Selects the info of the instance to play from all infos found.
    ///
    /// Of two instances, this is the one that was unknown before, even if its number is smaller. Published info takes
    /// precedence over replies, and replies over info from the program, which may be outdated.
    pub(super) fn instance_of(
        &mut self,
        given: Option<NodeInfo>,
        mut replies: Vec<NodeInfo>,
        published: Vec<NodeInfo>,
        now: Instant,
    ) -> Option<NodeInfo> {
        let instances = &mut self.instances;
        let has_returned = |info: &NodeInfo| {
            let turn = instances.as_ref().map(|known| known.judge(info.instance, u64::MAX, now));
            matches!(turn, Some(Turn::Returned { .. }))
        };
        let given = given.filter(|info| !has_returned(info));
        // If the current instance still replies, replies of another node with the same id are ignored.
        let known = self.info.as_ref().map(|info| info.instance);
        if replies.iter().any(|info| Some(info.instance) == known) {
            replies.retain(|info| Some(info.instance) == known);
        }
        let mut selected = None;
        for info in given.into_iter().chain(replies).chain(published) {
            let first = || Succession::new(info.instance, now);
            if info.role == Role::Visualization
                && instances.get_or_insert_with(first).admit(info.instance, now)
            {
                selected = Some(info);
            }
        }
        selected
    }

    pub(super) fn query_info(&mut self, context: &NodeContext, node: &NodeId) {
        let key = Key::Info(node.clone()).to_string();
        self.info_query = Some(context.query(key, INFO_TIMEOUT));
    }

    /// Handles the outcome of opening a link.
    pub(super) fn on_opened(
        &mut self,
        node: &NodeId,
        opened: Result<DirectLink, DirectLinkError>,
    ) -> PathEvent {
        match opened {
            // The link leads to an instance that has been replaced.
            Ok(link) if self.info.as_ref().is_none_or(|info| info.instance != link.instance()) => {
                PathEvent::NotOpened
            },
            Ok(link) => {
                self.opened = Some(link);
                self.reported = None;
                PathEvent::Opened
            },
            Err(problem) => {
                let problem = error_chain(&problem);
                if self.reported.as_ref() != Some(&problem) {
                    tracing::warn!("'{node}' is played over the mesh: {problem}");
                    self.reported = Some(problem);
                }
                PathEvent::NotOpened
            },
        }
    }
}
