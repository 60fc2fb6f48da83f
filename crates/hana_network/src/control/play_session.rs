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

/// One app or bridge that plays one visualization, for as long as it likes.
///
/// What is set goes over a direct link as soon as one is open, over the mesh until then and whenever something is in the
/// link's way, and over the link again when it can; when the visualization is started again, to its new run. The
/// program has nothing to do for that. No value is played twice, or after a newer one: each has the time at which it was set.
/// What may have got lost where the way changed is said again; of each parameter the newest value alone.
///
/// Nothing here blocks. Cheap to clone; when the last one is dropped, what is left is sent and the link closes.
#[derive(Clone)]
pub struct PlaySession(Arc<Inner>);

struct Inner {
    node: NodeId,
    settings: BatcherSettings,
    core: Weak<NodeContext>,
    /// Among the sessions of its node.
    counted: CountGuard,
    bell: TimerWaker,
    /// Rings it when an info comes.
    waker: Waker,
    desk: Mutex<ValueBuffer>,
    hub: Mutex<LinkManager>,
    /// Something was set since it was looked at last.
    was_played: AtomicBool,
    /// Nobody looks soon, since nothing is played.
    is_resting: AtomicBool,
    answered: (flume::Sender<Answered>, flume::Receiver<Answered>),
    /// What the program knows of the visualization.
    given: Mutex<Option<NodeInfo>>,
    status: Mutex<PlayStatus>,
}

/// A question that was answered, and when.
type Answered = (u64, Instant);

/// What is set, and where it goes; held for nanoseconds by who sets.
#[derive(Default)]
struct ValueBuffer {
    /// The place of each parameter, for as long as the session lives.
    places: HashMap<ParameterName, usize>,
    set: Vec<ParameterSlot>,
    /// The run that is played, once it is known.
    run: Option<TargetInstance>,
}

struct ParameterSlot {
    name: ParameterName,
    /// What was set last, and when, in microseconds of the steady clock.
    last: Option<(f32, i64)>,
    /// Where this run of the visualization has it, if it does.
    in_run: Option<usize>,
}

struct TargetInstance {
    parameters: Parameters,
    stream: BatchStream,
}

/// What looks after the way.
struct LinkManager {
    switch: PathSelector,
    info: Option<NodeInfo>,
    /// Which instance that is of, and which ones were before it.
    instances: Option<Succession>,
    infos: Subscription<Received<NodeInfo>>,
    asked: Option<Pending<Vec<Received<NodeInfo>>>>,
    /// When its info is asked for next, while it is not known.
    ask_at: Option<Instant>,
    link: Option<OpenLink>,
    opening: Option<Pending<Result<DirectLink, DirectLinkError>>>,
    /// The place that it has among the links of the node which are being opened.
    slot: DialPermit,
    opened: Option<DirectLink>,
    mesh: Arc<OutgoingTopic>,
    /// Why there is no link; said once.
    told: Option<String>,
}

struct OpenLink {
    link: Arc<DirectLink>,
    channel: Arc<OutgoingTopic>,
    _gone: RegistrationGuard,
}

/// How long the question for its info may take.
const ASK: Duration = Duration::from_secs(1);
/// Parameters that are set before it is known which ones there are.
const MOST_PLACES: usize = ModulationBatch::MAX_PARAMETERS;
/// Links of a node that are opened at once: each takes some threads and some milliseconds of both ends.
const MOST_OPENING: usize = 4;
/// How long a session that opens one, or would like to, or has asked, waits before it looks again.
const WAIT: Duration = Duration::from_millis(20);
/// Answers that wait to be looked at.
const ANSWERS: usize = 64;
/// What was set longer ago is not said to a run that begins, microseconds: it is the visualization's daemon that knows its look.
const CARRIED_US: i64 = 10_000_000;

impl PlaySession {
    pub(crate) fn begin(
        core: &Arc<NodeContext>,
        node: &NodeId,
        settings: BatcherSettings,
        info: Option<NodeInfo>,
    ) -> Self {
        let now = Instant::now();
        let key = Key::ModulationFrame(node.clone());
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
        // With a known info the run begins before the caller sets anything, so that each value is checked from the first on.
        inner.find(core, &mut lock(&inner.hub), now);
        core.ticker.add(&inner, &bell);
        Self(inner)
    }

    /// The visualization that is played.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.0.node
    }

    /// How it is played just now.
    #[must_use]
    pub fn status(&self) -> PlayStatus {
        *lock(&self.0.status)
    }

    /// Whether anything was set within the last two seconds.
    #[must_use]
    pub fn is_played(&self) -> bool {
        !self.0.is_resting.load(Ordering::Acquire)
    }

    /// Tells it what the program knows of the visualization, which it else finds out by itself: where the two do not meet on
    /// the mesh, say.
    pub fn found(&self, info: NodeInfo) {
        *lock(&self.0.given) = Some(info);
        self.0.bell.ring();
    }

    /// The place of a parameter, for [`set_at`](Self::set_at). It stays the same for as long as the session lives, also
    /// when the visualization is started again with others.
    ///
    /// # Errors
    ///
    /// When the visualization has no such parameter; before it is known which ones there are, when there are too many.
    pub fn place(&self, name: &ParameterName) -> Result<usize, ParameterError> {
        lock(&self.0.desk).place(name)
    }

    /// Sets a parameter, as of now. Neither blocks nor allocates, but for the first time.
    ///
    /// Before the visualization has been found it waits: it is played once that is there, if it is newer than ten seconds.
    ///
    /// # Errors
    ///
    /// When the visualization has no such parameter, or the parameter does not take the value.
    pub fn set(&self, name: &ParameterName, value: f32) -> Result<(), ParameterError> {
        let mut desk = lock(&self.0.desk);
        let place = desk.place(name)?;
        desk.set(place, value)?;
        drop(desk);
        self.0.was_set();
        Ok(())
    }

    /// Sets the parameter at a place, as of now. Neither blocks nor allocates.
    ///
    /// # Errors
    ///
    /// When there is no such place, the visualization does not have that parameter any more, or it does not take the value.
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
                    // Says which ones there are.
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

    /// Another run is played from now on; what was set since `since` is carried over to it.
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
        run.stream.recall(carried);
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

    /// Looks for what has happened, and does what is to be done about it.
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
            // It was set just before it was said that nobody looks.
            self.is_resting.store(false, Ordering::Release);
            return Some(now);
        }
        let is_under_way = hub.opening.is_some() || hub.asked.is_some();
        let waits = (is_under_way || matches!(hub.slot, DialPermit::Wanted)).then(|| now + WAIT);
        hub.switch.due().into_iter().chain(hub.ask_at).chain(waits).min()
    }

    /// Opens a link, once not too many others are being opened.
    fn open(&self, core: &Arc<NodeContext>, hub: &mut LinkManager) {
        let Some(info) = &hub.info else { return };
        let Some(slot) = core.sessions.slot() else {
            hub.slot = DialPermit::Wanted;
            return;
        };
        hub.slot = slot;
        hub.opening = Some(DirectLink::open(&core.config, &core.identity, &core.reception, info));
        // Where it could not be reached it may have been started again, and nobody told us.
        hub.ask(core, &self.node);
    }

    /// Finds out which run of the visualization is there, and where.
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
            PathAction::Adopt => {
                let Some(link) = hub.opened.take() else { return };
                let bell = self.bell.clone();
                let gone = link.when_gone(move || bell.ring());
                let channel = link.frame_channel();
                hub.link = Some(OpenLink { link: Arc::new(link), channel, _gone: gone });
            },
            PathAction::Discard => hub.opened = None,
            PathAction::Close => hub.link = None,
            PathAction::Ask { way, number } => {
                let worker = match (way, &hub.link) {
                    (PlayPath::Direct, Some(linked)) => linked.link.worker(),
                    (PlayPath::Direct, None) => return,
                    (PlayPath::Mesh, _) => &core.worker,
                };
                let run = hub.info.as_ref().map_or(0, |info| info.instance);
                self.ask(worker, &core.identity, run, number);
            },
            PathAction::TurnTo { way, since } => {
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
            PathAction::SayAgain { since } => {
                if let Some(run) = &lock(&self.desk).run {
                    run.stream.say_again(steady_of(since, Instant::now()));
                }
            },
        }
    }

    /// Asks whether it is there, by one of the ways.
    fn ask(&self, worker: &SessionWorker, identity: &SenderIdentity, run: u64, number: u64) {
        let key = Key::Control(self.node.clone()).to_string();
        let attachment = identity.envelope(0).encode().unwrap_or_default();
        let Ok(payload) = codec::encode(&Control::from(Ping {})) else { return };
        let (answered, bell) = (self.answered.0.clone(), self.bell.clone());
        worker.run(move |session| {
            let hear = move |reply: Reply| {
                let Ok(sample) = reply.result() else { return };
                // Another run says nothing of what this one has heard.
                let by = envelope_of(sample.attachment()).map(|by| by.instance);
                if by.is_none_or(|by| by == run) {
                    // Full means that nobody looks any more.
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
    /// Of what was found, what the instance to play says: of two it is the one that was not known before, whichever has the
    /// larger number. What is published counts more than answers, and these more than what the program knows, which may be late.
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
        // The one that is played is there still, and another one calls itself the same.
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

    /// What became of the link that was to be opened.
    fn opened(&mut self, node: &NodeId, opened: Result<DirectLink, DirectLinkError>) -> PathEvent {
        match opened {
            // It leads to a run that is gone.
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

/// A place among the links of a node that are being opened.
enum DialPermit {
    /// None is wanted.
    No,
    /// As soon as there is one.
    Wanted,
    /// It is had, and given back when this is dropped.
    Had(Arc<AtomicUsize>),
}

impl Drop for DialPermit {
    fn drop(&mut self) {
        if let Self::Had(taken) = self {
            taken.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// One more session, as long as it is there.
struct CountGuard(Arc<AtomicUsize>);

impl CountGuard {
    fn among(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(all))
    }

    /// How many there are.
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The sessions of a node.
#[derive(Default)]
pub(crate) struct PlaySessions {
    counted: Arc<AtomicUsize>,
    sessions: Mutex<BTreeMap<NodeId, Weak<Inner>>>,
    opening: Arc<AtomicUsize>,
}

impl PlaySessions {
    /// The session with a visualization; there is one for each.
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

    /// A place among the links that are being opened.
    fn slot(&self) -> Option<DialPermit> {
        let free = |taken| (taken < MOST_OPENING).then_some(taken + 1);
        let taken = self.opening.fetch_update(Ordering::AcqRel, Ordering::Acquire, free);
        taken.is_ok().then(|| DialPermit::Had(Arc::clone(&self.opening)))
    }

    /// How each visualization is played.
    pub(crate) fn statuses(&self) -> BTreeMap<NodeId, PlayStatus> {
        let sessions = lock(&self.sessions);
        let there = sessions.iter().filter_map(|(node, inner)| Some((node, inner.upgrade()?)));
        let statuses = there.map(|(node, inner)| (node.clone(), *lock(&inner.status))).collect();
        drop(sessions);
        statuses
    }
}

/// In microseconds of the steady clock, and a little before; of nothing, before everything.
fn steady_of(since: Option<Instant>, now: Instant) -> i64 {
    since.map_or(i64::MIN, |since| {
        // What was set shortly before may not have been on its way by then.
        let passed = (now.saturating_duration_since(since) + PathSelector::SENT).as_micros();
        steady_us() - i64::try_from(passed).unwrap_or(i64::MAX)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
