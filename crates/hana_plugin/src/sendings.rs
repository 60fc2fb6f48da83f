use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use bevy_ecs::prelude::*;
use hana_network::Abandoned;
use hana_network::Pending;
use hana_network::SendError;
use hana_protocol::NodeId;
use hana_protocol::TopicName;

/// A custom message that was sent to one node has been answered, or will not be.
#[derive(Event, Debug, Clone)]
pub struct MessageAnswered {
    /// Whom it was sent to.
    pub node: NodeId,
    /// Its topic.
    pub topic: TopicName,
    /// Whether it was taken, or why not.
    pub outcome: Result<(), SendError>,
}

/// Custom messages that wait for their answers, whoever sent them.
#[derive(Resource, Clone, Default)]
pub(crate) struct Sendings(Arc<Mutex<Vec<Sending>>>);

struct Sending {
    node: NodeId,
    topic: TopicName,
    outcome: Box<dyn Fn() -> Option<Result<(), SendError>> + Send + Sync>,
}

impl Sendings {
    /// Waits for an answer; without a question the program is not on the mesh yet.
    pub(crate) fn add<T: Send + 'static>(
        &self,
        node: &NodeId,
        topic: TopicName,
        question: Option<Pending<Result<T, SendError>>>,
    ) {
        let not_sent = |problem: String| Some(Err(SendError::NotSent { problem }));
        let sending = Sending {
            node: node.clone(),
            topic,
            outcome: Box::new(move || {
                let Some(question) = &question else {
                    return not_sent("this program is not on the mesh yet".into());
                };
                match question.take() {
                    Some(answer) => Some(answer.map(|_| ())),
                    None if question.is_abandoned() => not_sent(Abandoned.to_string()),
                    None => None,
                }
            }),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sending);
    }

    /// Tells of those that have been answered, or will not be.
    pub(crate) fn tell(&self, commands: &mut Commands) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|sending| {
            let Some(outcome) = (sending.outcome)() else { return true };
            let Sending { node, topic, .. } = sending;
            if let Err(problem) = &outcome {
                tracing::warn!("{topic}: {problem}");
            }
            commands.trigger(MessageAnswered { node: node.clone(), topic: topic.clone(), outcome });
            false
        });
    }
}
