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

/// Plays many parameters of one run of a visualization, in frames: for who moves more than a few of them, or often.
///
/// What is set leaves as its [`BatcherSettings`] say: by default half a millisecond after it was set, or as much as 4.5 ms in a
/// stream. Of a visualization that is started again the parameters may be others: make another one, of its new info.
/// Cheap to clone; when the last one is dropped, what is left is sent.
#[derive(Clone)]
pub struct BatchStream {
    node: NodeId,
    parameters: Arc<Parameters>,
    desk: Arc<Mutex<BatchState>>,
    wake: flume::Sender<()>,
}

/// What those who set and the thread that sends share; held for nanoseconds by either.
struct BatchState {
    recorder: Batcher,
    /// When the thread looks next by itself, in microseconds of the steady clock.
    planned: i64,
    /// By which way the frames go.
    channel: Arc<OutgoingTopic>,
    /// The link that they go over stays until the last one is sent.
    link: Option<Arc<DirectLink>>,
}

impl BatchStream {
    /// Frames on `channel`, which is that of the visualization's frames.
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

    /// The visualization that is played.
    #[must_use]
    pub const fn node(&self) -> &NodeId {
        &self.node
    }

    /// The place of a parameter, for [`set`](Self::set).
    ///
    /// # Errors
    ///
    /// When it has no such parameter.
    pub fn place(&self, name: &ParameterName) -> Result<usize, ParameterError> {
        self.parameters.index(name)
    }

    /// Sets the parameter at a place, as of now. Neither blocks nor allocates: a thread sends.
    ///
    /// # Errors
    ///
    /// When there is no such place, or the parameter does not take the value.
    pub fn set(&self, place: usize, value: f32) -> Result<(), ParameterError> {
        let count = self.parameters.values().len();
        let declared = self.parameters.declared().get(place);
        let declared = declared.ok_or(ParameterError::NoPlace { place, count })?;
        declared.check(value)?;
        self.put(place, value, steady_us());
        Ok(())
    }

    /// The same of a place and a value that were found to be right, as of `at`, which is now.
    pub(crate) fn put(&self, place: usize, value: f32, at: i64) {
        let mut desk = lock(&self.desk);
        desk.recorder.set(place, value, at);
        let is_sooner = desk.recorder.due().is_some_and(|due| due < desk.planned);
        drop(desk);
        if is_sooner {
            // Full means that it wakes up already.
            self.wake.try_send(()).ok();
        }
    }

    /// Sends by this channel from now on, and what was set since then once more.
    pub(crate) fn turn_to(
        &self,
        channel: Arc<OutgoingTopic>,
        link: Option<Arc<DirectLink>>,
        since: i64,
    ) {
        let mut desk = lock(&self.desk);
        desk.channel = channel;
        let before = std::mem::replace(&mut desk.link, link);
        desk.recorder.say_again(since);
        drop(desk);
        drop(before);
        self.wake.try_send(()).ok();
    }

    /// Sends once more what was set since then.
    pub(crate) fn say_again(&self, since: i64) {
        lock(&self.desk).recorder.say_again(since);
        self.wake.try_send(()).ok();
    }

    /// Sends what was set before this stream was, with the time at which it was set.
    pub(crate) fn recall(&self, values: impl IntoIterator<Item = (usize, f32, i64)>) {
        let mut desk = lock(&self.desk);
        for (place, value, at) in values {
            desk.recorder.recall(place, value, at);
        }
        drop(desk);
        self.wake.try_send(()).ok();
    }

    /// Forgets what was not sent: the run that it was for is gone.
    pub(crate) fn forget(&self) {
        lock(&self.desk).recorder = Batcher::new(0, 0, BatcherSettings::default());
    }
}

fn lock(desk: &Mutex<BatchState>) -> MutexGuard<'_, BatchState> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends what is due, until nobody is left who sets anything.
fn send(desk: &Mutex<BatchState>, woken: &flume::Receiver<()>) {
    let mut frame = ModulationBatch::default();
    let mut counted = 0;
    loop {
        let now = steady_us();
        let mut shared = lock(desk);
        let is_something = shared.recorder.take(now, &mut frame);
        let due = shared.recorder.due().unwrap_or(i64::MAX);
        let forgotten = shared.recorder.forgotten();
        if !is_something {
            shared.planned = due;
        }
        let channel = Arc::clone(&shared.channel);
        drop(shared);
        // Moments that newer ones took the place of, because this thread came too late.
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
    // The last values of all.
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
