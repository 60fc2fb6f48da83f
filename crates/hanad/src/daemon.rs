use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use hana_engine::roster::{HealthMonitor, HealthVerdict, Observation};
use hana_network::{
    CommandError, ConfigSource, INSTANCE_AFTER, IdConflict, LastLook, Node, Pending,
    PresenceObserver, Received, Request, SavedState, Subscription, ZenohRuntimeEnv, local_us,
};
use hana_process::{
    Action, Catalogue, CatalogueEntry, Instance, LaunchQueue, Policy, Process, ProcessEvent,
    ProcessOutput,
};
use hana_protocol::contract::{Key, Topics};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{
    Accepted, Control, Event, EventKind, HostTimeline, ProcessState, Shutdown, Start,
};
use hana_protocol::wire::error_chain;
use hana_time::{ChangeSchedule, Scheduled};

use crate::complaint::LogOnce;
use crate::config::DaemonConfig;
use crate::daemon::reloading::entry_of;
use crate::keeper::{ManagedProcess, RunningInstance};
use crate::link_process::LinkEvent;
use crate::neighbours::PeerTracker;
use crate::output::LineBudget;
use crate::reloader::{ReloadCause, Reloaded, Reloader};
use crate::state_dir::StateDir;
use crate::state_files::PATIENCE;
use crate::timekeeper::Timekeeper;
use crate::watchdog::Watchdog;
use crate::{look_keeper, service_manager, watchdog};

mod adoption;
mod reloading;

/// An event for the daemon's loop.
pub(crate) enum DaemonEvent {
    /// An event of a launched process.
    Process(NodeId, ProcessEvent),
    /// A control request.
    Request(Request),
    /// A node appeared, vanished, or published its state.
    Sighting(Observation),
    /// A host published its timeline.
    Timeline(Received<HostTimeline>),
    /// An event of `hana-link`.
    Link(LinkEvent),
    /// End, with everything that was launched.
    End,
    /// End, but leave the launched processes running.
    Leave(Leave),
    /// Read the catalogue and the settings again.
    Reload,
    /// The catalogue and the settings were read again.
    Reloaded(Reloaded),
    /// An older daemon has this host id.
    Displaced(IdConflict),
}

/// How a daemon leaves the launched processes to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// The process ends.
    End,
    /// The program now at this daemon's path replaces it in the same process.
    Replace,
}

/// The reason why the loop ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The daemon ended with everything it launched.
    Whole,
    /// The launched processes continue.
    Left(Leave),
    /// Another machine has this host id. The launched processes continue.
    Displaced(NodeId),
}

/// The daemon's loop, which turns events into actions.
pub(crate) struct Daemon {
    node: Node<role::Daemon>,
    catalogue: Catalogue,
    /// The entries of running visualizations that are no longer in the catalogue.
    retired: BTreeMap<NodeId, CatalogueEntry>,
    /// The settings in force.
    started_with: DaemonConfig,
    reloader: Reloader,
    reload_complaint: LogOnce,
    later_complaint: LogOnce,
    /// The location of the settings, passed on so that launched programs join the same show.
    origin: ConfigSource,
    state: StateDir,
    events: SyncSender<DaemonEvent>,
    presence: PresenceObserver,
    _timelines: Subscription<Received<HostTimeline>>,
    neighbours: PeerTracker,
    timekeeper: Timekeeper,
    /// Starts scheduled for a beat.
    starts: ChangeSchedule<(Request, Start)>,
    /// Whether the daemon itself is on the mesh.
    hears: bool,
    keepers: BTreeMap<NodeId, ManagedProcess>,
    /// The number of output lines that all visualizations together may publish.
    budget: LineBudget,
    /// The earliest time at which any visualization has something due.
    look_at: Instant,
    /// Decides when each launch may start.
    pacer: LaunchQueue,
    /// Shutdown commands without a reply yet.
    asked: Vec<PendingCommand>,
    /// The time until which the loop looks for killed orphans to reap.
    reaping_until: Option<Instant>,
    ending: bool,
}

/// A shutdown command in progress: the visualization, its instance, and the pending reply.
type PendingCommand = (NodeId, Instance, Pending<Result<Accepted, CommandError>>);

/// How often output and pending shutdown commands are polled.
const POLL: Duration = Duration::from_millis(100);
/// The usual time for killed processes to disappear. Slower ones are reaped later.
const REAPING: Duration = Duration::from_secs(1);
/// The longest wait while nothing runs. Nothing is due then; the wait is bounded anyway, also by the watchdog.
const IDLE: Duration = Duration::from_secs(5);
/// The time limit for a reply to the shutdown command. The stop deadlines run in parallel.
const POLITE: Duration = Duration::from_secs(1);
/// How long an ending daemon waits for the launched processes. Longer than the policy's stop deadlines.
const END: Duration = Duration::from_secs(10);
/// The most starts that can wait for their beat.
const STARTS: usize = 64;
/// The most ended visualizations that stay listed. Of more, the ones that ended first are removed.
const ENDED: usize = 64;

impl Daemon {
    pub(crate) fn new(
        node: Node<role::Daemon>,
        config: DaemonConfig,
        reloader: Reloader,
        state: StateDir,
        events: SyncSender<DaemonEvent>,
        timekeeper: Timekeeper,
    ) -> Self {
        let (catalogue, origin) = (config.catalogue.clone(), config.origin.clone());
        let presence = node.watch_presence();
        let neighbours = PeerTracker::new(&node);
        forward(node.requests().clone(), events.clone(), DaemonEvent::Request);
        forward(node.displaced().clone(), events.clone(), DaemonEvent::Displaced);
        forward(presence.sightings().clone(), events.clone(), DaemonEvent::Sighting);
        let timelines = node.subscribe(Topics::every_timeline());
        forward(timelines.clone(), events.clone(), DaemonEvent::Timeline);
        Self {
            look_at: Instant::now(),
            pacer: LaunchQueue::new(catalogue.pace()),
            node,
            catalogue,
            retired: BTreeMap::new(),
            started_with: config,
            reloader,
            reload_complaint: LogOnce::default(),
            later_complaint: LogOnce::default(),
            origin,
            state,
            events,
            presence,
            _timelines: timelines,
            neighbours,
            timekeeper,
            starts: ChangeSchedule::new(STARTS),
            hears: true,
            keepers: BTreeMap::new(),
            budget: LineBudget::new(),
            asked: vec![],
            reaping_until: None,
            ending: false,
        }
    }

    /// Runs until the daemon is ordered to end and everything it launched has ended.
    pub(crate) fn run(
        mut self,
        inbox: &Receiver<DaemonEvent>,
        watchdog: &Watchdog,
    ) -> anyhow::Result<Ending> {
        self.adopt();
        self.log_faulty_programs();
        let mut next_poll = Instant::now();
        let mut end_by = None;
        loop {
            watchdog.sign();
            let now = Instant::now();
            let wait = self.next_deadline(next_poll).saturating_duration_since(now);
            match inbox.recv_timeout(wait.min(watchdog::SIGN)) {
                Ok(DaemonEvent::End) if self.ending => {
                    // A second order ends everything at once.
                    self.for_all(&ProcessEvent::KillAsked);
                },
                Ok(DaemonEvent::End) => {
                    tracing::info!("ending, with all that was launched");
                    service_manager::stopping();
                    self.ending = true;
                    end_by = Some(Instant::now() + END);
                    self.for_all(&ProcessEvent::StopAsked);
                },
                Ok(DaemonEvent::Process(node, event)) => self.process_event(&node, event),
                Ok(DaemonEvent::Request(request)) => self.take_request(request),
                Ok(DaemonEvent::Sighting(sighting)) => self.see(sighting),
                Ok(DaemonEvent::Timeline(heard)) => self.hear_timeline(heard),
                Ok(DaemonEvent::Link(event)) => self.hear_link(event),
                // The launched processes continue: they are the show, whichever daemon supervises them.
                Ok(DaemonEvent::Displaced(rival)) => return Ok(Ending::Displaced(rival.node)),
                Ok(DaemonEvent::Reload) => self.reloader.ask(ReloadCause::Signal),
                Ok(DaemonEvent::Reloaded(reloaded)) => self.take_reloaded(reloaded),
                // The daemon is already ending.
                Ok(DaemonEvent::Leave(_)) if self.ending => {},
                Ok(DaemonEvent::Leave(leave)) => {
                    self.hand_over();
                    return Ok(Ending::Left(leave));
                },
                Err(RecvTimeoutError::Timeout) => {},
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("nobody can reach the daemon"),
            }
            self.tick();
            if Instant::now() >= next_poll {
                self.poll();
                next_poll = Instant::now() + POLL;
            }
            let all_ended = self.keepers.values().all(|keeper| keeper.run.is_none());
            if self.ending && (all_ended || end_by.is_some_and(|by| Instant::now() >= by)) {
                for keeper in self.keepers.values_mut().filter(|keeper| keeper.run.is_none()) {
                    keeper.forget_record();
                }
                self.say_goodbye();
                self.node.leave().wait(Duration::from_secs(1)).ok();
                return Ok(Ending::Whole);
            }
        }
    }

    /// Saves everything that the next daemon needs.
    ///
    /// It does not leave the mesh: other nodes treat it as a daemon that is briefly absent, and the running processes
    /// wait for the next one.
    fn hand_over(&mut self) {
        tracing::info!("making room for another daemon; what was launched goes on");
        let now = Instant::now();
        for keeper in self.keepers.values_mut() {
            keeper.hand_over(now);
        }
    }

    fn next_deadline(&self, next_poll: Instant) -> Instant {
        let busy = !self.asked.is_empty()
            || self.reaping_until.is_some_and(|until| until > Instant::now())
            || self.keepers.values().any(|keeper| keeper.run.is_some());
        let of_pacer = self.pacer.next_deadline(Instant::now());
        let of_time = Instant::now() + self.timekeeper.next_in();
        let timeline = self.timekeeper.timeline(local_us());
        let of_starts = self.starts.next_us(&timeline).map(|at_us| {
            let left = u64::try_from(at_us.saturating_sub(local_us())).unwrap_or_default();
            Instant::now() + Duration::from_micros(left).min(IDLE)
        });
        [self.look_at, self.neighbours.next_deadline(), of_time]
            .into_iter()
            .chain(of_starts)
            .chain(of_pacer)
            .chain(busy.then_some(next_poll))
            .fold(Instant::now() + IDLE, Instant::min)
    }

    fn for_all(&mut self, event: &ProcessEvent) {
        let ids: Vec<NodeId> = self
            .keepers
            .iter()
            .filter(|(_, keeper)| keeper.is_taken())
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            self.handle(&id, event.clone());
        }
    }

    /// Does everything that is due.
    fn tick(&mut self) {
        let now = Instant::now();
        self.neighbours.tick(&self.node, &self.presence, now);
        self.timekeeper.tick(&self.node);
        self.start_due();
        if now >= self.look_at {
            self.look_at = now + IDLE;
            self.tick_keepers(now);
            let next = self.keepers.values().filter_map(|keeper| keeper.next_deadline(now)).min();
            self.look_at = next.map_or(self.look_at, |at| at.min(self.look_at));
        }
        self.launch_due();
    }

    fn tick_keepers(&mut self, now: Instant) {
        self.keepers.values_mut().for_each(ManagedProcess::follow_clock);
        let due: Vec<NodeId> = self
            .keepers
            .iter()
            .filter(|(_, keeper)| keeper.supervisor.next_deadline().is_some_and(|at| at <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.handle(&id, ProcessEvent::Tick);
        }
        let judged: Vec<NodeId> = self
            .keepers
            .iter()
            .filter(|(_, keeper)| {
                keeper.health.as_ref().is_some_and(|watch| watch.verdict(now).is_unresponsive())
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in judged {
            self.judge(&id, now);
        }
    }

    /// Does the work of ten times a second while a process runs.
    fn poll(&mut self) {
        let now = Instant::now();
        for keeper in self.keepers.values_mut() {
            if keeper.has_other_file() {
                keeper.update_record();
            }
            if let Some(look) = &mut keeper.look {
                look.poll(now);
            }
        }
        let asked = std::mem::take(&mut self.asked);
        for (id, incarnation, pending) in asked {
            match pending.take() {
                None if !pending.is_abandoned() => self.asked.push((id, incarnation, pending)),
                Some(Ok(_)) => {},
                Some(Err(_)) | None => {
                    self.handle(&id, ProcessEvent::ShutdownFailed { incarnation });
                },
            }
        }
        hana_process::reap_orphans();
    }

    fn see(&mut self, sighting: Observation) {
        let now = Instant::now();
        match &sighting {
            // The daemon's own token: its session is being reopened, and it receives nothing meanwhile.
            Observation::Vanished { node, .. } if node == self.node.id() => {
                self.hears = false;
                return;
            },
            Observation::Appeared { node, .. } if node == self.node.id() => self.hear_again(now),
            Observation::Appeared { node, zid, .. } => {
                self.handle(node, ProcessEvent::Joined { session: zid.clone() });
            },
            Observation::Vanished { node, zid } => {
                self.timekeeper.tell(&self.node, |ensemble, now| ensemble.lose(node, now));
                self.handle(node, ProcessEvent::Left { session: zid.clone() });
            },
            Observation::Health(node, health) => {
                if let Some(watch) =
                    self.keepers.get_mut(node).and_then(|keeper| keeper.health.as_mut())
                {
                    watch.hear(health.clone(), now);
                    self.take_remark(node, health.remark());
                    self.judge(node, now);
                }
                // Only the presence of other nodes matters, not their health.
                return;
            },
            Observation::Goodbye(node) => self.handle(node, ProcessEvent::ClosedByPerson),
            Observation::Info(info) if info.host == *self.node.host() => {
                if let Some(keeper) = self.keepers.get_mut(&info.node) {
                    keeper.note_instance(info.instance);
                }
            },
            _ => {},
        }
        self.neighbours.see(sighting, now);
    }

    /// Handles an event of a process, adding the last output of an ended instance to the reason.
    fn process_event(&mut self, node: &NodeId, event: ProcessEvent) {
        if let ProcessEvent::Exited { incarnation, .. } = &event
            && let Some(keeper) = self.keepers.get_mut(node)
            && keeper.supervisor.incarnation() == *incarnation
            && let Some(words) = keeper.words_of_ended()
        {
            self.handle(node, ProcessEvent::LastWords(words));
        }
        self.handle(node, event);
    }

    /// Adds a program's own remark to the reason of its state.
    fn take_remark(&mut self, node: &NodeId, remark: String) {
        let Some(keeper) = self.keepers.get(node) else { return };
        if keeper.supervisor.remark() != remark {
            let incarnation = keeper.supervisor.incarnation();
            self.handle(node, ProcessEvent::Remark { incarnation, remark });
        }
    }

    fn hear_timeline(&mut self, heard: Received<HostTimeline>) {
        if let Some(key) = Key::parse(&heard.key) {
            self.timekeeper
                .tell(&self.node, |ensemble, now| ensemble.hear(key.owner(), heard.message, now));
        }
    }

    fn hear_link(&mut self, event: LinkEvent) {
        self.timekeeper.tell(&self.node, |ensemble, now| match event {
            LinkEvent::Began => ensemble.link_began(now),
            LinkEvent::Report(report) => ensemble.link(report, now),
            LinkEvent::Lost => ensemble.link_lost(now),
        });
    }

    /// Ignores the silence of other nodes while the daemon itself was off the mesh.
    fn hear_again(&mut self, now: Instant) {
        self.hears = true;
        self.look_at = now;
        for watch in self.keepers.values_mut().filter_map(|keeper| keeper.health.as_mut()) {
            watch.excuse(now);
        }
    }

    fn judge(&mut self, node: &NodeId, now: Instant) {
        if !self.hears {
            return;
        }
        let Some(keeper) = self.keepers.get(node) else { return };
        let Some(watch) = &keeper.health else { return };
        let verdict = watch.verdict(now);
        let supervisor = &keeper.supervisor;
        if verdict == HealthVerdict::Running && supervisor.state() == ProcessState::Running {
            // The usual case, ten times a second for every visualization.
            return;
        }
        let incarnation = supervisor.incarnation();
        self.handle(node, ProcessEvent::Verdict { incarnation, verdict });
    }

    fn take_request(&mut self, request: Request) {
        if self.ending {
            request.refuse("this daemon is ending");
            return;
        }
        match request.control().clone() {
            Control::Start(start) => self.start_at(request, start),
            Control::Stop(stop) => self.ask_of(request, &stop.node, ProcessEvent::StopAsked),
            Control::Kill(kill) => self.ask_of(request, &kill.node, ProcessEvent::KillAsked),
            Control::Acknowledge(ignore) => self.ignore(request, &ignore.node),
            Control::Reload(_) => self.reloader.ask(ReloadCause::Command(request)),
            Control::Restart(restart) => {
                self.ask_of(request, &restart.node, ProcessEvent::RestartAsked);
            },
            Control::Tempo(_) | Control::Play(_) | Control::Pause(_) => {
                self.timekeeper.order(&self.node, request);
            },
            // The network layer answers or refuses these.
            Control::Shutdown(_)
            | Control::Set(_)
            | Control::Freeze(_)
            | Control::Blackout(_)
            | Control::Resume(_)
            | Control::Take(_)
            | Control::Release(_)
            | Control::Ping(_) => {},
        }
    }

    /// Schedules a start. Refuses at once if it cannot be scheduled.
    fn start_at(&mut self, request: Request, start: Start) {
        if self.catalogue.get(&start.name).is_err() {
            // The file may have gained the entry since it was read.
            self.reloader.ask(ReloadCause::Start(request));
            return;
        }
        if let Err(problem) = self.starts.check(start.at) {
            request.refuse(problem.to_string());
            return;
        }
        let now = local_us();
        let (at, timeline) = (start.at, self.timekeeper.timeline(now));
        match self.starts.put((request, start), at, &timeline, now) {
            Ok(Scheduled::Due { change: (request, start), .. }) => self.start(request, &start),
            Ok(Scheduled::Waits { .. }) => {},
            // Already checked above.
            Err(problem) => tracing::warn!("a start was not taken: {problem}"),
        }
    }

    fn start_due(&mut self) {
        let now = local_us();
        while let Some(((request, start), _)) =
            self.starts.take_due(&self.timekeeper.timeline(now), now)
        {
            if self.ending {
                request.refuse("this daemon is ending");
            } else {
                self.start(request, &start);
            }
        }
    }

    fn start(&mut self, request: Request, start: &Start) {
        let entry = match self.catalogue.get(&start.name) {
            Ok(entry) => entry.clone(),
            Err(unknown) => {
                request.refuse(unknown.to_string());
                return;
            },
        };
        let id = match &start.id {
            Some(id) if self.is_taken(id) => {
                request.refuse(format!("the id '{id}' is taken; choose another, or leave it out"));
                return;
            },
            Some(id) => id.clone(),
            None => self.free_id(&entry.name),
        };
        // A start by a person begins from scratch; a restart continues from the saved look and state.
        look_keeper::forget(&self.state.look_of(&id), self.state.files());
        look_keeper::forget(&self.state.saved_of(&id), self.state.files());
        self.state.files().flush(PATIENCE);
        let mut keeper = self.keeper(id.clone(), entry.name.as_str(), entry.policy);
        keeper.wait(request);
        // A new start replaces an ended visualization with the same id.
        self.keepers.remove(&id);
        self.keepers.insert(id.clone(), keeper);
        self.handle(&id, ProcessEvent::StartAsked);
        self.forget_ended();
    }

    fn keeper(&self, id: NodeId, name: &str, policy: Policy) -> ManagedProcess {
        ManagedProcess::new(id, name, policy, &self.state, &self.budget, &self.node, &self.presence)
    }

    fn ignore(&mut self, request: Request, node: &NodeId) {
        self.handle(node, ProcessEvent::Ignore);
        match self.keepers.get(node).map(|keeper| &keeper.supervisor) {
            Some(supervisor) if supervisor.is_ignored() => request.accept(Accepted {}),
            Some(supervisor) => request
                .refuse(format!("there is nothing to ignore: '{node}' is {}", supervisor.state())),
            None => request.refuse(not_launched(node)),
        }
    }

    fn ask_of(&mut self, request: Request, node: &NodeId, event: ProcessEvent) {
        let Some(keeper) = self.keepers.get_mut(node) else {
            request.refuse(not_launched(node));
            return;
        };
        keeper.wait(request);
        self.handle(node, event);
    }

    fn is_taken(&self, id: &NodeId) -> bool {
        self.neighbours.holds(id) || self.keepers.get(id).is_some_and(ManagedProcess::is_taken)
    }

    fn free_id(&self, name: &NodeId) -> NodeId {
        let numbered = (2..).map(|number| name.numbered(number));
        std::iter::once(name.clone())
            .chain(numbered)
            .find(|id| !self.is_taken(id))
            .unwrap_or_else(|| name.clone())
    }

    /// Removes the oldest ended visualizations from the list if there are too many.
    fn forget_ended(&mut self) {
        let mut ended: Vec<(Instant, NodeId)> = self
            .keepers
            .iter()
            .filter(|(_, keeper)| !keeper.is_taken())
            .map(|(id, keeper)| (keeper.supervisor.since(), id.clone()))
            .collect();
        ended.sort();
        let surplus = ended.len().saturating_sub(ENDED);
        for (_, id) in ended.into_iter().take(surplus) {
            if let Some(mut keeper) = self.keepers.remove(&id) {
                keeper.forget_record();
                self.state.files().release(&self.state.look_of(&id));
            }
        }
    }

    /// Passes an event to the supervisor and carries out its actions.
    fn handle(&mut self, node: &NodeId, event: ProcessEvent) {
        let Some(keeper) = self.keepers.get_mut(node) else { return };
        let now = Instant::now();
        let is_of_time = matches!(event, ProcessEvent::Tick | ProcessEvent::Verdict { .. });
        let actions = keeper.supervisor.handle(event, now);
        if let Some(at) = keeper.next_deadline(now) {
            self.look_at = self.look_at.min(at);
        }
        if is_of_time && actions.is_empty() {
            return;
        }
        // The decision is recorded before it is carried out, so that the next daemon can continue if this one is killed
        // in between. A launch is recorded together with its launch id.
        if !actions.iter().any(|action| matches!(action, Action::Spawn(_))) {
            keeper.update_record();
        }
        for action in actions {
            self.carry_out(node, action);
        }
        if let Some(keeper) = self.keepers.get_mut(node) {
            keeper.update_record();
            keeper.answer();
            if keeper.supervisor.state() != ProcessState::Starting {
                self.pacer.risen(node);
            }
            if let Some(at) = keeper.next_deadline(now) {
                self.look_at = self.look_at.min(at);
            }
        }
    }

    /// Makes every launch that is due.
    fn launch_due(&mut self) {
        while let Some((id, incarnation)) = self.pacer.next(Instant::now()) {
            self.spawn(&id, incarnation);
        }
    }

    fn carry_out(&mut self, node: &NodeId, action: Action) {
        let Some(keeper) = self.keepers.get_mut(node) else { return };
        let run = keeper.run.as_ref();
        let signalled = match action {
            Action::Spawn(incarnation) => {
                self.pacer.ask(node.clone(), incarnation, keeper.supervisor.wish());
                self.launch_due();
                if self.pacer.is_waiting(node) {
                    self.handle(node, ProcessEvent::Queued { incarnation });
                }
                return;
            },
            Action::Withdraw(_) => {
                self.pacer.withdraw(node);
                return;
            },
            Action::AskShutdown(incarnation) => {
                let answer = self.node.command::<role::Visualization, _>(node, Shutdown {}, POLITE);
                self.asked.push((node.clone(), incarnation, answer));
                return;
            },
            Action::Sweep(_) => {
                keeper.health = None;
                let Some(run) = keeper.run.take() else { return };
                let swept = run.process.kill_remaining();
                keeper.note_swept();
                if let Some(look) = &mut keeper.look {
                    look.keep(Instant::now());
                }
                run.output.finish();
                self.reaping_until = Some(Instant::now() + REAPING);
                swept
            },
            Action::Report { kind, text } => {
                self.report(node, kind, text);
                return;
            },
            Action::Announce => {
                keeper.announce();
                return;
            },
            Action::Terminate(_) => run.map_or(Ok(()), |run| run.process.terminate()),
            Action::Kill(_) => run.map_or(Ok(()), |run| run.process.kill()),
        };
        if let Err(problem) = signalled {
            tracing::warn!("ending '{node}': {problem}");
        }
    }

    fn spawn(&mut self, node: &NodeId, incarnation: Instance) {
        let Some(keeper) = self.keepers.get_mut(node) else { return };
        let output = self.state.output_of(node);
        let look = keeper.look.as_ref().map(|look| look.ready_file(self.state.spare_look_of(node)));
        let records = self.state.run_records();
        let events = self.events.clone();
        let id = node.clone();
        let name = keeper.supervisor.name();
        let entry = match entry_of(&self.catalogue, &self.retired, name) {
            Ok(entry) => entry,
            Err(unknown) => {
                let reason = unknown.to_string();
                self.handle(node, ProcessEvent::SpawnFailed { incarnation, reason });
                return;
            },
        };
        records.forget_goodbye(node);
        let launched = entry.launch_spec(&beside(), output).and_then(|mut spec| {
            spec.env.insert("HANA_GOODBYE".into(), records.goodbye_of(node).display().to_string());
            spec.spare_output = self.state.spare_output_of(node);
            if let Some(look) = look {
                spec.env.insert(LastLook::VARIABLE.into(), look.display().to_string());
                let saved = self.state.saved_of(node).display().to_string();
                spec.env.insert(SavedState::VARIABLE.into(), saved);
            }
            spec.env.insert("HANA_NODE".into(), node.to_string());
            spec.env.insert(adoption::ENTRY_VARIABLE.into(), entry.name.to_string());
            spec.env.insert(INSTANCE_AFTER.into(), keeper.record().instance.to_string());
            spec.env.insert("HANA_HOST".into(), self.node.host().to_string());
            if let Some(path) = self.origin.to_variable() {
                let path = path.to_string_lossy().into_owned();
                spec.env.entry("HANA_CONFIG".into()).or_insert(path);
            }
            // The output goes to a file and over the mesh, where colours are noise. A variable that is set for the
            // daemon is meant for all its programs and stays.
            if env::var_os(ZenohRuntimeEnv::VARIABLE).is_none() {
                let threads = spec.env.entry(ZenohRuntimeEnv::VARIABLE.into());
                threads.or_insert_with(|| ZenohRuntimeEnv::VALUE.into());
            }
            spec.env.entry("NO_COLOR".into()).or_insert_with(|| "1".into());
            let notices = if entry.notices { "on" } else { "off" };
            spec.env.entry("HANA_NOTICES".into()).or_insert_with(|| notices.into());
            keeper.write_down_launch(&spec.launch_id);
            Process::launch(&spec, move |exit| {
                let event = ProcessEvent::Exited { incarnation, exit };
                events.send(DaemonEvent::Process(id, event)).ok();
            })
        });
        let event = match launched {
            Ok(mut process) => {
                let pid = process.pid();
                let limits = keeper.supervisor.policy().health.limits;
                keeper.feed.clear();
                keeper.note_launched(process.record(), process.output().file().map(Into::into));
                keeper.health = Some(HealthMonitor::new(limits, Instant::now()));
                let trouble = output_trouble(process.output());
                let output = adoption::follow_output(&keeper.feed, &mut process);
                keeper.run = Some(RunningInstance { process, output });
                if let Some(text) = trouble {
                    tracing::warn!("'{node}' runs, but {text}");
                    self.report(node, EventKind::OutputLost, text);
                }
                ProcessEvent::Spawned { incarnation, pid }
            },
            Err(error) => ProcessEvent::SpawnFailed { incarnation, reason: error_chain(&error) },
        };
        self.handle(node, event);
    }

    /// Publishes that the daemon closed, so that other hosts do not consider it lost.
    fn say_goodbye(&self) {
        let about = self.node.id().clone();
        let text = "the daemon ends in good order, with all that it launched".into();
        if let Err(problem) =
            self.node.events().publish(&Event { kind: EventKind::Closed, about, text })
        {
            tracing::warn!("others may take this host for lost: {problem}");
        }
    }

    fn report(&self, node: &NodeId, kind: EventKind, text: String) {
        if !self.keepers.contains_key(node) {
            return;
        }
        if kind == EventKind::Crashed {
            tracing::warn!("'{node}' {text}");
        }
        let event = Event { kind, about: node.clone(), text };
        if let Err(problem) = self.node.events().publish(&event) {
            tracing::warn!("what happened to '{node}' is not said: {problem}");
        }
    }
}

fn not_launched(node: &NodeId) -> String {
    format!("this daemon has not launched '{node}'; `hana nodes` lists who is where")
}

/// Returns the warning for a process whose output does not go to its usual file.
fn output_trouble(output: &ProcessOutput) -> Option<String> {
    let (problem, instead) = match output {
        ProcessOutput::Wished(_) => return None,
        ProcessOutput::Spare { file, problem } => {
            (problem, format!("it goes to {}", file.display()))
        },
        ProcessOutput::Nowhere { problem } => (problem, "it is not kept".into()),
    };
    let problem = error_chain(problem);
    Some(format!("{problem}; {instead}; make room there, or set HANA_STATE to another directory"))
}

/// Returns the directory of this program, searched first for programs without a path.
fn beside() -> PathBuf {
    env::current_exe().ok().and_then(|path| Some(path.parent()?.into())).unwrap_or_default()
}

/// Forwards messages from an inbox to the loop's channel.
fn forward<T: Send + 'static>(
    inbox: hana_network::Inbox<T>,
    events: SyncSender<DaemonEvent>,
    event: fn(T) -> DaemonEvent,
) {
    let spawned = std::thread::Builder::new().name("forward".into()).spawn(move || {
        loop {
            if let Some(message) = inbox.recv_timeout(IDLE)
                && events.send(event(message)).is_err()
            {
                return;
            }
        }
    });
    if let Err(problem) = spawned {
        tracing::error!("the daemon does not hear: {problem}");
    }
}
