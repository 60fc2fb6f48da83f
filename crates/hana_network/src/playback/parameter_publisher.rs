use std::sync::Arc;
use std::time::Instant;

use hana_protocol::contract::Key;
use hana_protocol::message::{Look, ParameterOwners};

use crate::context::node_context::NodeContext;
use crate::playback::controller_watch::watch_new_controllers;
use crate::playback::parameter_store::ParameterStore;
use crate::state::state_publisher::StatePublisher;

/// Publishes the look of a visualization and the owners of its parameters after each change.
pub(crate) struct ParameterPublisher {
    parameters: Arc<ParameterStore>,
    look: StatePublisher<Look>,
    owners: StatePublisher<ParameterOwners>,
    /// The version of the look that was last published; `owners_version` is that of the owners.
    look_version: u64,
    owners_version: u64,
}

/// The number of heartbeats between two publications of unchanged owners.
///
/// Without these publications, a controller that missed a change would keep a wrong view of its parameters.
const OWNERS_REPUBLISH_INTERVAL: u32 = 20;

impl ParameterPublisher {
    pub(crate) fn new(context: &NodeContext, parameters: &Arc<ParameterStore>) -> Self {
        let id = &context.identity.id;
        Self {
            parameters: Arc::clone(parameters),
            look: context.state_publisher(&Key::Look(id.clone())),
            owners: context.state_publisher(&Key::Owners(id.clone())),
            look_version: 0,
            owners_version: 0,
        }
    }

    /// Publishes the changes since the last heartbeat, and watches controllers that have begun to play.
    pub(crate) fn on_heartbeat(&mut self, context: &NodeContext, number: u32) {
        self.publish_look();
        watch_new_controllers(context, &self.parameters, Instant::now());
        self.publish_owners(number);
    }

    fn publish_look(&mut self) {
        let version = self.parameters.version();
        if version == self.look_version {
            return;
        }
        match self.look.set(&self.parameters.look()) {
            Ok(_) => self.look_version = version,
            Err(problem) => tracing::warn!("cannot publish the look: {problem}"),
        }
    }

    fn publish_owners(&mut self, number: u32) {
        let Some((version, owners)) = self.parameters.owners_since(self.owners_version) else {
            if number.is_multiple_of(OWNERS_REPUBLISH_INTERVAL) {
                self.owners.republish();
            }
            return;
        };
        match self.owners.set(&owners) {
            Ok(_) => self.owners_version = version,
            Err(problem) => tracing::warn!("cannot publish the parameter owners: {problem}"),
        }
    }
}
