use std::sync::Arc;
use std::time::Duration;

use crate::sync::lock::{Mutex, RwLock};
use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::message::HostTimeline;
use hana_protocol::wire::Message;
use hana_time::{TempoMap, Timeline};
use zenoh::Wait;
use zenoh::bytes::ZBytes;
use zenoh::query::Reply;
use zenoh::sample::Sample;

use crate::clock::local_clock::local_us;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::transport::inbound::admission::AdmissionFilter;
use crate::transport::inbound::inbound_stats::InboundStats;
use crate::transport::query;

/// The timeline of this machine, as far as it is known.
#[derive(Default)]
pub(crate) struct TimelineCell {
    pub(super) tempo_map: RwLock<Option<TempoMap>>,
    pub(super) last: Mutex<Option<HostTimeline>>,
}

/// The time limit for the daemon to reply with its timeline.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

impl TimelineCell {
    pub(super) fn receive(&self, last: HostTimeline) {
        let now = local_us();
        self.update(|known| {
            let known = known.map(|known| known.since(now));
            last.continues(known).or(known).unwrap_or(TempoMap::of(Timeline::DEFAULT))
        });
        self.set_last(last);
    }

    /// Replaces the tempo map with the result of `update`.
    pub(crate) fn update(&self, update: impl FnOnce(Option<TempoMap>) -> TempoMap) {
        let mut tempo_map = self.tempo_map.write();
        *tempo_map = Some(update(*tempo_map));
    }

    /// Stores the last received message.
    pub(crate) fn set_last(&self, last: HostTimeline) {
        *self.last.lock() = Some(last);
    }
}

/// Subscribes to the timeline of the daemon of `host`, and queries the current timeline.
pub(crate) fn subscribe_timeline(
    worker: &SessionWorker,
    inbound: &InboundStats,
    host: &NodeId,
    receive: impl Fn(HostTimeline) + Send + Sync + 'static,
) -> RegistrationGuard {
    let key = Key::Timeline(host.clone()).to_string();
    let (filter, inbound) = (AdmissionFilter::for_message::<HostTimeline>(), inbound.clone());
    let receive = Arc::new(move |sample: &Sample| {
        let raw = inbound.admit_sample(sample, HostTimeline::MAX_BYTES, &filter);
        if let Some(timeline) = raw.and_then(|raw| inbound.decode::<HostTimeline>(&raw)) {
            inbound.counters.received(HostTimeline::LANE);
            receive(timeline);
        }
    });
    worker.declare(key.clone(), move |session| {
        let (on_sample, on_reply) = (Arc::clone(&receive), Arc::clone(&receive));
        let subscriber =
            session.declare_subscriber(&key).callback(move |sample| on_sample(&sample)).wait()?;
        let on_reply = move |reply: Reply| {
            if let Ok(sample) = reply.result() {
                on_reply(sample);
            }
        };
        let lane = HostTimeline::LANE;
        query::query(session, &key, ZBytes::new(), None, lane, QUERY_TIMEOUT, on_reply)?;
        Ok(Box::new(subscriber))
    })
}
