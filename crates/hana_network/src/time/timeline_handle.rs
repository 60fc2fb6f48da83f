use std::sync::Arc;

use hana_protocol::id::NodeId;
use hana_protocol::message::HostTimeline;
use hana_time::Timeline;

use crate::clock::local_clock::local_us;
use crate::session::connection::ConnectionWatch;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::sync::timer::TimerThread;
use crate::time::remote_timeline::RemoteTimeline;
use crate::time::timeline_cell::{TimelineCell, subscribe_timeline};
use crate::transport::inbound::inbound_stats::InboundStats;

/// The tempo and beat on this machine, on the clock of [`local_us`].
///
/// Clones share the timeline. Reading it never blocks and is cheap enough for every frame.
///
/// The timeline comes from the daemon of this machine. On a machine without a daemon, it comes from another host, and
/// is converted with an estimate of the offset of that host's clock. When no more messages arrive, the beat continues
/// at the last tempo.
#[derive(Clone)]
pub struct TimelineHandle {
    cell: Arc<TimelineCell>,
    _own: Arc<RegistrationGuard>,
    _remote: Arc<RemoteTimeline>,
}

impl TimelineHandle {
    pub(crate) fn start(
        worker: &SessionWorker,
        inbound: &InboundStats,
        timer: &TimerThread,
        connection: &ConnectionWatch,
        host: &NodeId,
    ) -> Self {
        let cell = Arc::new(TimelineCell::default());
        let remote = RemoteTimeline::start(worker, inbound, timer, connection, &cell);
        let own_cell = Arc::clone(&cell);
        let own =
            subscribe_timeline(worker, inbound, host, move |timeline| own_cell.receive(timeline));
        Self { cell, _own: Arc::new(own), _remote: remote }
    }

    /// Returns the timeline that applies now, on the clock of [`local_us`]; `None` until a timeline is received.
    ///
    /// A timeline may change at any time, so read it again in each iteration of a loop. Neither blocks nor allocates.
    #[must_use]
    pub fn now(&self) -> Option<Timeline> {
        self.at(local_us())
    }

    /// Returns the timeline that applies at a time of [`local_us`], as far as it is known.
    ///
    /// Neither blocks nor allocates.
    #[must_use]
    pub fn at(&self, at_us: i64) -> Option<Timeline> {
        let tempo_map = *self.cell.tempo_map.read();
        tempo_map.map(|tempo_map| tempo_map.at(at_us))
    }

    /// Returns the last received message, with the source of the timeline, its participants and its accuracy.
    ///
    /// Does not block.
    #[must_use]
    pub fn last_published(&self) -> Option<HostTimeline> {
        self.cell.last.lock().clone()
    }
}
