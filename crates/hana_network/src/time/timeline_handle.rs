use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::message::HostTimeline;
use hana_protocol::wire::Message;
use hana_time::{TempoMap, Timeline};
use zenoh::Wait;
use zenoh::bytes::ZBytes;
use zenoh::sample::Sample;

use crate::session::connection::ConnectionWatch;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::time::local_clock::local_us;
use crate::time::remote_timeline::RemoteTimeline;
use crate::transport::admission::AdmissionFilter;
use crate::transport::inbound::{InboundStats, admitted};
use crate::transport::query;
use crate::transport::timer::TimerThread;

/// Tempo and beat as they are on this machine, on [`local_us`]. Clones share it; reading it is cheap enough for every frame,
/// and waits for nobody.
///
/// It is what the daemon of this machine says. On a machine without one it is what another host says, by an estimate of how
/// its clock goes. When nothing is heard any more, beats go on as they last were.
#[derive(Clone)]
pub struct TimelineHandle {
    heard: Arc<TimelineCell>,
    _own: Arc<RegistrationGuard>,
    _distant: Arc<RemoteTimeline>,
}

/// What is known of the timeline here.
#[derive(Default)]
pub(crate) struct TimelineCell {
    course: RwLock<Option<TempoMap>>,
    said: Mutex<Option<HostTimeline>>,
}

/// How long the daemon may take to say what it is.
const ASK: Duration = Duration::from_secs(2);

impl TimelineHandle {
    pub(crate) fn start(
        worker: &SessionWorker,
        reception: &InboundStats,
        ticker: &TimerThread,
        connection: &ConnectionWatch,
        host: &NodeId,
    ) -> Self {
        let heard = Arc::new(TimelineCell::default());
        let distant = RemoteTimeline::start(worker, reception, ticker, connection, &heard);
        let of_own = Arc::clone(&heard);
        let own = hear_host(worker, reception, host, move |said| of_own.hear(said));
        Self { heard, _own: Arc::new(own), _distant: distant }
    }

    /// The timeline that holds now, on [`local_us`]; `None` while nobody has said one. It holds until something changes, so
    /// a loop takes it anew in each round. Does not block, nor allocate.
    #[must_use]
    pub fn now(&self) -> Option<Timeline> {
        self.at(local_us())
    }

    /// The timeline that holds at a time of [`local_us`], as far as that is known. Does not block, nor allocate.
    #[must_use]
    pub fn at(&self, at_us: i64) -> Option<Timeline> {
        let course = *self.heard.course.read().unwrap_or_else(PoisonError::into_inner);
        course.map(|course| course.at(at_us))
    }

    /// What was said last: where it comes from, with whom it is shared, how exact it is. Does not block.
    #[must_use]
    pub fn said(&self) -> Option<HostTimeline> {
        self.heard.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl TimelineCell {
    fn hear(&self, said: HostTimeline) {
        let now = local_us();
        self.steer(|known| {
            let known = known.map(|known| known.since(now));
            said.continues(known).or(known).unwrap_or(TempoMap::of(Timeline::DEFAULT))
        });
        self.say(said);
    }

    /// Changes the course that is known.
    pub(crate) fn steer(&self, steer: impl FnOnce(Option<TempoMap>) -> TempoMap) {
        let mut course = self.course.write().unwrap_or_else(PoisonError::into_inner);
        *course = Some(steer(*course));
    }

    /// Takes note of what was said.
    pub(crate) fn say(&self, said: HostTimeline) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }
}

/// Hears what the daemon of `host` says, and asks it what it said before.
pub(crate) fn hear_host(
    worker: &SessionWorker,
    reception: &InboundStats,
    host: &NodeId,
    hear: impl Fn(HostTimeline) + Send + Sync + 'static,
) -> RegistrationGuard {
    let key = Key::Timeline(host.clone()).to_string();
    let gate = Arc::new(AdmissionFilter::of::<HostTimeline>());
    let (hear, reception) = (Arc::new(hear), reception.clone());
    worker.declare(key.clone(), move |session| {
        let (hear, reception, gate) = (Arc::clone(&hear), reception.clone(), Arc::clone(&gate));
        let take = move |sample: &Sample| {
            let raw = admitted(sample, HostTimeline::MAX_BYTES, &gate, &reception);
            let Some(said) = raw.and_then(|raw| reception.decode::<HostTimeline>(&raw)) else {
                return;
            };
            reception.counters.received(HostTimeline::LANE);
            hear(said);
        };
        let of_question = take.clone();
        let subscriber =
            session.declare_subscriber(&key).callback(move |sample| take(&sample)).wait()?;
        let answer = move |reply: zenoh::query::Reply| {
            if let Ok(sample) = reply.result() {
                of_question(sample);
            }
        };
        query::ask(session, &key, ZBytes::new(), None, HostTimeline::LANE, ASK, answer)?;
        Ok(Box::new(subscriber))
    })
}
