use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crate::sync::lock::Mutex;
use hana_protocol::contract::Key;
use hana_protocol::message::Modulation;
use hana_protocol::parameter::Parameter;
use hana_protocol::wire::{Lane, codec};
use zenoh::sample::Locality;

use crate::context::node_context::NodeContext;
use crate::transport::outbound::send_queue::OutgoingTopic;

/// Publishes to the mesh the values that arrive over direct links.
///
/// It publishes single values by parameter name, at most 60 per second for each parameter, and only while the mesh has
/// a subscriber.
#[derive(Clone)]
pub(crate) struct MeshEcho {
    /// The newest value of each parameter, if it is not yet published.
    values: Arc<Mutex<Vec<Option<f32>>>>,
    wake_tx: flume::Sender<()>,
}

impl MeshEcho {
    const PERIOD: Duration = Duration::from_micros(16_667);

    /// Starts the thread that publishes. The thread ends with the node.
    pub(crate) fn start(
        context: &Arc<NodeContext>,
        declared: Vec<Parameter>,
    ) -> std::io::Result<Self> {
        // The topics are declared early, because Zenoh needs a moment to determine whether there are subscribers.
        let topics: Vec<Arc<OutgoingTopic>> = declared
            .into_iter()
            .map(|parameter| {
                let node = context.identity.id.clone();
                let key = Key::Modulation { node, parameter: parameter.name };
                context.outgoing_topic(&key, Lane::UnreliableSequenced, Locality::Remote)
            })
            .collect();
        let values = Arc::new(Mutex::new(vec![None; topics.len()]));
        let (wake_tx, wake_rx) = flume::bounded(1);
        let (context, queued) = (Arc::downgrade(context), Arc::clone(&values));
        thread::Builder::new()
            .name("hana echo".into())
            .spawn(move || Self::run(&context, &topics, &queued, &wake_rx))?;
        Ok(Self { values, wake_tx })
    }

    fn run(
        context: &Weak<NodeContext>,
        topics: &[Arc<OutgoingTopic>],
        queued: &Mutex<Vec<Option<f32>>>,
        wake_rx: &flume::Receiver<()>,
    ) {
        for topic in topics {
            topic.has_subscribers();
        }
        let mut values = vec![None; topics.len()];
        for () in wake_rx {
            let Some(context) = context.upgrade() else { return };
            std::mem::swap(&mut values, &mut *queued.lock());
            for (topic, value) in topics.iter().zip(&mut values) {
                if let Some(value) = value.take().filter(|_| topic.has_subscribers())
                    && let Ok(payload) = codec::encode(&Modulation { value })
                {
                    // The queue is never full, because on this lane a new value replaces the queued value.
                    context.senders.unreliable.push(topic, payload).ok();
                }
            }
            drop(context);
            thread::sleep(Self::PERIOD);
        }
    }

    /// Queues values that arrived over a direct link, by parameter index. Does not block.
    pub(crate) fn queue(&self, values: impl IntoIterator<Item = (usize, f32)>) {
        let mut queued = self.values.lock();
        for (index, value) in values {
            if let Some(waiting) = queued.get_mut(index) {
                *waiting = Some(value);
            }
        }
        drop(queued);
        // If the channel is full, the thread is already waking up.
        self.wake_tx.try_send(()).ok();
    }
}
