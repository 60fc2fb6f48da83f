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

/// Tempo and beat on this machine, on the clock of [`local_us`].
///
/// Clones share the timeline. Reading it never blocks and is cheap enough for every frame.
///
/// The timeline comes from this machine's daemon. On a machine without a daemon it comes from another host, converted
/// with an estimate of the offset of its clock. When messages stop arriving, the beat continues at its last tempo.
#[derive(Clone)]
pub struct TimelineHandle {
    heard: Arc<TimelineCell>,
    _own: Arc<RegistrationGuard>,
    _distant: Arc<RemoteTimeline>,
}

/// The timeline as far as it is known here.
#[derive(Default)]
pub(crate) struct TimelineCell {
    course: RwLock<Option<TempoMap>>,
    said: Mutex<Option<HostTimeline>>,
}

/// Time limit for the daemon to reply with its timeline.
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

    /// Returns the timeline that applies now, on the clock of [`local_us`]; `None` before one is received.
    ///
    /// A timeline applies until it changes, so a loop reads it anew in each iteration. Neither blocks nor allocates.
    #[must_use]
    pub fn now(&self) -> Option<Timeline> {
        self.at(local_us())
    }

    /// Returns the timeline that applies at a time of [`local_us`], as far as it is known. Neither blocks nor
    /// allocates.
    #[must_use]
    pub fn at(&self, at_us: i64) -> Option<Timeline> {
        let course = *self.heard.course.read().unwrap_or_else(PoisonError::into_inner);
        course.map(|course| course.at(at_us))
    }

    /// Returns the last message received: the source of the timeline, its participants and its accuracy. Does not
    /// block.
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

    /// Changes the known tempo map.
    pub(crate) fn steer(&self, steer: impl FnOnce(Option<TempoMap>) -> TempoMap) {
        let mut course = self.course.write().unwrap_or_else(PoisonError::into_inner);
        *course = Some(steer(*course));
    }

    /// Stores the last message received.
    pub(crate) fn say(&self, said: HostTimeline) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }
}

/// Subscribes to the timeline of the daemon of `host`, and queries its current one.
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
