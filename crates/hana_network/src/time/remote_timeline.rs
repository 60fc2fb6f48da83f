use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::lock::Mutex;
use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::message::{HostTimeline, TimelineSource};
use hana_time::{Slew, TempoMap};

use crate::clock::local_clock::local_us;
use crate::session::attach_mode::AttachMode;
use crate::session::connection::ConnectionWatch;
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::state::state_query;
use crate::sync::pending::Pending;
use crate::sync::timer::{Timer, TimerThread};
use crate::time::clock_sync::ClockSync;
use crate::time::timeline_cell::{TimelineCell, subscribe_timeline};
use crate::transport::inbound::inbound_stats::InboundStats;
use crate::transport::received::Received;

/// The timeline of another host, converted to the local clock, for a node whose host has no daemon.
///
/// The conversion uses an estimate of the offset of the remote clock. Idle while the host has a daemon.
pub(crate) struct RemoteTimeline {
    worker: SessionWorker,
    inbound: InboundStats,
    timer: TimerThread,
    connection: ConnectionWatch,
    heard: Arc<TimelineCell>,
    search: Mutex<SearchState>,
}

enum SearchState {
    /// No query is in flight: the host has a daemon, or the last query got no reply. Contains the time of the next
    /// query.
    Idle(Instant),
    /// All daemons are being queried.
    Querying(Pending<Vec<Received<HostTimeline>>>),
    Following(Followed),
}

/// The remote host that is followed.
struct Followed {
    host: NodeId,
    clock: Arc<ClockSync>,
    remote: Arc<Mutex<RemoteState>>,
    _subscription: RegistrationGuard,
}

/// The last timeline received from the remote host, on its own clock.
#[derive(Clone)]
struct RemoteState {
    course: Option<TempoMap>,
    said: Option<HostTimeline>,
    heard: Instant,
}

/// The interval between checks and corrections.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// The time limit for the replies of all hosts.
const QUERY_TIMEOUT: Duration = Duration::from_millis(400);
/// The pause after a query without a reply.
const RETRY_DELAY: Duration = Duration::from_secs(2);
/// The time after which a host that sends nothing is considered gone.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(2);

impl RemoteTimeline {
    pub(crate) fn start(
        worker: &SessionWorker,
        inbound: &InboundStats,
        timer: &TimerThread,
        connection: &ConnectionWatch,
        heard: &Arc<TimelineCell>,
    ) -> Arc<Self> {
        let timeline = Arc::new(Self {
            worker: worker.clone(),
            inbound: inbound.clone(),
            timer: timer.clone(),
            connection: connection.clone(),
            heard: Arc::clone(heard),
            search: Mutex::new(SearchState::Idle(Instant::now())),
        });
        timer.add(&timeline, &timer.waker());
        timeline
    }

    /// Returns the host to follow: leaders take precedence, then hosts with more followers.
    fn best(found: &[Received<HostTimeline>]) -> Option<NodeId> {
        let best = found.iter().max_by_key(|heard| {
            (heard.message.from.is_none(), heard.message.followers, std::cmp::Reverse(&heard.key))
        })?;
        Some(Key::parse(&best.key)?.owner().clone())
    }

    fn follow(&self, host: NodeId) -> Followed {
        let remote =
            Arc::new(Mutex::new(RemoteState { course: None, said: None, heard: Instant::now() }));
        let clock = Arc::new(ClockSync::start(&self.worker, &self.inbound, &self.timer, &host));
        let (received, remote_clock, heard) =
            (Arc::clone(&remote), Arc::clone(&clock), Arc::clone(&self.heard));
        let from = host.clone();
        let subscription = subscribe_timeline(&self.worker, &self.inbound, &host, move |said| {
            let now = {
                let mut remote = received.lock();
                remote.course = said.continues(remote.course);
                remote.said = Some(said);
                remote.heard = Instant::now();
                remote.clone()
            };
            // The message is applied at once, since a change is published only shortly before it takes effect.
            update(&heard, &now, &remote_clock, &from);
        });
        Followed { host, clock, remote, _subscription: subscription }
    }

    fn advance(&self, search: SearchState, now: Instant) -> SearchState {
        match search {
            SearchState::Idle(until) if now < until => search,
            SearchState::Idle(_) => {
                let pattern = "hana/*/timeline".to_owned();
                SearchState::Querying(state_query::query_states(
                    &self.worker,
                    &self.inbound,
                    pattern,
                    QUERY_TIMEOUT,
                ))
            },
            SearchState::Querying(replies) => {
                let Some(found) = replies.try_recv() else {
                    let is_over = replies.is_cancelled();
                    return if is_over {
                        SearchState::Idle(now + RETRY_DELAY)
                    } else {
                        SearchState::Querying(replies)
                    };
                };
                let best = Self::best(&found).map(|host| SearchState::Following(self.follow(host)));
                best.unwrap_or(SearchState::Idle(now + RETRY_DELAY))
            },
            SearchState::Following(followed) => {
                let remote = followed.remote.lock().clone();
                update(&self.heard, &remote, &followed.clock, &followed.host);
                if now.saturating_duration_since(remote.heard) >= SILENCE_TIMEOUT {
                    SearchState::Idle(now)
                } else {
                    SearchState::Following(followed)
                }
            },
        }
    }
}

impl Timer for RemoteTimeline {
    fn tick(&self, now: Instant) -> Option<Instant> {
        let search = std::mem::replace(&mut *self.search.lock(), SearchState::Idle(now));
        let next = if self.connection.mode() == Some(AttachMode::Peer) {
            self.advance(search, now)
        } else {
            SearchState::Idle(now)
        };
        *self.search.lock() = next;
        Some(now + CHECK_INTERVAL)
    }
}

/// Moves the local timeline towards the remote one.
fn update(heard: &TimelineCell, remote: &RemoteState, clock: &ClockSync, host: &NodeId) {
    let (Some(course), Some(said), Some(clock)) = (remote.course, &remote.said, clock.estimate())
    else {
        return;
    };
    let now = local_us();
    let goal = course.to_local(&clock);
    heard.update(|known| {
        known.map_or(goal, |known| Slew::new(&known, &goal, now).apply_to(known.since(now)))
    });
    let shown = goal.at(now);
    // The error bound in microseconds is rounded up.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let error_us = clock.error_us(now).ceil() as u64;
    heard.set_last(HostTimeline {
        beat: shown.beat_at(now),
        at_us: now,
        rate: shown.rate(),
        easing: None,
        source: TimelineSource::Mesh,
        from: Some(host.clone()),
        error_us: Some(error_us.saturating_add(said.error_us.unwrap_or(0))),
        ..said.clone()
    });
}
