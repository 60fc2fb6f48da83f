use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::message::{HostTimeline, TimelineSource};
use hana_time::{Slew, TempoMap};

use crate::rpc::pending::Pending;
use crate::session::connection::{AttachMode, ConnectionWatch};
use crate::session::session_worker::{RegistrationGuard, SessionWorker};
use crate::state::state_query;
use crate::time::clock_sync::ClockSync;
use crate::time::local_clock::local_us;
use crate::time::timeline_handle::{TimelineCell, hear_host};
use crate::transport::inbound::{InboundStats, Received};
use crate::transport::timer::{Timer, TimerThread};

/// The timeline for a node whose host has no daemon: that of another host, converted to the local clock.
///
/// The conversion uses an estimate of the remote clock's offset. Idle while the host has a daemon.
pub(crate) struct RemoteTimeline {
    worker: SessionWorker,
    reception: InboundStats,
    ticker: TimerThread,
    connection: ConnectionWatch,
    heard: Arc<TimelineCell>,
    search: Mutex<SearchState>,
}

enum SearchState {
    /// No query is running: the host has a daemon, or the last query got no reply. Holds the time of the next query.
    Rests(Instant),
    /// All daemons are being queried.
    Asks(Pending<Vec<Received<HostTimeline>>>),
    Follows(Followed),
}

/// The remote host that is followed.
struct Followed {
    host: NodeId,
    clock: Arc<ClockSync>,
    there: Arc<Mutex<RemoteState>>,
    _subscription: RegistrationGuard,
}

/// The last timeline received from the remote host, on its own clock.
#[derive(Clone)]
struct RemoteState {
    course: Option<TempoMap>,
    said: Option<HostTimeline>,
    heard: Instant,
}

/// Interval between checks and corrections.
const LOOK: Duration = Duration::from_millis(250);
/// Time limit for the replies of all hosts.
const ASK: Duration = Duration::from_millis(400);
/// Pause after a query without a reply.
const REST: Duration = Duration::from_secs(2);
/// A host that has sent nothing for this long is considered gone.
const SILENT: Duration = Duration::from_secs(2);

impl RemoteTimeline {
    pub(crate) fn start(
        worker: &SessionWorker,
        reception: &InboundStats,
        ticker: &TimerThread,
        connection: &ConnectionWatch,
        heard: &Arc<TimelineCell>,
    ) -> Arc<Self> {
        let distant = Arc::new(Self {
            worker: worker.clone(),
            reception: reception.clone(),
            ticker: ticker.clone(),
            connection: connection.clone(),
            heard: Arc::clone(heard),
            search: Mutex::new(SearchState::Rests(Instant::now())),
        });
        ticker.add(&distant, &ticker.bell());
        distant
    }

    /// Returns the host to follow: leaders first, and among those the one with the most followers.
    fn best(found: &[Received<HostTimeline>]) -> Option<NodeId> {
        let best = found.iter().max_by_key(|heard| {
            (heard.message.from.is_none(), heard.message.followers, std::cmp::Reverse(&heard.key))
        })?;
        Some(Key::parse(&best.key)?.owner().clone())
    }

    fn follow(&self, host: NodeId) -> Followed {
        let there =
            Arc::new(Mutex::new(RemoteState { course: None, said: None, heard: Instant::now() }));
        let clock = Arc::new(ClockSync::start(&self.worker, &self.reception, &self.ticker, &host));
        let (of_hearing, of_clock, heard) =
            (Arc::clone(&there), Arc::clone(&clock), Arc::clone(&self.heard));
        let from = host.clone();
        let subscription = hear_host(&self.worker, &self.reception, &host, move |said| {
            let now = {
                let mut there = lock(&of_hearing);
                there.course = said.continues(there.course);
                there.said = Some(said);
                there.heard = Instant::now();
                there.clone()
            };
            // Applied at once, since a change is published only a moment before it takes effect.
            steer(&heard, &now, &of_clock, &from);
        });
        Followed { host, clock, there, _subscription: subscription }
    }

    fn go_on(&self, search: SearchState, now: Instant) -> SearchState {
        match search {
            SearchState::Rests(until) if now < until => search,
            SearchState::Rests(_) => {
                let pattern = "hana/*/timeline".to_owned();
                SearchState::Asks(state_query::ask(&self.worker, &self.reception, pattern, ASK))
            },
            SearchState::Asks(answers) => {
                let Some(found) = answers.take() else {
                    let is_over = answers.is_abandoned();
                    return if is_over {
                        SearchState::Rests(now + REST)
                    } else {
                        SearchState::Asks(answers)
                    };
                };
                let best = Self::best(&found).map(|host| SearchState::Follows(self.follow(host)));
                best.unwrap_or(SearchState::Rests(now + REST))
            },
            SearchState::Follows(followed) => {
                let there = lock(&followed.there).clone();
                steer(&self.heard, &there, &followed.clock, &followed.host);
                if now.saturating_duration_since(there.heard) >= SILENT {
                    SearchState::Rests(now)
                } else {
                    SearchState::Follows(followed)
                }
            },
        }
    }
}

impl Timer for RemoteTimeline {
    fn tick(&self, now: Instant) -> Option<Instant> {
        let search = std::mem::replace(&mut *lock(&self.search), SearchState::Rests(now));
        let next = if self.connection.way() == Some(AttachMode::WithoutDaemon) {
            self.go_on(search, now)
        } else {
            SearchState::Rests(now)
        };
        *lock(&self.search) = next;
        Some(now + LOOK)
    }
}

/// Moves the local timeline towards the remote one.
fn steer(heard: &TimelineCell, there: &RemoteState, clock: &ClockSync, host: &NodeId) {
    let (Some(course), Some(said), Some(clock)) = (there.course, &there.said, clock.estimate())
    else {
        return;
    };
    let now = local_us();
    let goal = course.to_local(&clock);
    heard.steer(|known| {
        known.map_or(goal, |known| Slew::new(&known, &goal, now).apply_to(known.since(now)))
    });
    let shown = goal.at(now);
    // An error bound in microseconds, rounded up.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let error_us = clock.error_us(now).ceil() as u64;
    heard.say(HostTimeline {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
