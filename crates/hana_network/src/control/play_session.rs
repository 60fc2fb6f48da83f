use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::sync::lock::Mutex;
use hana_engine::playout::{BatcherSettings, PathAction, PathEvent, PathSelector};
use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::message::{Control, NodeInfo, Ping, PlayPath, PlayStatus};
use hana_protocol::parameter::{ParameterError, ParameterName, Parameters};
use hana_protocol::wire::{Message, codec};
use zenoh::query::Reply;

use crate::clock::steady_clock::steady_us;
use crate::context::node_context::NodeContext;
use crate::control::batch_stream::{BatchStream, KeepAlive};
use crate::control::count_guard::CountGuard;
use crate::control::dial_permit::DialPermits;
use crate::control::direct_link::DirectLink;
use crate::control::link_manager::{DialState, INFO_TIMEOUT, LinkManager, OpenLink};
use crate::control::value_buffer::{TargetInstance, ValueBuffer};
use crate::session::session_worker::SessionWorker;
use crate::sync::pending::Pending;
use crate::sync::timer::{Timer, TimerWaker};
use crate::transport::outbound::sender_identity::SenderIdentity;
use crate::transport::query;
use crate::transport::raw_message::envelope_in;

/// A controller's session with one visualization that it plays.
///
/// Values travel over a direct link while one is open, otherwise over the mesh. When the visualization restarts, the
/// session automatically continues with the new instance. Each value has the time at which it was set, so no value is
/// played twice or after a newer value. When the path changes, the session retransmits values that may have been lost,
/// but only the newest value of each parameter.
///
/// No call blocks. Cheap to clone; when the last clone is dropped, the remaining values are sent and the link closes.
#[derive(Clone)]
pub struct PlaySession(Arc<SessionShared>);

/// A reference that does not keep the session alive.
pub(super) struct WeakSession(Weak<SessionShared>);

struct SessionShared {
    node: NodeId,
    settings: BatcherSettings,
    context: Weak<NodeContext>,
    /// The guard that counts this session among those of its node.
    count: CountGuard,
    permits: DialPermits,
    waker: TimerWaker,
    /// The waker of the timer, used when a node info arrives.
    info_waker: Waker,
    values: Mutex<ValueBuffer>,
    links: Mutex<LinkManager>,
    /// Whether a value was set since the last tick.
    was_set: AtomicBool,
    /// Whether the timer sleeps because no value was set recently.
    is_resting: AtomicBool,
    acknowledged: (flume::Sender<Acknowledged>, flume::Receiver<Acknowledged>),
    /// The node info that the program supplied and the session has not processed yet.
    given: Mutex<Option<NodeInfo>>,
    status: Mutex<PlayStatus>,
}

/// The number of an acknowledged ping, and the time at which its reply arrived.
type Acknowledged = (u64, Instant);

/// The interval between checks while a link is opening or waits for a permit, or a query is running.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The capacity of the queue of acknowledged pings.
const MAX_ACKNOWLEDGED: usize = 64;
/// The maximum age in microseconds of values that are sent to a new instance.
///
/// For older values, the visualization's daemon restores the look.
const MAX_CARRIED_AGE_US: i64 = 10_000_000;

impl PlaySession {
    pub(super) fn begin(
        context: &Arc<NodeContext>,
        (count, permits): (CountGuard, DialPermits),
        node: &NodeId,
        settings: BatcherSettings,
        info: Option<NodeInfo>,
    ) -> Self {
        let now = Instant::now();
        let links = LinkManager::new(context, node, now);
        let waker = context.timer.waker();
        let inner = Arc::new(SessionShared {
            node: node.clone(),
            settings,
            context: Arc::downgrade(context),
            count,
            permits,
            info_waker: Arc::new(waker.clone()).into(),
            waker: waker.clone(),
            values: Mutex::default(),
            status: Mutex::new(links.selector.status(now)),
            links: Mutex::new(links),
            was_set: AtomicBool::new(false),
            is_resting: AtomicBool::new(true),
            acknowledged: flume::bounded(MAX_ACKNOWLEDGED),
            given: Mutex::new(info),
        });
        // If the info is known, this targets the instance before the caller sets a value, so that every value is
        // checked.
        inner.update_target(context, &mut inner.links.lock(), now);
        context.timer.add(&inner, &waker);
        Self(inner)
    }

    pub(super) fn downgrade(&self) -> WeakSession {
        WeakSession(Arc::downgrade(&self.0))
    }

    /// Returns the visualization that the session plays.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.0.node
    }

    /// Returns the current status of the session.
    #[must_use]
    pub fn status(&self) -> PlayStatus {
        *self.0.status.lock()
    }

    /// Returns whether a value was set within the last two seconds.
    #[must_use]
    pub fn is_played(&self) -> bool {
        !self.0.is_resting.load(Ordering::Acquire)
    }

    /// Supplies the node info of the visualization, which the session otherwise finds automatically.
    ///
    /// Needed, for example, where the two nodes cannot find each other on the mesh.
    pub fn set_target_info(&self, info: NodeInfo) {
        *self.0.given.lock() = Some(info);
        self.0.waker.wake();
    }

    /// Returns the index of a parameter, for [`set_at`](Self::set_at).
    ///
    /// The index stays the same during the session, even if the visualization restarts with other parameters.
    ///
    /// # Errors
    ///
    /// When no parameter has this name or, while the parameters are still unknown, when too many are in use.
    pub fn place(&self, name: &ParameterName) -> Result<usize, ParameterError> {
        self.0.values.lock().place(name)
    }

    /// Sets a parameter with the current time. Never blocks, and allocates only on the first call for a parameter.
    ///
    /// A value set before the visualization is found is sent when the visualization is found, unless the value is then
    /// older than ten seconds.
    ///
    /// # Errors
    ///
    /// When no parameter has this name, or the parameter does not accept the value.
    pub fn set(&self, name: &ParameterName, value: f32) -> Result<(), ParameterError> {
        let mut values = self.0.values.lock();
        let place = values.place(name)?;
        values.set(place, value)?;
        drop(values);
        self.0.on_set();
        Ok(())
    }

    /// Sets the parameter at an index with the current time. Neither blocks nor allocates.
    ///
    /// # Errors
    ///
    /// When the index is invalid, the visualization no longer has the parameter, or the parameter does not accept the
    /// value.
    pub fn set_at(&self, place: usize, value: f32) -> Result<(), ParameterError> {
        self.0.values.lock().set(place, value)?;
        self.0.on_set();
        Ok(())
    }
}

impl WeakSession {
    pub(super) fn upgrade(&self) -> Option<PlaySession> {
        self.0.upgrade().map(PlaySession)
    }
}

impl SessionShared {
    fn on_set(&self) {
        self.was_set.store(true, Ordering::Release);
        if self.is_resting.swap(false, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Processes events and carries out the resulting actions; returns the time of the next tick.
    fn poll(
        &self,
        context: &Arc<NodeContext>,
        links: &mut LinkManager,
        now: Instant,
    ) -> Option<Instant> {
        self.update_target(context, links, now);
        let mut actions = vec![];
        links.selector.share_with(self.count.count());
        if let Some(opened) = links.opening.as_ref().and_then(Pending::try_recv) {
            links.opening = None;
            links.dial = DialState::Idle;
            let event = links.on_opened(&self.node, opened);
            actions.extend(links.selector.hear(event, now));
        }
        if links.opening.as_ref().is_some_and(Pending::is_cancelled) {
            links.opening = None;
            links.dial = DialState::Idle;
            actions.extend(links.selector.hear(PathEvent::NotOpened, now));
        }
        if links.link.as_ref().is_some_and(|linked| !linked.link.is_connected()) {
            actions.extend(links.selector.hear(PathEvent::Closed, now));
        }
        while let Ok((number, at)) = self.acknowledged.1.try_recv() {
            actions.extend(links.selector.hear(PathEvent::Answered(number), at));
        }
        if self.was_set.swap(false, Ordering::AcqRel) {
            actions.extend(links.selector.hear(PathEvent::Played, now));
        }
        actions.extend(links.selector.tick(now));
        for action in actions {
            self.act(context, links, action);
        }
        if matches!(links.dial, DialState::Waiting) {
            self.open(context, links);
        }
        *self.status.lock() = links.selector.status(now);
        self.is_resting.store(!links.selector.is_played(now), Ordering::Release);
        if self.was_set.load(Ordering::Acquire) {
            // A value was set just before the session was marked as resting.
            self.is_resting.store(false, Ordering::Release);
            return Some(now);
        }
        let is_under_way = links.opening.is_some() || links.info_query.is_some();
        let waits =
            (is_under_way || matches!(links.dial, DialState::Waiting)).then(|| now + POLL_INTERVAL);
        links.selector.due().into_iter().chain(links.query_at).chain(waits).min()
    }

    /// Opens a link, or waits for a permit if too many links are opening.
    fn open(&self, context: &Arc<NodeContext>, links: &mut LinkManager) {
        let Some(info) = &links.info else { return };
        let Some(permit) = self.permits.acquire() else {
            links.dial = DialState::Waiting;
            return;
        };
        links.dial = DialState::Dialing(permit);
        links.opening = Some(DirectLink::open(context, info));
        // If the visualization is unreachable, it may have restarted, and its new info may not have arrived.
        links.query_info(context, &self.node);
    }

    /// Determines the current instance of the visualization and its endpoints.
    fn update_target(&self, context: &Arc<NodeContext>, links: &mut LinkManager, now: Instant) {
        let given = self.given.lock().take();
        links.published.wake_by(&self.info_waker);
        let replies = links.info_query.as_ref().and_then(Pending::try_recv);
        if replies.is_some() {
            links.info_query = None;
        }
        let replies = replies.into_iter().flatten().map(|received| received.message).collect();
        let published = links.published.messages().collect();
        let found = links.instance_of(given, replies, published, now);
        if let Some(info) = found.filter(|info| links.info.as_ref() != Some(info)) {
            let known = links.info.as_ref();
            let is_same_instance = known.is_some_and(|known| known.instance == info.instance);
            let has_moved = known.is_none_or(|known| known.play != info.play);
            if is_same_instance {
                links.info = Some(info);
                if has_moved {
                    let actions = links.selector.hear(PathEvent::Moved, now);
                    for action in actions {
                        self.act(context, links, action);
                    }
                }
            } else {
                self.begin_instance(context, links, info, now);
            }
        }
        if links.info.is_none() && links.query_at.is_some_and(|at| at <= now) {
            links.query_info(context, &self.node);
            links.query_at = Some(now + INFO_TIMEOUT);
        }
    }

    fn begin_instance(
        &self,
        context: &Arc<NodeContext>,
        links: &mut LinkManager,
        info: NodeInfo,
        now: Instant,
    ) {
        let stream = match BatchStream::start(&info, Arc::clone(&links.mesh_topic), self.settings) {
            Ok(stream) => stream,
            Err(problem) => {
                tracing::error!("cannot play '{}': cannot start a thread: {problem}", self.node);
                links.query_at = Some(now + INFO_TIMEOUT);
                return;
            },
        };
        let parameters = Parameters::new(info.parameters.clone());
        let target = TargetInstance { parameters, stream };
        let since = steady_of(links.selector.arrived(), now).max(steady_us() - MAX_CARRIED_AGE_US);
        self.values.lock().switch_target(target, since);
        links.info = Some(info);
        links.query_at = None;
        links.reported = None;
        let actions = links.selector.hear(PathEvent::Found, now);
        for action in actions {
            self.act(context, links, action);
        }
    }

    fn act(&self, context: &Arc<NodeContext>, links: &mut LinkManager, action: PathAction) {
        match action {
            PathAction::Open => self.open(context, links),
            PathAction::UseLink => {
                let Some(link) = links.opened.take() else { return };
                let waker = self.waker.clone();
                let gone = link.on_close(move || waker.wake());
                let topic = link.batch_topic();
                links.link = Some(OpenLink { link: Arc::new(link), topic, _on_close: gone });
            },
            PathAction::Discard => links.opened = None,
            PathAction::Close => links.link = None,
            PathAction::Probe { way, number } => {
                let worker = match (way, &links.link) {
                    (PlayPath::Direct, Some(linked)) => linked.link.worker(),
                    (PlayPath::Direct, None) => return,
                    (PlayPath::Mesh, _) => &context.session_worker,
                };
                let instance = links.info.as_ref().map_or(0, |info| info.instance);
                self.ping(worker, &context.identity, instance, number);
            },
            PathAction::SwitchPath { way, since } => {
                let (topic, link) = match (way, &links.link) {
                    (PlayPath::Direct, Some(linked)) => (&linked.topic, Some(&linked.link)),
                    _ => (&links.mesh_topic, None),
                };
                tracing::debug!("playing '{}' over another path now: {way}", self.node);
                if let Some(target) = &self.values.lock().target {
                    let since = steady_of(since, Instant::now());
                    target.stream.switch_path(
                        Arc::clone(topic),
                        link.map(|link| Arc::clone(link) as KeepAlive),
                        since,
                    );
                }
            },
            PathAction::RetransmitSince { since } => {
                if let Some(target) = &self.values.lock().target {
                    target.stream.retransmit_since(steady_of(since, Instant::now()));
                }
            },
        }
    }

    /// Pings the visualization over one of the paths.
    fn ping(&self, worker: &SessionWorker, identity: &SenderIdentity, instance: u64, number: u64) {
        let key = Key::Control(self.node.clone()).to_string();
        let attachment = identity.envelope(0).encode().unwrap_or_default();
        let Ok(payload) = codec::encode(&Control::from(Ping {})) else { return };
        let (answered, waker) = (self.acknowledged.0.clone(), self.waker.clone());
        worker.run(move |session| {
            let on_reply = move |reply: Reply| {
                let Ok(sample) = reply.result() else { return };
                // A reply from another instance does not show that this instance receives messages.
                let by = envelope_in(sample.attachment()).map(|by| by.instance);
                if by.is_none_or(|by| by == instance) {
                    // The queue is full only if the session no longer reads it.
                    answered.try_send((number, Instant::now())).ok();
                    waker.wake();
                }
            };
            let attachment = Some(attachment.into());
            let (lane, timeout) = (Control::LANE, PathSelector::LOST);
            let sent = query::query(session, &key, payload, attachment, lane, timeout, on_reply);
            if let Err(problem) = sent {
                tracing::debug!("{key}: cannot send the query: {problem}");
            }
        });
    }
}

impl Timer for SessionShared {
    fn tick(&self, now: Instant) -> Option<Instant> {
        let context = self.context.upgrade()?;
        self.poll(&context, &mut self.links.lock(), now)
    }
}

/// Converts a time to microseconds of the steady clock, minus a margin. `None` becomes the earliest time.
fn steady_of(since: Option<Instant>, now: Instant) -> i64 {
    since.map_or(i64::MIN, |since| {
        // A value set shortly before `since` may not have been sent until later.
        let passed = (now.saturating_duration_since(since) + PathSelector::SENT).as_micros();
        steady_us() - i64::try_from(passed).unwrap_or(i64::MAX)
    })
}
