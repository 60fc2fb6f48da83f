use std::sync::{Arc, Mutex, PoisonError};

use bevy_ecs::prelude::*;
use hana_network::{Cancelled, ChangeCounter, Pending, SendError};
use hana_protocol::id::{NodeId, TopicName};

use crate::change_signal::ChangeSignal;

/// A custom message to one node has received its reply, or can no longer receive one.
#[derive(Event, Debug, Clone)]
pub struct MessageDelivered {
    /// The node to which the message was sent.
    pub node: NodeId,
    /// The topic of the message.
    pub topic: TopicName,
    /// `Ok` if the message was accepted, else the reason.
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
    /// Waits for `reply`, which is `None` if the program is not on the mesh yet.
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

    /// Reports the messages whose outcome is known. Returns whether others still wait for their replies.
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
