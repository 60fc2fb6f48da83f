use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::lock::Mutex;
use hana_engine::delivery::{Admission, TokenBucket};
use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::wire::codec::Encoding;
use hana_protocol::wire::{Message, codec};
use hana_time::{ClockEstimate, ClockOffset, ClockReading, ClockSample};
use zenoh::Wait;
use zenoh::bytes::ZBytes;
use zenoh::query::Reply;

use crate::clock::local_clock::local_us;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::sync::timer::{Timer, TimerThread};
use crate::transport::inbound::admission::AdmissionFilter;
use crate::transport::inbound::inbound_stats::InboundStats;
use crate::transport::outbound::sender_identity::SenderIdentity;
use crate::transport::query;

/// Queries the clock of another host's daemon until it is dropped.
///
/// It first sends a quick series of queries, then four per second, and after half a minute two per second.
pub struct ClockSync {
    poller: Arc<ClockPoller>,
}

struct ClockPoller {
    key: String,
    worker: SessionWorker,
    inbound: InboundStats,
    filter: Arc<AdmissionFilter>,
    clock: Arc<Mutex<ClockOffset>>,
    overhead: Arc<SendOverhead>,
    schedule: Mutex<PollSchedule>,
}

/// The minimum duration of a Zenoh put or get call.
///
/// It is subtracted from timestamps: a query takes longer to send than a reply, and this asymmetry would shift the
/// offset by half of the difference.
#[derive(Default)]
struct SendOverhead(Mutex<Option<i64>>);

/// The number of queries sent, and the time of the next query.
struct PollSchedule {
    sent: u32,
    due: Instant,
}

/// The number of queries in the quick series, which makes the timeline available soon.
const INITIAL_QUERIES: u32 = 16;
/// The number of queries that must be sent before there is an estimate.
const MIN_QUERIES: u32 = 8;
/// The interval between queries in the quick series.
const INITIAL_INTERVAL: Duration = Duration::from_millis(40);
/// The interval between queries after the quick series.
const INTERVAL: Duration = Duration::from_millis(250);
/// The interval between queries once there are enough samples to estimate the drift.
const SETTLED_INTERVAL: Duration = Duration::from_millis(500);
/// The number of queries after which `SETTLED_INTERVAL` applies, about half a minute.
const SETTLED_AFTER: u32 = 128;
/// The timeout of a query. A later reply has no value, and Zenoh logs a warning about it.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

impl ClockSync {
    pub(crate) fn start(
        worker: &SessionWorker,
        inbound: &InboundStats,
        timer: &TimerThread,
        host: &NodeId,
    ) -> Self {
        let poller = Arc::new(ClockPoller {
            key: Key::Clock(host.clone()).to_string(),
            worker: worker.clone(),
            inbound: inbound.clone(),
            filter: Arc::new(AdmissionFilter::for_replies::<ClockReading>()),
            clock: Arc::default(),
            overhead: Arc::default(),
            schedule: Mutex::new(PollSchedule { sent: 0, due: Instant::now() }),
        });
        timer.add(&poller, &timer.waker());
        Self { poller }
    }

    /// Returns the current estimate, or `None` until enough queries have been sent. Does not block.
    #[must_use]
    pub fn estimate(&self) -> Option<ClockEstimate> {
        let sent = self.poller.schedule.lock().sent;
        if sent < MIN_QUERIES { None } else { self.poller.clock.lock().estimate() }
    }
}

impl Timer for ClockPoller {
    fn tick(&self, now: Instant) -> Option<Instant> {
        let mut schedule = self.schedule.lock();
        if now >= schedule.due {
            schedule.sent = schedule.sent.saturating_add(1);
            schedule.due = now
                + match schedule.sent {
                    ..INITIAL_QUERIES => INITIAL_INTERVAL,
                    INITIAL_QUERIES..SETTLED_AFTER => INTERVAL,
                    _ => SETTLED_INTERVAL,
                };
            self.query();
        }
        Some(schedule.due)
    }
}

impl ClockPoller {
    fn query(&self) {
        let (key, filter, clock) =
            (self.key.clone(), Arc::clone(&self.filter), Arc::clone(&self.clock));
        let (inbound, overhead) = (self.inbound.clone(), Arc::clone(&self.overhead));
        self.worker.run(move |session| {
            let begun_us = local_us();
            let asked_us = overhead.sent_at(begun_us);
            let answer = move |reply: Reply| {
                let answered_us = local_us();
                let Ok(sample) = reply.result() else { return };
                let raw = inbound.admit_sample(sample, ClockReading::MAX_BYTES, &filter);
                let reading = raw.and_then(|raw| inbound.decode::<ClockReading>(&raw));
                if let Some(reading) = reading {
                    clock.lock().take(ClockSample { asked_us, reading, answered_us });
                }
            };
            let lane = ClockReading::LANE;
            let sent =
                query::query(session, &key, ZBytes::new(), None, lane, QUERY_TIMEOUT, answer);
            if let Err(problem) = sent {
                tracing::debug!("{key}: Zenoh cannot send the query: {problem}");
            }
            overhead.record(local_us() - begun_us);
        });
    }
}

impl SendOverhead {
    /// Returns the earliest time at which a message that is passed to Zenoh now can leave the machine.
    ///
    /// The message leaves before the call returns, so this is three quarters of the minimum duration later.
    fn sent_at(&self, begun_us: i64) -> i64 {
        begun_us.saturating_add(self.0.lock().unwrap_or(0) / 4 * 3)
    }

    /// Records the duration of a call.
    fn record(&self, took_us: i64) {
        let mut least = self.0.lock();
        *least = Some(least.map_or(took_us, |least| least.min(took_us)).max(0));
    }
}

/// Replies to queries for the clock of this host.
pub(crate) fn reply_to_queries(
    worker: &SessionWorker,
    identity: &SenderIdentity,
    host: &NodeId,
) -> RegistrationGuard {
    let key = Key::Clock(host.clone()).to_string();
    let (replying, identity) = (worker.clone(), identity.clone());
    let limit = Mutex::new(TokenBucket::new(ClockReading::MAX_PER_SECOND, Instant::now()));
    let overhead = Arc::new(SendOverhead::default());
    worker.receive_queries(key.clone(), move |query| {
        // The time is read first, so that the reported times include everything that follows.
        let received_us = local_us();
        if limit.lock().admit(Instant::now()) == Admission::Over {
            return;
        }
        let Ok(attachment) = identity.envelope(0).encode() else { return };
        let (key, overhead) = (key.clone(), Arc::clone(&overhead));
        replying.spawn_reply(query, move |_, query| {
            let begun_us = local_us();
            let reading = ClockReading { received_us, sent_us: overhead.sent_at(begun_us) };
            let Ok(payload) = codec::encode(&reading) else { return };
            let reply = query.reply(key, payload).encoding(Encoding::MESSAGE_PACK);
            if let Err(problem) = reply.attachment(attachment).wait() {
                tracing::debug!("cannot reply to a clock query: {problem}");
            }
            overhead.record(local_us() - begun_us);
        });
    })
}
