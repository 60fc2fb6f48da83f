use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use flume::RecvTimeoutError;
use hana_engine::playout::{Batcher, BatcherSettings};
use hana_protocol::id::NodeId;
use hana_protocol::message::{ModulationBatch, NodeInfo};
use hana_protocol::parameter::{ParameterError, ParameterName, Parameters};

use crate::playback::direct_link::DirectLink;
use crate::time::steady_clock::steady_us;
use crate::transport::publisher::encode;
use crate::transport::send_queue::OutgoingTopic;

/// Plays many parameters of one instance of a visualization, in modulation batches.
///
/// Use it to move more than a few parameters, or to move them often. Values are sent as [`BatcherSettings`] defines:
/// by default 0.5 ms after they were set, or up to 4.5 ms in a stream. A restarted visualization may have other
/// parameters; create another stream from its new info. Cheap to clone; when the last clone is dropped, the remaining
/// values are sent.
#[derive(Clone)]
pub struct BatchStream {
    node: NodeId,
    parameters: Arc<Parameters>,
    desk: Arc<Mutex<BatchState>>,
    wake: flume::Sender<()>,
}

/// State shared by the callers that set values and the sending thread; each locks it for nanoseconds.
struct BatchState {
    recorder: Batcher,
    /// The next wake-up time of the thread, in microseconds of the steady clock.
    planned: i64,
    /// The topic, and thereby the path, of the batches.
    channel: Arc<OutgoingTopic>,
    /// The link that carries the batches; kept open until the last one is sent.
    link: Option<Arc<DirectLink>>,
}

impl BatchStream {
    /// Starts a stream on `channel`, the topic for modulation batches of the visualization.
    pub(crate) fn start(
        info: &NodeInfo,
        channel: Arc<OutgoingTopic>,
        settings: BatcherSettings,
    ) -> std::io::Result<Self> {
        let parameters = Parameters::new(info.parameters.clone());
        let recorder = Batcher::new(info.instance, parameters.values().len(), settings);
        let desk =
            Arc::new(Mutex::new(BatchState { recorder, planned: i64::MAX, channel, link: None }));
        let (wake, woken) = flume::bounded(1);
        let of_thread = Arc::clone(&desk);
        thread::Builder::new()
            .name("hana frames".into())
            .spawn(move || send(&of_thread, &woken))?;
        Ok(Self { node: info.node.clone(), parameters: Arc::new(parameters), desk, wake })
    }

    /// Returns the visualization that is played.
    #[must_use]
    pub const fn node(&self) -> &NodeId {
        &self.node
    }

    /// Returns the index of a parameter, for [`set`](Self::set).
    ///
    /// # Errors
    ///
    /// When the visualization has no such parameter.
    pub fn place(&self, name: &ParameterName) -> Result<usize, ParameterError> {
        self.parameters.index(name)
    }

    /// Sets the parameter at an index, as of now. Neither blocks nor allocates: a thread sends the value.
    ///
    /// # Errors
    ///
    /// When there is no such index, or the parameter does not accept the value.
    pub fn set(&self, place: usize, value: f32) -> Result<(), ParameterError> {
        let count = self.parameters.values().len();
        let declared = self.parameters.declared().get(place);
        let declared = declared.ok_or(ParameterError::NoPlace { place, count })?;
        declared.check(value)?;
        self.put(place, value, steady_us());
        Ok(())
    }

    /// Sets a validated value at a validated index, as of `at`, which is now.
    pub(crate) fn put(&self, place: usize, value: f32, at: i64) {
        let mut desk = lock(&self.desk);
        desk.recorder.set(place, value, at);
        let is_sooner = desk.recorder.due().is_some_and(|due| due < desk.planned);
        drop(desk);
        if is_sooner {
            // A full channel means that the thread is already waking up.
            self.wake.try_send(()).ok();
        }
    }

    /// Switches to this topic, and retransmits the values set since `since`.
    pub(crate) fn turn_to(
        &self,
        channel: Arc<OutgoingTopic>,
        link: Option<Arc<DirectLink>>,
        since: i64,
    ) {
        let mut desk = lock(&self.desk);
        desk.channel = channel;
        let before = std::mem::replace(&mut desk.link, link);
        desk.recorder.retransmit_since(since);
        drop(desk);
        drop(before);
        self.wake.try_send(()).ok();
    }

    /// Retransmits the values set since `since`.
    pub(crate) fn retransmit_since(&self, since: i64) {
        lock(&self.desk).recorder.retransmit_since(since);
        self.wake.try_send(()).ok();
    }

    /// Sends values that were set before this stream existed, with their original timestamps.
    pub(crate) fn restore(&self, values: impl IntoIterator<Item = (usize, f32, i64)>) {
        let mut desk = lock(&self.desk);
        for (place, value, at) in values {
            desk.recorder.restore(place, value, at);
        }
        drop(desk);
        self.wake.try_send(()).ok();
    }

    /// Discards unsent values, because the instance that they were for is gone.
    pub(crate) fn forget(&self) {
        lock(&self.desk).recorder = Batcher::new(0, 0, BatcherSettings::default());
    }
}

fn lock(desk: &Mutex<BatchState>) -> MutexGuard<'_, BatchState> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends what is due, until the last clone of the stream is dropped.
fn send(desk: &Mutex<BatchState>, woken: &flume::Receiver<()>) {
    let mut frame = ModulationBatch::default();
    let mut counted = 0;
    loop {
        let now = steady_us();
        let mut shared = lock(desk);
        let is_something = shared.recorder.take(now, &mut frame);
        let due = shared.recorder.due().unwrap_or(i64::MAX);
        let forgotten = shared.recorder.dropped();
        if !is_something {
            shared.planned = due;
        }
        let channel = Arc::clone(&shared.channel);
        drop(shared);
        // Samples replaced by newer ones, because this thread was late.
        channel.count_replaced(forgotten.saturating_sub(counted));
        counted = forgotten;
        if is_something {
            put(&channel, &frame);
            continue;
        }
        let pause = if due == i64::MAX {
            woken.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            let pause = u64::try_from(due.saturating_sub(now)).unwrap_or_default();
            woken.recv_timeout(Duration::from_micros(pause))
        };
        if pause == Err(RecvTimeoutError::Disconnected) {
            break;
        }
    }
    // The remaining values.
    let mut desk = lock(desk);
    while let Some(due) = desk.recorder.due() {
        if desk.recorder.take(due, &mut frame) {
            put(&desk.channel, &frame);
        }
    }
    drop(desk);
}

fn put(channel: &OutgoingTopic, frame: &ModulationBatch) {
    match encode(channel.key(), frame) {
        Ok(payload) => channel.send(payload),
        Err(problem) => tracing::warn!("not played: {problem}"),
    }
}
