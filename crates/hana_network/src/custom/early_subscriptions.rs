use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use crate::sync::lock::Mutex;
use hana_protocol::message::{CustomMessageInfo, Direction};
use hana_protocol::wire::CustomMessage;

use crate::config::node_config::NodeConfig;
use crate::context::node_context::NodeContext;
use crate::custom::custom_subscription::CustomSubscription;

/// Starts the subscription to one message type before the node is announced.
///
/// Another node may send a message as soon as the node is announced, but the program may need a frame or more before
/// it calls [`Node::subscribe_custom`](crate::Node::subscribe_custom).
#[derive(Debug, Clone, Copy)]
struct SubscriptionFactory {
    message: TypeId,
    start: fn(&NodeContext) -> Box<dyn Any + Send + Sync>,
}

impl SubscriptionFactory {
    fn of<M: CustomMessage>() -> Self {
        Self {
            message: TypeId::of::<M>(),
            start: |context| Box::new(CustomSubscription::<M>::start(context)),
        }
    }
}

/// The subscriptions that started before the announcement, until the program takes them.
#[derive(Default)]
pub(crate) struct EarlySubscriptions(Mutex<HashMap<TypeId, Box<dyn Any + Send + Sync>>>);

impl EarlySubscriptions {
    /// Starts the subscriptions that the configuration declares.
    pub(crate) fn start(&self, context: &NodeContext) {
        let mut started = self.0.lock();
        let declared = context.config.early_subscriptions.iter();
        for factory in declared.filter_map(|any| any.downcast_ref::<SubscriptionFactory>()) {
            started.entry(factory.message).or_insert_with(|| (factory.start)(context));
        }
    }

    /// Returns the subscription to a type, if it was started and the program has not taken it yet.
    pub(crate) fn take<M: CustomMessage>(&self) -> Option<CustomSubscription<M>> {
        let subscription = self.0.lock().remove(&TypeId::of::<M>());
        subscription?.downcast().ok().map(|subscription| *subscription)
    }
}

impl NodeConfig {
    /// Declares a custom message type that the node publishes, receives, or both.
    ///
    /// If the node receives the type, it subscribes before it becomes visible to other nodes, and keeps the messages
    /// until [`Node::subscribe_custom`](crate::Node::subscribe_custom) is called.
    #[must_use]
    pub fn with_message<M: CustomMessage>(mut self, direction: Direction) -> Self {
        if direction.is_subscribed() {
            self.early_subscriptions.push(Arc::new(SubscriptionFactory::of::<M>()));
        }
        let known =
            self.messages.iter_mut().find(|known| known.topic == M::TOPIC && known.name == M::NAME);
        match known {
            Some(known) if known.direction != direction => known.direction = Direction::Both,
            Some(_) => {},
            None => self.messages.push(CustomMessageInfo::of::<M>(direction)),
        }
        self
    }
}
