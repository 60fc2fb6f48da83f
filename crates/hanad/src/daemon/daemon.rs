use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use hana_network::{Node, Received, Request, Subscription, local_us};
use hana_process::ProcessEvent;
use hana_protocol::contract::Topics;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{HostTimeline, Start};
use hana_time::ChangeSchedule;

use crate::config::DaemonConfig;
use crate::daemon::dispatcher::Dispatcher;
use crate::daemon::event::{DaemonEvent, Leave};
use crate::daemon::forwarder::Forwarder;
use crate::daemon::peer_tracker::PeerTracker;
use crate::daemon::process_table::ProcessTable;
use crate::daemon::timekeeper::Timekeeper;
use crate::log_once::LogOnce;
use crate::reload::reloader::{ReloadCause, Reloader};
use crate::service::service_manager;
use crate::service::watchdog::{HEARTBEAT_INTERVAL, Watchdog};
use crate::state::state_dir::StateDir;

/// The daemon's loop, which turns events into actions.
pub(crate) struct Daemon {
    pub(super) table: ProcessTable,
    /// The dispatcher, which orders the events of the processes and decides when launches are made.
    pub(super) dispatcher: Dispatcher,
    /// The settings with which this daemon was started.
    pub(super) started_with: DaemonConfig,
    pub(super) reloader: Reloader,
    pub(super) reload_log: LogOnce,
    pub(super) pending_settings_log: LogOnce,
    _timelines: Subscription<Received<HostTimeline>>,
    pub(super) peers: PeerTracker,
    pub(super) timekeeper: Timekeeper,
    /// The starts that are scheduled for a beat.
    pub(super) starts: ChangeSchedule<(Request, Start)>,
    /// Whether the daemon itself is on the mesh.
    pub(super) is_on_mesh: bool,
    pub(super) is_ending: bool,
}

/// The reason why the loop ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DaemonOutcome {
    /// The daemon and everything that it launched have ended.
    Ended,
    /// The launched processes continue.
    Left(Leave),
    /// Another machine has this host id. The launched processes continue.
    Displaced(NodeId),
}

/// How often output and pending shutdown commands are polled.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The longest wait, even while no process runs and no deadline is near. The watchdog also requires a limit.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// How long an ending daemon waits for the launched processes, which is longer than the policy's stop deadlines.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit for leaving the mesh.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);
/// The most starts that can wait for a beat.
const MAX_SCHEDULED_STARTS: usize = 64;

impl Daemon {
    pub(crate) fn new(
        node: Node<role::Daemon>,
        config: DaemonConfig,
        reloader: Reloader,
        state: StateDir,
        events: SyncSender<DaemonEvent>,
        timekeeper: Timekeeper,
    ) -> io::Result<Self> {
        let (catalogue, config_source) = (config.catalogue.clone(), config.origin.clone());
        let (requests, displaced) = (node.requests().clone(), node.id_conflicts().clone());
        let timelines = node.subscribe(Topics::every_timeline());
        let peers = PeerTracker::new(&node);
        let dispatcher = Dispatcher::new(catalogue.launch_limits());
        let table = ProcessTable::new(node, catalogue, config_source, state, events.clone());
        let mut forwarder = Forwarder::default();
        forwarder.add(requests, DaemonEvent::Request);
        forwarder.add(displaced, DaemonEvent::Displaced);
        forwarder.add(table.presence.observations().clone(), DaemonEvent::Observation);
        forwarder.add(timelines.clone(), DaemonEvent::Timeline);
        forwarder.start(events)?;
        Ok(Self {
            table,
            dispatcher,
            started_with: config,
            reloader,
            reload_log: LogOnce::default(),
            pending_settings_log: LogOnce::default(),
            _timelines: timelines,
            peers,
            timekeeper,
            starts: ChangeSchedule::new(MAX_SCHEDULED_STARTS),
            is_on_mesh: true,
            is_ending: false,
        })
    }

    /// Runs until the daemon is requested to end and everything that it launched has ended.
    ///
    /// `ready` is called once the daemon answers requests.
    pub(crate) fn run(
        mut self,
        inbox: &Receiver<DaemonEvent>,
        watchdog: &Watchdog,
        ready: impl FnOnce(),
    ) -> anyhow::Result<DaemonOutcome> {
        for record in self.table.records_to_adopt() {
            self.dispatcher.extend(self.table.adopt(record));
            self.dispatcher.run(&mut self.table);
        }
        self.table.log_faulty_programs();
        ready();
        let mut next_poll = Instant::now();
        let mut end_by = None;
        loop {
            watchdog.heartbeat();
            let now = Instant::now();
            let wait = self.next_deadline(next_poll).saturating_duration_since(now);
            match inbox.recv_timeout(wait.min(HEARTBEAT_INTERVAL)) {
                Ok(DaemonEvent::End) if self.is_ending => {
                    // A second request kills all processes at once.
                    self.handle_for_all(&ProcessEvent::KillRequested);
                },
                Ok(DaemonEvent::End) => {
                    tracing::info!("ending, with all launched processes");
                    service_manager::stopping();
                    self.is_ending = true;
                    end_by = Some(Instant::now() + END_TIMEOUT);
                    self.handle_for_all(&ProcessEvent::StopRequested);
                },
                // The launched processes continue, since they are the show, and another daemon may supervise them.
                Ok(DaemonEvent::Displaced(conflict)) => {
                    return Ok(DaemonOutcome::Displaced(conflict.node));
                },
                // The daemon is already ending, so the request has no effect.
                Ok(DaemonEvent::Leave(_)) if self.is_ending => {},
                Ok(DaemonEvent::Leave(leave)) => {
                    self.table.hand_over();
                    return Ok(DaemonOutcome::Left(leave));
                },
                Ok(event) => self.on_event(event),
                Err(RecvTimeoutError::Timeout) => {},
                Err(RecvTimeoutError::Disconnected) => {
                    anyhow::bail!("the daemon receives no events: all of its threads have ended")
                },
            }
            self.tick();
            if Instant::now() >= next_poll {
                self.dispatcher.extend(self.table.poll());
                next_poll = Instant::now() + POLL_INTERVAL;
            }
            self.dispatcher.run(&mut self.table);
            let is_overdue = end_by.is_some_and(|by| Instant::now() >= by);
            if self.is_ending && (is_overdue || self.table.all_ended()) {
                self.table.forget_records_of_ended();
                self.table.announce_shutdown();
                self.table.node.leave().wait(LEAVE_TIMEOUT).ok();
                return Ok(DaemonOutcome::Ended);
            }
        }
    }

    fn on_event(&mut self, event: DaemonEvent) {
        match event {
            DaemonEvent::Process(node, event) => self.on_process_event(&node, event),
            DaemonEvent::Request(request) => self.on_request(request),
            DaemonEvent::Observation(observation) => self.on_observation(observation),
            DaemonEvent::Timeline(received) => self.on_timeline(received),
            DaemonEvent::Link(event) => self.on_link_event(event),
            DaemonEvent::Reload => self.reloader.request(ReloadCause::Signal),
            DaemonEvent::Reloaded(reloaded) => self.on_reloaded(reloaded),
            // The loop handles these events.
            DaemonEvent::End | DaemonEvent::Leave(_) | DaemonEvent::Displaced(_) => {},
        }
    }

    fn next_deadline(&self, next_poll: Instant) -> Instant {
        let now = Instant::now();
        let timeline = self.timekeeper.timeline(local_us());
        let next_start = self.starts.next_us(&timeline).map(|at_us| {
            let left = u64::try_from(at_us.saturating_sub(local_us())).unwrap_or_default();
            now + Duration::from_micros(left).min(MAX_WAIT)
        });
        [self.table.check_at, self.peers.next_deadline(), now + self.timekeeper.next_in()]
            .into_iter()
            .chain(next_start)
            .chain(self.dispatcher.next_deadline(now))
            .chain(self.table.needs_polling().then_some(next_poll))
            .fold(now + MAX_WAIT, Instant::min)
    }

    /// Handles an event of a process and all events that result from it.
    pub(super) fn handle(&mut self, node: &NodeId, event: ProcessEvent) {
        self.dispatcher.push(node.clone(), event);
        self.dispatcher.run(&mut self.table);
    }

    fn handle_for_all(&mut self, event: &ProcessEvent) {
        let nodes = self.table.taken().into_iter();
        self.dispatcher.extend(nodes.map(|node| (node, event.clone())));
        self.dispatcher.run(&mut self.table);
    }

    /// Carries out all work that is due.
    fn tick(&mut self) {
        let now = Instant::now();
        self.peers.tick(&self.table.node, &self.table.presence, now);
        self.timekeeper.tick(&self.table.node);
        self.start_due();
        if now >= self.table.check_at {
            // The events that are handled below may set an earlier time.
            self.table.check_at = now + MAX_WAIT;
            self.table.follow_clock();
            let due = self.table.due(now).into_iter();
            self.dispatcher.extend(due.map(|node| (node, ProcessEvent::Tick)));
            self.dispatcher.run(&mut self.table);
            for node in self.table.unresponsive(now) {
                self.judge(&node, now);
            }
            self.table.schedule_next(now);
        }
    }
}
