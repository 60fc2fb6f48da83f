use std::sync::{Arc, Mutex, PoisonError};

use bevy_ecs::prelude::*;
use hana_network::{Cancelled, ChangeCounter, Pending, SendError};
use hana_protocol::id::{NodeId, TopicName};

use crate::change_signal::ChangeSignal;

/// A custom message that was sent to one node was answered, or will not be.
#[derive(Event, Debug, Clone)]
pub struct MessageDelivered {
    /// The node that it was sent to.
    pub node: NodeId,
    /// Its topic.
    pub topic: TopicName,
    /// `Ok` if it was accepted, else the reason.
    pub outcome: Result<(), SendError>,
}

/// Sent custom messages that wait for their replies.
#[derive(Resource, Clone)]
pub(crate) struct PendingSends {
    all: Arc<Mutex<Vec<DirectSend>>>,
    change_signal: ChangeCounter,
}

impl FromWorld for PendingSends {
    fn from_world(world: &mut World) -> Self {
        Self { all: Arc::default(), change_signal: ChangeSignal::of(world) }
    }
}

struct DirectSend {
    node: NodeId,
    topic: TopicName,
    outcome: Box<dyn Fn() -> Option<Result<(), SendError>> + Send + Sync>,
}

impl PendingSends {
    /// Waits for a reply; without a query, the program is not on the mesh yet.
    pub(crate) fn add<T: Send + 'static>(
        &self,
        node: &NodeId,
        topic: TopicName,
        reply: Option<Pending<Result<T, SendError>>>,
    ) {
        let not_sent = |problem: String| Some(Err(SendError::NotSent { problem }));
        let direct_send = DirectSend {
            node: node.clone(),
            topic,
            outcome: Box::new(move || {
                let Some(reply) = &reply else {
                    return not_sent("this program is not on the mesh yet".into());
                };
                match reply.try_recv() {
                    Some(outcome) => Some(outcome.map(|_| ())),
                    None if reply.is_cancelled() => not_sent(Cancelled.to_string()),
                    None => None,
                }
            }),
        };
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(direct_send);
        self.change_signal.increment();
    }

    /// Reports the messages that were answered, or will not be. Returns whether others still wait.
    pub(crate) fn report(&self, commands: &mut Commands) -> bool {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|direct_send| {
            let Some(outcome) = (direct_send.outcome)() else { return true };
            let DirectSend { node, topic, .. } = direct_send;
            if let Err(problem) = &outcome {
                tracing::warn!("{topic}: {problem}");
            }
            commands.trigger(MessageDelivered {
                node: node.clone(),
                topic: topic.clone(),
                outcome,
            });
            false
        });
        !all.is_empty()
    }
}
