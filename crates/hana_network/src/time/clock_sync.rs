use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hana_engine::delivery::{Admission, TokenBucket};
use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::wire::codec::Encoding;
use hana_protocol::wire::{Message, codec};
use hana_time::{ClockEstimate, ClockOffset, ClockReading, ClockSample};
use zenoh::Wait;
use zenoh::bytes::ZBytes;
use zenoh::query::{Query, Reply};

use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::time::local_clock::local_us;
use crate::transport::admission::AdmissionFilter;
use crate::transport::inbound::{InboundStats, admitted};
use crate::transport::query;
use crate::transport::send_queue::SenderIdentity;
use crate::transport::timer::{Timer, TimerThread};

/// Queries the clock of another host's daemon until it is dropped.
///
/// It sends a quick series of queries first, then four per second, and two per second after half a minute.
pub struct ClockSync {
    asking: Arc<ClockPoller>,
}

struct ClockPoller {
    key: String,
    worker: SessionWorker,
    reception: InboundStats,
    gate: Arc<AdmissionFilter>,
    clock: Arc<Mutex<ClockOffset>>,
    effort: Arc<SendOverhead>,
    round: Mutex<PollSchedule>,
}

/// The minimum time that a Zenoh put or get call takes.
///
/// It is subtracted from timestamps: a query takes longer than a reply, and the asymmetry would bias the offset by
/// half of the difference.
#[derive(Default)]
struct SendOverhead(Mutex<Option<i64>>);

/// Number of queries sent, and the time of the next one.
struct PollSchedule {
    asked: u32,
    due: Instant,
}

/// Number of queries in the quick series at the start, which makes the timeline available soon.
const FIRST: u32 = 16;
/// Number of queries before there is an estimate.
const ENOUGH: u32 = 8;
/// Interval of the quick series.
const SOON: Duration = Duration::from_millis(40);
/// Interval after the quick series.
const PERIOD: Duration = Duration::from_millis(250);
/// Interval once there are enough samples to estimate the drift.
const SETTLED: Duration = Duration::from_millis(500);
/// Number of queries before `SETTLED` applies: about half a minute of them.
const UNTIL_SETTLED: u32 = 128;
/// Query timeout. A later reply has no value, and Zenoh logs a warning for it.
const PATIENCE: Duration = Duration::from_secs(2);

impl ClockSync {
    pub(crate) fn start(
        worker: &SessionWorker,
        reception: &InboundStats,
        ticker: &TimerThread,
        host: &NodeId,
    ) -> Self {
        let asking = Arc::new(ClockPoller {
            key: Key::Clock(host.clone()).to_string(),
            worker: worker.clone(),
            reception: reception.clone(),
            gate: Arc::new(AdmissionFilter::of_answers::<ClockReading>()),
            clock: Arc::default(),
            effort: Arc::default(),
            round: Mutex::new(PollSchedule { asked: 0, due: Instant::now() }),
        });
        ticker.add(&asking, &ticker.bell());
        Self { asking }
    }

    /// Returns the current estimate, or `None` before the first queries are done, which take longest. Does not block.
    #[must_use]
    pub fn estimate(&self) -> Option<ClockEstimate> {
        let asked = lock(&self.asking.round).asked;
        if asked < ENOUGH { None } else { lock(&self.asking.clock).estimate() }
    }
}

impl Timer for ClockPoller {
    fn tick(&self, now: Instant) -> Option<Instant> {
        let mut round = lock(&self.round);
        if now >= round.due {
            round.asked = round.asked.saturating_add(1);
            round.due = now
                + match round.asked {
                    ..FIRST => SOON,
                    FIRST..UNTIL_SETTLED => PERIOD,
                    _ => SETTLED,
                };
            self.ask();
        }
        Some(round.due)
    }
}

impl ClockPoller {
    fn ask(&self) {
        let (key, gate, clock) =
            (self.key.clone(), Arc::clone(&self.gate), Arc::clone(&self.clock));
        let (reception, effort) = (self.reception.clone(), Arc::clone(&self.effort));
        self.worker.run(move |session| {
            let begun_us = local_us();
            let asked_us = effort.over_after(begun_us);
            let answer = move |reply: Reply| {
                let answered_us = local_us();
                let Ok(sample) = reply.result() else { return };
                let raw = admitted(sample, ClockReading::MAX_BYTES, &gate, &reception);
                let reading = raw.and_then(|raw| reception.decode::<ClockReading>(&raw));
                if let Some(reading) = reading {
                    lock(&clock).take(ClockSample { asked_us, reading, answered_us });
                }
            };
            let lane = ClockReading::LANE;
            let asked = query::ask(session, &key, ZBytes::new(), None, lane, PATIENCE, answer);
            if let Err(problem) = asked {
                tracing::debug!("{key}: Zenoh does not ask: {problem}");
            }
            effort.note(local_us() - begun_us);
        });
    }
}

impl SendOverhead {
    /// Returns the earliest time at which a message passed to Zenoh now leaves: after three quarters of the call.
    ///
    /// It leaves before the call returns.
    fn over_after(&self, begun_us: i64) -> i64 {
        begun_us.saturating_add(lock(&self.0).unwrap_or(0) / 4 * 3)
    }

    /// Records the duration of one call.
    fn note(&self, took_us: i64) {
        let mut least = lock(&self.0);
        *least = Some(least.map_or(took_us, |least| least.min(took_us)).max(0));
    }
}

/// Replies to queries for the clock of this host.
pub(crate) fn answer(
    worker: &SessionWorker,
    identity: &SenderIdentity,
    host: &NodeId,
) -> RegistrationGuard {
    let key = Key::Clock(host.clone()).to_string();
    let (answering, identity) = (worker.clone(), identity.clone());
    let limit = TokenBucket::new(ClockReading::MAX_PER_SECOND, Instant::now());
    let (limit, effort) = (Arc::new(Mutex::new(limit)), Arc::new(SendOverhead::default()));
    worker.declare(key.clone(), move |session| {
        let (worker, limit, key) = (answering.clone(), Arc::clone(&limit), key.clone());
        let (identity, declared, effort) = (identity.clone(), key.clone(), Arc::clone(&effort));
        let callback = move |query: Query| {
            // Read first, so that the reported times include everything after it.
            let received_us = local_us();
            if lock(&limit).admit(Instant::now()) == Admission::Over {
                return;
            }
            let Ok(attachment) = identity.envelope(0).encode() else { return };
            let (key, effort) = (key.clone(), Arc::clone(&effort));
            worker.answer(query, move |_, query| {
                let begun_us = local_us();
                let reading = ClockReading { received_us, sent_us: effort.over_after(begun_us) };
                let Ok(payload) = codec::encode(&reading) else { return };
                let reply = query
                    .reply(key, payload)
                    .encoding(Encoding::MESSAGE_PACK)
                    .attachment(attachment)
                    .wait();
                if let Err(problem) = reply {
                    tracing::debug!("a question for the clock was not answered: {problem}");
                }
                effort.note(local_us() - begun_us);
            });
        };
        Ok(Box::new(session.declare_queryable(&declared).complete(true).callback(callback).wait()?))
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
