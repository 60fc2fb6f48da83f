use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::sync::lock::Mutex;
use flume::RecvTimeoutError;
use hana_engine::playout::{Batcher, BatcherSettings};
use hana_protocol::id::NodeId;
use hana_protocol::message::{ModulationBatch, NodeInfo};
use hana_protocol::parameter::{ParameterError, ParameterName, Parameters};

use crate::clock::steady_clock::steady_us;
use crate::transport::outbound::publisher::encode;
use crate::transport::outbound::send_queue::OutgoingTopic;

/// Plays many parameters of one instance of a visualization, in modulation batches.
///
/// Use it to play more than a few parameters, or to play them often. Values are sent as [`BatcherSettings`] defines:
/// by default 0.5 ms after they are set, or up to 4.5 ms in a stream. A visualization that restarts may have other
/// parameters, so create a new stream from its new info. Cheap to clone; when the last clone is dropped, the remaining
/// values are sent.
#[derive(Clone)]
pub struct BatchStream {
    node: NodeId,
    parameters: Arc<Parameters>,
    state: Arc<Mutex<BatchState>>,
    wake_tx: flume::Sender<()>,
}

/// A value that keeps the direct link of a topic open until it is dropped.
pub(crate) type KeepAlive = Arc<dyn Send + Sync>;

/// The state shared by the callers that set values and the thread that sends them; each locks it for nanoseconds.
struct BatchState {
    batcher: Batcher,
    /// The time at which the thread wakes up next, in microseconds of the steady clock.
    planned: i64,
    /// The topic of the batches, which determines their path.
    topic: Arc<OutgoingTopic>,
    /// The link that carries the batches, which stays open until the last batch is sent.
    link: Option<KeepAlive>,
}

impl BatchStream {
    /// Starts a stream on `topic`, the topic for modulation batches of the visualization.
    pub(crate) fn start(
        info: &NodeInfo,
        topic: Arc<OutgoingTopic>,
        settings: BatcherSettings,
    ) -> std::io::Result<Self> {
        let parameters = Parameters::new(info.parameters.clone());
        let batcher = Batcher::new(info.instance, parameters.values().len(), settings);
        let state =
            Arc::new(Mutex::new(BatchState { batcher, planned: i64::MAX, topic, link: None }));
        let (wake_tx, wake_rx) = flume::bounded(1);
        let shared = Arc::clone(&state);
        thread::Builder::new().name("hana frames".into()).spawn(move || run(&shared, &wake_rx))?;
        Ok(Self { node: info.node.clone(), parameters: Arc::new(parameters), state, wake_tx })
    }

    /// Returns the visualization that the stream plays.
    #[must_use]
    pub const fn node(&self) -> &NodeId {
        &self.node
    }

    /// Returns the index of a parameter, for [`set`](Self::set).
    ///
    /// # Errors
    ///
    /// When the visualization has no parameter with this name.
    pub fn place(&self, name: &ParameterName) -> Result<usize, ParameterError> {
        self.parameters.index(name)
    }

    /// Sets the parameter at an index, with the current time. Neither blocks nor allocates: a thread sends the value.
    ///
    /// # Errors
    ///
    /// When the index is out of range, or the parameter does not accept the value.
    pub fn set(&self, place: usize, value: f32) -> Result<(), ParameterError> {
        let count = self.parameters.values().len();
        let declared = self.parameters.declared().get(place);
        let declared = declared.ok_or(ParameterError::NoPlace { place, count })?;
        declared.check(value)?;
        self.set_unchecked(place, value, steady_us());
        Ok(())
    }

    /// Sets a validated value at a validated index. `at` is the current time.
    pub(crate) fn set_unchecked(&self, place: usize, value: f32, at: i64) {
        let mut state = self.state.lock();
        state.batcher.set(place, value, at);
        let is_sooner = state.batcher.due().is_some_and(|due| due < state.planned);
        drop(state);
        if is_sooner {
            // If the channel is full, the thread is already waking up.
            self.wake_tx.try_send(()).ok();
        }
    }

    /// Switches to another topic and link, and retransmits the values set since `since`.
    pub(crate) fn switch_path(
        &self,
        topic: Arc<OutgoingTopic>,
        link: Option<KeepAlive>,
        since: i64,
    ) {
        let mut state = self.state.lock();
        state.topic = topic;
        let before = std::mem::replace(&mut state.link, link);
        state.batcher.retransmit_since(since);
        drop(state);
        drop(before);
        self.wake_tx.try_send(()).ok();
    }

    /// Retransmits the values set since `since`.
    pub(crate) fn retransmit_since(&self, since: i64) {
        self.state.lock().batcher.retransmit_since(since);
        self.wake_tx.try_send(()).ok();
    }

    /// Sends values that were set before this stream existed, with their original timestamps.
    pub(crate) fn restore(&self, values: impl IntoIterator<Item = (usize, f32, i64)>) {
        let mut state = self.state.lock();
        for (place, value, at) in values {
            state.batcher.restore(place, value, at);
        }
        drop(state);
        self.wake_tx.try_send(()).ok();
    }

    /// Discards unsent values, because the instance for which they were set is gone.
    pub(crate) fn clear(&self) {
        self.state.lock().batcher = Batcher::new(0, 0, BatcherSettings::default());
    }
}

/// Sends batches when they are due, until the last clone of the stream is dropped.
fn run(state: &Mutex<BatchState>, wake_rx: &flume::Receiver<()>) {
    let mut batch = ModulationBatch::default();
    let mut counted = 0;
    loop {
        let now = steady_us();
        let mut shared = state.lock();
        let is_something = shared.batcher.take(now, &mut batch);
        let due = shared.batcher.due().unwrap_or(i64::MAX);
        let forgotten = shared.batcher.dropped();
        if !is_something {
            shared.planned = due;
        }
        let topic = Arc::clone(&shared.topic);
        drop(shared);
        // Samples are dropped when newer ones replace them, because this thread was late.
        topic.count_replaced(forgotten.saturating_sub(counted));
        counted = forgotten;
        if is_something {
            send(&topic, &batch);
            continue;
        }
        let pause = if due == i64::MAX {
            wake_rx.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            let pause = u64::try_from(due.saturating_sub(now)).unwrap_or_default();
            wake_rx.recv_timeout(Duration::from_micros(pause))
        };
        if pause == Err(RecvTimeoutError::Disconnected) {
            break;
        }
    }
    // Sends the remaining values.
    let mut state = state.lock();
    while let Some(due) = state.batcher.due() {
        if state.batcher.take(due, &mut batch) {
            send(&state.topic, &batch);
        }
    }
    drop(state);
}

fn send(topic: &OutgoingTopic, batch: &ModulationBatch) {
    match encode(topic.key(), batch) {
        Ok(payload) => topic.send(payload),
        Err(problem) => tracing::warn!("value not sent: {problem}"),
    }
}
