use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use hana_protocol::Admission;
use hana_protocol::ClockEstimate;
use hana_protocol::ClockReading;
use hana_protocol::DistantClock;
use hana_protocol::Encoding;
use hana_protocol::Exchange;
use hana_protocol::Key;
use hana_protocol::Message;
use hana_protocol::NodeId;
use hana_protocol::RateLimit;
use hana_protocol::codec;
use zenoh::Wait;
use zenoh::bytes::ZBytes;
use zenoh::query::Query;
use zenoh::query::Reply;

use crate::gate::Gate;
use crate::local_clock::local_us;
use crate::outbox::Identity;
use crate::question;
use crate::reception::Reception;
use crate::reception::admitted;
use crate::ticker::Ticker;
use crate::ticker::Timed;
use crate::worker::Declaration;
use crate::worker::Worker;

/// Asks the daemon of another host for its clock, as long as this lives: often at first, then twice a second.
pub struct ClockWatch {
    asking: Arc<Asking>,
}

struct Asking {
    key: String,
    worker: Worker,
    reception: Reception,
    gate: Arc<Gate>,
    clock: Arc<Mutex<DistantClock>>,
    round: Mutex<Round>,
}

/// When is asked next.
struct Round {
    asked: u32,
    due: Instant,
}

/// Questions that are asked one soon after the other: what is followed shall be known soon.
const FIRST: u32 = 8;
/// From one of these to the next.
const SOON: Duration = Duration::from_millis(40);
/// From one question to the next afterwards.
const PERIOD: Duration = Duration::from_millis(500);
/// An answer that takes longer tells nothing.
const PATIENCE: Duration = Duration::from_millis(400);

impl ClockWatch {
    pub(crate) fn start(
        worker: &Worker,
        reception: &Reception,
        ticker: &Ticker,
        host: &NodeId,
    ) -> Self {
        let asking = Arc::new(Asking {
            key: Key::Clock(host.clone()).to_string(),
            worker: worker.clone(),
            reception: reception.clone(),
            gate: Arc::new(Gate::of_answers::<ClockReading>()),
            clock: Arc::default(),
            round: Mutex::new(Round { asked: 0, due: Instant::now() }),
        });
        ticker.add(&asking);
        Self { asking }
    }

    /// What is known of that clock by now; none before the first answer. Does not block.
    #[must_use]
    pub fn estimate(&self) -> Option<ClockEstimate> {
        lock(&self.asking.clock).estimate()
    }
}

impl Timed for Asking {
    fn tick(&self, now: Instant) -> Option<Instant> {
        let mut round = lock(&self.round);
        if now >= round.due {
            round.asked = round.asked.saturating_add(1);
            round.due = now + if round.asked < FIRST { SOON } else { PERIOD };
            self.ask();
        }
        Some(round.due)
    }
}

impl Asking {
    fn ask(&self) {
        let (key, gate, clock) =
            (self.key.clone(), Arc::clone(&self.gate), Arc::clone(&self.clock));
        let reception = self.reception.clone();
        self.worker.run(move |session| {
            let asked_us = local_us();
            let answer = move |reply: Reply| {
                let answered_us = local_us();
                let Ok(sample) = reply.result() else { return };
                let raw = admitted(sample, ClockReading::MAX_BYTES, &gate, &reception);
                let reading = raw.and_then(|raw| reception.decode::<ClockReading>(&raw));
                if let Some(reading) = reading {
                    lock(&clock).take(Exchange { asked_us, reading, answered_us });
                }
            };
            let lane = ClockReading::LANE;
            let asked = question::ask(session, &key, ZBytes::new(), None, lane, PATIENCE, answer);
            if let Err(problem) = asked {
                tracing::debug!("{key}: Zenoh does not ask: {problem}");
            }
        });
    }
}

/// Answers whoever asks for the clock of this host.
pub(crate) fn answer(worker: &Worker, identity: &Identity, host: &NodeId) -> Declaration {
    let key = Key::Clock(host.clone()).to_string();
    let (answering, identity) = (worker.clone(), identity.clone());
    let limit = RateLimit::new(ClockReading::MAX_PER_SECOND, Instant::now());
    let limit = Arc::new(Mutex::new(limit));
    worker.declare(key.clone(), move |session| {
        let (worker, limit, key) = (answering.clone(), Arc::clone(&limit), key.clone());
        let (identity, declared) = (identity.clone(), key.clone());
        let callback = move |query: Query| {
            // First of all: what takes time after this is told.
            let received_us = local_us();
            if lock(&limit).admit(Instant::now()) == Admission::Over {
                return;
            }
            let Ok(attachment) = identity.envelope(0).encode() else { return };
            let key = key.clone();
            worker.answer(query, move |_, query| {
                let reading = ClockReading { received_us, sent_us: local_us() };
                let Ok(payload) = codec::encode(&reading) else { return };
                let reply = query
                    .reply(key, payload)
                    .encoding(Encoding::MESSAGE_PACK)
                    .attachment(attachment)
                    .wait();
                if let Err(problem) = reply {
                    tracing::debug!("a question for the clock was not answered: {problem}");
                }
            });
        };
        Ok(Box::new(session.declare_queryable(&declared).complete(true).callback(callback).wait()?))
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
