use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use hana_engine::delivery::{Succession, Turn};
use hana_engine::playout::{BatcherSettings, PathAction, PathEvent, PathSelector};
use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::{Control, ModulationBatch, NodeInfo, Ping, PlayPath, PlayStatus};
use hana_protocol::parameter::{ParameterError, ParameterName, Parameters};
use hana_protocol::wire::{Message, codec, error_chain};
use zenoh::query::Reply;
use zenoh::sample::Locality;

use crate::control::batch_stream::BatchStream;
use crate::node::node::NodeContext;
use crate::playback::direct_link::{DirectLink, DirectLinkError};
use crate::rpc::pending::Pending;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::time::steady_clock::steady_us;
use crate::transport::inbound::{Received, envelope_of};
use crate::transport::query;
use crate::transport::send_queue::{OutgoingTopic, SenderIdentity};
use crate::transport::subscription::Subscription;
use crate::transport::timer::{Timer, TimerWaker};

/// A controller that plays one visualization, for as long as the session lives.
///
/// Values travel over a direct link once one is open. They travel over the mesh until then and while the link is
/// interrupted. When the visualization restarts, the session continues with the new instance. The program need not do
/// anything for this. Each value has the time at which it was set, so none is played twice or after a newer one. When
/// the path changes, values that may have been lost are retransmitted, only the newest of each parameter.
///
/// No call blocks. Cheap to clone; when the last clone is dropped, the remaining values are sent and the link closes.
#[derive(Clone)]
pub struct PlaySession(Arc<Inner>);

struct Inner {
    node: NodeId,
    settings: BatcherSettings,
    core: Weak<NodeContext>,
    /// Counts this session among those of its node.
    counted: CountGuard,
    bell: TimerWaker,
    /// Wakes the timer when a node info arrives.
    waker: Waker,
    desk: Mutex<ValueBuffer>,
    hub: Mutex<LinkManager>,
    /// A value was set since the last tick.
    was_played: AtomicBool,
    /// The timer sleeps because nothing is played.
    is_resting: AtomicBool,
    answered: (flume::Sender<Answered>, flume::Receiver<Answered>),
    /// Node info supplied by the program.
    given: Mutex<Option<NodeInfo>>,
    status: Mutex<PlayStatus>,
}

/// Number of an acknowledged ping, and the time of its reply.
type Answered = (u64, Instant);

/// The values that were set and their destination; callers lock it for nanoseconds.
#[derive(Default)]
struct ValueBuffer {
    /// Index of each parameter, stable for the lifetime of the session.
    places: HashMap<ParameterName, usize>,
    set: Vec<ParameterSlot>,
    /// The instance that is played, once it is known.
    run: Option<TargetInstance>,
}

struct ParameterSlot {
    name: ParameterName,
    /// The last value, and its time in microseconds of the steady clock.
    last: Option<(f32, i64)>,
    /// Index of the parameter in this instance of the visualization, if it has one.
    in_run: Option<usize>,
}

struct TargetInstance {
    parameters: Parameters,
    stream: BatchStream,
}

/// Manages the path and the direct link.
struct LinkManager {
    switch: PathSelector,
    info: Option<NodeInfo>,
    /// The current instance and its predecessors.
    instances: Option<Succession>,
    infos: Subscription<Received<NodeInfo>>,
    asked: Option<Pending<Vec<Received<NodeInfo>>>>,
    /// Time of the next info query, while the info is unknown.
    ask_at: Option<Instant>,
    link: Option<OpenLink>,
    opening: Option<Pending<Result<DirectLink, DirectLinkError>>>,
    /// The permit to open a link; a node limits how many it opens at once.
    slot: DialPermit,
    opened: Option<DirectLink>,
    mesh: Arc<OutgoingTopic>,
    /// Why there is no link; logged once.
    told: Option<String>,
}

struct OpenLink {
    link: Arc<DirectLink>,
    channel: Arc<OutgoingTopic>,
    _gone: RegistrationGuard,
}

/// Time limit for the info query.
const ASK: Duration = Duration::from_secs(1);
/// Maximum number of parameters that can be set before the parameters are known.
const MOST_PLACES: usize = ModulationBatch::MAX_PARAMETERS;
/// Maximum number of links that a node opens at once: each costs both ends some threads and milliseconds.
const MOST_OPENING: usize = 4;
/// Interval between checks while a link is opening or wanted, or a query is running.
const WAIT: Duration = Duration::from_millis(20);
/// Capacity of the queue of acknowledged pings.
const ANSWERS: usize = 64;
/// Older values, in microseconds, are not sent to a new instance: the visualization's daemon restores its look.
const CARRIED_US: i64 = 10_000_000;

impl PlaySession {
    pub(crate) fn begin(
        core: &Arc<NodeContext>,
        node: &NodeId,
        settings: BatcherSettings,
        info: Option<NodeInfo>,
    ) -> Self {
        let now = Instant::now();
        let key = Key::ModulationBatch(node.clone());
        let switch = PathSelector::new(now);
        let status = Mutex::new(switch.status(now));
        let hub = LinkManager {
            switch,
            info: None,
            instances: None,
            infos: core.subscribe(&Key::Info(node.clone()).to_string()),
            asked: None,
            ask_at: Some(now),
            link: None,
            opening: None,
            slot: DialPermit::No,
            opened: None,
            mesh: core.channel(&key, ModulationBatch::LANE, Locality::Any),
            told: None,
        };
        let bell = core.ticker.bell();
        let inner = Arc::new(Inner {
            node: node.clone(),
            settings,
            core: Arc::downgrade(core),
            counted: CountGuard::among(&core.sessions.counted),
            waker: Arc::new(bell.clone()).into(),
            bell: bell.clone(),
            desk: Mutex::default(),
            hub: Mutex::new(hub),
            was_played: AtomicBool::new(false),
            is_resting: AtomicBool::new(true),
            answered: flume::bounded(ANSWERS),
            given: Mutex::new(info),
            status,
        });
        // With known info the instance begins before the caller sets a value, so that every value is checked.
        inner.find(core, &mut lock(&inner.hub), now);
        core.ticker.add(&inner, &bell);
        Self(inner)
    }

    /// Returns the visualization that is played.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.0.node
    }

    /// Returns the current status of the session.
    #[must_use]
    pub fn status(&self) -> PlayStatus {
        *lock(&self.0.status)
    }

    /// Returns whether a value was set within the last two seconds.
    #[must_use]
    pub fn is_played(&self) -> bool {
        !self.0.is_resting.load(Ordering::Acquire)
    }

    /// Supplies node info that the session would otherwise find by itself.
    ///
    /// Use it where the two nodes do not meet on the mesh, for example.
    pub fn found(&self, info: NodeInfo) {
        *lock(&self.0.given) = Some(info);
        self.0.bell.ring();
    }

    /// Returns the index of a parameter, for [`set_at`](Self::set_at).
    ///
    /// The index is stable for the lifetime of the session, even if the visualization restarts with other parameters.
    ///
    /// # Errors
    ///
    /// When the visualization has no such parameter or, before its parameters are known, when there are too many.
    pub fn place(&self, name: &ParameterName) -> Result<usize, ParameterError> {
        lock(&self.0.desk).place(name)
    }

    /// Sets a parameter, as of now. Never blocks, and allocates only on the first call for a parameter.
    ///
    /// A value set before the visualization is found is played when it appears, unless it is older than ten seconds.
    ///
    /// # Errors
    ///
    /// When the visualization has no such parameter, or the parameter does not accept the value.
    pub fn set(&self, name: &ParameterName, value: f32) -> Result<(), ParameterError> {
        let mut desk = lock(&self.0.desk);
        let place = desk.place(name)?;
        desk.set(place, value)?;
        drop(desk);
        self.0.was_set();
        Ok(())
    }

    /// Sets the parameter at an index, as of now. Neither blocks nor allocates.
    ///
    /// # Errors
    ///
    /// When there is no such index, the visualization no longer has that parameter, or it does not accept the value.
    pub fn set_at(&self, place: usize, value: f32) -> Result<(), ParameterError> {
        lock(&self.0.desk).set(place, value)?;
        self.0.was_set();
        Ok(())
    }
}

impl ValueBuffer {
    fn place(&mut self, name: &ParameterName) -> Result<usize, ParameterError> {
        if let Some(place) = self.places.get(name) {
            return Ok(*place);
        }
        let in_run = self.run.as_ref().map(|run| run.parameters.index(name)).transpose()?;
        let place = self.set.len();
        if place >= MOST_PLACES {
            return Err(ParameterError::NoPlace { place, count: MOST_PLACES });
        }
        self.places.insert(name.clone(), place);
        self.set.push(ParameterSlot { name: name.clone(), last: None, in_run });
        Ok(place)
    }

    fn set(&mut self, place: usize, value: f32) -> Result<(), ParameterError> {
        let count = self.set.len();
        let of_place = self.set.get_mut(place).ok_or(ParameterError::NoPlace { place, count })?;
        let now = steady_us();
        match &self.run {
            Some(run) => {
                let in_run = match of_place.in_run {
                    Some(in_run) => in_run,
                    // The error lists the known parameters.
                    None => run.parameters.index(&of_place.name)?,
                };
                run.parameters.check_at(in_run, value)?;
                run.stream.put(in_run, value, now);
            },
            None if !value.is_finite() => {
                return Err(ParameterError::NotFinite { name: of_place.name.clone() });
            },
            None => {},
        }
        of_place.last = Some((value, now));
        Ok(())
    }

    /// Switches to another instance, and sends it the values set since `since`.
    fn begin(&mut self, run: TargetInstance, since: i64) {
        let mut carried = vec![];
        for of_place in &mut self.set {
            of_place.in_run = run.parameters.index(&of_place.name).ok();
            let Some((value, at)) = of_place.last.filter(|(_, at)| *at >= since) else { continue };
            match of_place.in_run.map(|place| (place, run.parameters.check_at(place, value))) {
                Some((place, Ok(value))) => carried.push((place, value, at)),
                Some((_, Err(problem))) => tracing::warn!("not played: {problem}"),
                None => tracing::warn!("not played: there is no parameter '{}'", of_place.name),
            }
        }
        if let Some(before) = &self.run {
            before.stream.forget();
        }
        run.stream.restore(carried);
        self.run = Some(run);
    }
}

impl Inner {
    fn was_set(&self) {
        self.was_played.store(true, Ordering::Release);
        if self.is_resting.swap(false, Ordering::AcqRel) {
            self.bell.ring();
        }
    }

    /// Processes events and runs the resulting actions; returns the time of the next tick.
    fn look(
        &self,
        core: &Arc<NodeContext>,
        hub: &mut LinkManager,
        now: Instant,
    ) -> Option<Instant> {
        self.find(core, hub, now);
        let mut actions = vec![];
        hub.switch.share_with(self.counted.count());
        if let Some(opened) = hub.opening.as_ref().and_then(Pending::take) {
            hub.opening = None;
            hub.slot = DialPermit::No;
            let event = hub.opened(&self.node, opened);
            actions.extend(hub.switch.hear(event, now));
        }
        if hub.opening.as_ref().is_some_and(Pending::is_abandoned) {
            hub.opening = None;
            hub.slot = DialPermit::No;
            actions.extend(hub.switch.hear(PathEvent::NotOpened, now));
        }
        if hub.link.as_ref().is_some_and(|linked| !linked.link.is_held()) {
            actions.extend(hub.switch.hear(PathEvent::Closed, now));
        }
        while let Ok((number, at)) = self.answered.1.try_recv() {
            actions.extend(hub.switch.hear(PathEvent::Answered(number), at));
        }
        if self.was_played.swap(false, Ordering::AcqRel) {
            actions.extend(hub.switch.hear(PathEvent::Played, now));
        }
        actions.extend(hub.switch.tick(now));
        for action in actions {
            self.act(core, hub, action);
        }
        if matches!(hub.slot, DialPermit::Wanted) {
            self.open(core, hub);
        }
        *lock(&self.status) = hub.switch.status(now);
        self.is_resting.store(!hub.switch.is_played(now), Ordering::Release);
        if self.was_played.load(Ordering::Acquire) {
            // The value was set just before the session was marked as resting.
            self.is_resting.store(false, Ordering::Release);
            return Some(now);
        }
        let is_under_way = hub.opening.is_some() || hub.asked.is_some();
        let waits = (is_under_way || matches!(hub.slot, DialPermit::Wanted)).then(|| now + WAIT);
        hub.switch.due().into_iter().chain(hub.ask_at).chain(waits).min()
    }

    /// Opens a link, or waits for a permit if too many others are opening.
    fn open(&self, core: &Arc<NodeContext>, hub: &mut LinkManager) {
        let Some(info) = &hub.info else { return };
        let Some(slot) = core.sessions.slot() else {
            hub.slot = DialPermit::Wanted;
            return;
        };
        hub.slot = slot;
        hub.opening = Some(DirectLink::open(&core.config, &core.identity, &core.reception, info));
        // An unreachable visualization may have restarted without our receiving its new info.
        hub.ask(core, &self.node);
    }

    /// Determines the current instance of the visualization and its endpoints.
    fn find(&self, core: &Arc<NodeContext>, hub: &mut LinkManager, now: Instant) {
        let given = lock(&self.given).take();
        hub.infos.wake_by(&self.waker);
        let answers = hub.asked.as_ref().and_then(Pending::take);
        if answers.is_some() {
            hub.asked = None;
        }
        let answers = answers.into_iter().flatten().map(|received| received.message).collect();
        let published = hub.infos.messages().collect();
        let found = hub.instance_of(given, answers, published, now);
        if let Some(info) = found.filter(|info| hub.info.as_ref() != Some(info)) {
            let known = hub.info.as_ref();
            let is_same_run = known.is_some_and(|known| known.instance == info.instance);
            let has_moved = known.is_none_or(|known| known.play != info.play);
            if is_same_run {
                hub.info = Some(info);
                if has_moved {
                    let actions = hub.switch.hear(PathEvent::Moved, now);
                    for action in actions {
                        self.act(core, hub, action);
                    }
                }
            } else {
                self.begin_run(core, hub, info, now);
            }
        }
        if hub.info.is_none() && hub.ask_at.is_some_and(|at| at <= now) {
            hub.ask(core, &self.node);
            hub.ask_at = Some(now + ASK);
        }
    }

    fn begin_run(
        &self,
        core: &Arc<NodeContext>,
        hub: &mut LinkManager,
        info: NodeInfo,
        now: Instant,
    ) {
        let stream = match BatchStream::start(&info, Arc::clone(&hub.mesh), self.settings) {
            Ok(stream) => stream,
            Err(problem) => {
                tracing::error!(
                    "'{}' is not played: no thread can be started: {problem}",
                    self.node
                );
                hub.ask_at = Some(now + ASK);
                return;
            },
        };
        let parameters = Parameters::new(info.parameters.clone());
        let run = TargetInstance { parameters, stream };
        let since = steady_of(hub.switch.arrived(), now).max(steady_us() - CARRIED_US);
        lock(&self.desk).begin(run, since);
        hub.info = Some(info);
        hub.ask_at = None;
        hub.told = None;
        let actions = hub.switch.hear(PathEvent::Found, now);
        for action in actions {
            self.act(core, hub, action);
        }
    }

    fn act(&self, core: &Arc<NodeContext>, hub: &mut LinkManager, action: PathAction) {
        match action {
            PathAction::Open => self.open(core, hub),
            PathAction::UseLink => {
                let Some(link) = hub.opened.take() else { return };
                let bell = self.bell.clone();
                let gone = link.when_gone(move || bell.ring());
                let channel = link.frame_channel();
                hub.link = Some(OpenLink { link: Arc::new(link), channel, _gone: gone });
            },
            PathAction::Discard => hub.opened = None,
            PathAction::Close => hub.link = None,
            PathAction::Probe { way, number } => {
                let worker = match (way, &hub.link) {
                    (PlayPath::Direct, Some(linked)) => linked.link.worker(),
                    (PlayPath::Direct, None) => return,
                    (PlayPath::Mesh, _) => &core.worker,
                };
                let run = hub.info.as_ref().map_or(0, |info| info.instance);
                self.ask(worker, &core.identity, run, number);
            },
            PathAction::SwitchPath { way, since } => {
                let (channel, link) = match (way, &hub.link) {
                    (PlayPath::Direct, Some(linked)) => (&linked.channel, Some(&linked.link)),
                    _ => (&hub.mesh, None),
                };
                tracing::debug!("'{}' is played by this way now: {way}", self.node);
                if let Some(run) = &lock(&self.desk).run {
                    let since = steady_of(since, Instant::now());
                    run.stream.turn_to(Arc::clone(channel), link.cloned(), since);
                }
            },
            PathAction::RetransmitSince { since } => {
                if let Some(run) = &lock(&self.desk).run {
                    run.stream.retransmit_since(steady_of(since, Instant::now()));
                }
            },
        }
    }

    /// Pings the visualization over one of the paths.
    fn ask(&self, worker: &SessionWorker, identity: &SenderIdentity, run: u64, number: u64) {
        let key = Key::Control(self.node.clone()).to_string();
        let attachment = identity.envelope(0).encode().unwrap_or_default();
        let Ok(payload) = codec::encode(&Control::from(Ping {})) else { return };
        let (answered, bell) = (self.answered.0.clone(), self.bell.clone());
        worker.run(move |session| {
            let hear = move |reply: Reply| {
                let Ok(sample) = reply.result() else { return };
                // A reply of another instance does not confirm what this one received.
                let by = envelope_of(sample.attachment()).map(|by| by.instance);
                if by.is_none_or(|by| by == run) {
                    // A full queue means that it is no longer read.
                    answered.try_send((number, Instant::now())).ok();
                    bell.ring();
                }
            };
            let attachment = Some(attachment.into());
            let (lane, within) = (Control::LANE, PathSelector::LOST);
            let asked = query::ask(session, &key, payload, attachment, lane, within, hear);
            if let Err(problem) = asked {
                tracing::debug!("{key}: not asked: {problem}");
            }
        });
    }
}

impl LinkManager {
    /// Selects the info of the instance to play among those found.
    ///
    /// Of two instances it is the one that was unknown before, even if its number is smaller. Published info takes
    /// precedence over replies, and replies over info from the program, which may be outdated.
    fn instance_of(
        &mut self,
        given: Option<NodeInfo>,
        mut answers: Vec<NodeInfo>,
        published: Vec<NodeInfo>,
        now: Instant,
    ) -> Option<NodeInfo> {
        let instances = &mut self.instances;
        let has_returned = |info: &NodeInfo| {
            let turn = instances.as_ref().map(|of| of.judge(info.instance, u64::MAX, now));
            matches!(turn, Some(Turn::Returned { .. }))
        };
        let given = given.filter(|info| !has_returned(info));
        // The current instance is still present, so replies of another node with the same id do not count.
        let known = self.info.as_ref().map(|info| info.instance);
        if answers.iter().any(|info| Some(info.instance) == known) {
            answers.retain(|info| Some(info.instance) == known);
        }
        let mut believed = None;
        for info in given.into_iter().chain(answers).chain(published) {
            let of_first = || Succession::new(info.instance, now);
            if info.role == Role::Visualization
                && instances.get_or_insert_with(of_first).admit(info.instance, now)
            {
                believed = Some(info);
            }
        }
        believed
    }

    fn ask(&mut self, core: &Arc<NodeContext>, node: &NodeId) {
        let key = Key::Info(node.clone()).to_string();
        self.asked = Some(core.ask(key, ASK));
    }

    /// Handles the outcome of opening a link.
    fn opened(&mut self, node: &NodeId, opened: Result<DirectLink, DirectLinkError>) -> PathEvent {
        match opened {
            // The link leads to an instance that is gone.
            Ok(link) if self.info.as_ref().is_none_or(|info| info.instance != link.run()) => {
                PathEvent::NotOpened
            },
            Ok(link) => {
                self.opened = Some(link);
                self.told = None;
                PathEvent::Opened
            },
            Err(problem) => {
                let problem = error_chain(&problem);
                if self.told.as_ref() != Some(&problem) {
                    tracing::warn!("'{node}' is played over the mesh: {problem}");
                    self.told = Some(problem);
                }
                PathEvent::NotOpened
            },
        }
    }
}

impl Timer for Inner {
    fn tick(&self, now: Instant) -> Option<Instant> {
        let core = self.core.upgrade()?;
        self.look(&core, &mut lock(&self.hub), now)
    }
}

/// Permission to open a link; the number of permits per node is limited.
enum DialPermit {
    /// No permit is wanted.
    No,
    /// A permit is wanted as soon as one is free.
    Wanted,
    /// A permit is held; dropping it frees it.
    Had(Arc<AtomicUsize>),
}

impl Drop for DialPermit {
    fn drop(&mut self) {
        if let Self::Had(taken) = self {
            taken.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Counts one session for as long as it exists.
struct CountGuard(Arc<AtomicUsize>);

impl CountGuard {
    fn among(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(all))
    }

    /// Returns the number of sessions.
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The play sessions of a node.
#[derive(Default)]
pub(crate) struct PlaySessions {
    counted: Arc<AtomicUsize>,
    sessions: Mutex<BTreeMap<NodeId, Weak<Inner>>>,
    opening: Arc<AtomicUsize>,
}

impl PlaySessions {
    /// Returns the session with a visualization; there is only one for each.
    pub(crate) fn with(
        &self,
        core: &Arc<NodeContext>,
        node: &NodeId,
        settings: BatcherSettings,
        info: Option<NodeInfo>,
    ) -> PlaySession {
        let mut sessions = lock(&self.sessions);
        sessions.retain(|_, inner| inner.strong_count() > 0);
        if let Some(inner) = sessions.get(node).and_then(Weak::upgrade) {
            let session = PlaySession(inner);
            if let Some(info) = info {
                session.found(info);
            }
            return session;
        }
        let session = PlaySession::begin(core, node, settings, info);
        sessions.insert(node.clone(), Arc::downgrade(&session.0));
        session
    }

    /// Returns a permit to open a link, if one is free.
    fn slot(&self) -> Option<DialPermit> {
        let free = |taken| (taken < MOST_OPENING).then_some(taken + 1);
        let taken = self.opening.fetch_update(Ordering::AcqRel, Ordering::Acquire, free);
        taken.is_ok().then(|| DialPermit::Had(Arc::clone(&self.opening)))
    }

    /// Returns the status of each visualization that is played.
    pub(crate) fn statuses(&self) -> BTreeMap<NodeId, PlayStatus> {
        let sessions = lock(&self.sessions);
        let there = sessions.iter().filter_map(|(node, inner)| Some((node, inner.upgrade()?)));
        let statuses = there.map(|(node, inner)| (node.clone(), *lock(&inner.status))).collect();
        drop(sessions);
        statuses
    }
}

/// Converts a time to microseconds of the steady clock, minus a margin; `None` becomes the earliest time.
fn steady_of(since: Option<Instant>, now: Instant) -> i64 {
    since.map_or(i64::MIN, |since| {
        // A value set shortly before may not have been sent by then.
        let passed = (now.saturating_duration_since(since) + PathSelector::SENT).as_micros();
        steady_us() - i64::try_from(passed).unwrap_or(i64::MAX)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
