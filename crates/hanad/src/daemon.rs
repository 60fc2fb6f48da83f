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

/// What reaches the daemon's loop.
pub(crate) enum DaemonEvent {
    /// A process has something to tell.
    Process(NodeId, ProcessEvent),
    /// Somebody asks for something.
    Request(Request),
    /// Somebody came, went, or said how it is.
    Sighting(Observation),
    /// A host says its timeline.
    Timeline(Received<HostTimeline>),
    /// `hana-link` has something to tell.
    Link(LinkEvent),
    /// It is time to end.
    End,
    /// It is time to end, and what was launched goes on.
    Leave(Leave),
    /// Catalogue and settings shall be read again.
    Reload,
    /// They were.
    Reloaded(Reloaded),
    /// An older daemon has this id.
    Displaced(IdConflict),
}

/// How a daemon leaves what it launched to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It ends.
    End,
    /// The program that now lies at its path takes its place in this process.
    Replace,
}

/// How the loop came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With everything it launched.
    Whole,
    /// What it launched goes on.
    Left(Leave),
    /// Another machine has the id of this one. What it launched goes on.
    Displaced(NodeId),
}

/// The loop of the daemon: events in, actions out.
pub(crate) struct Daemon {
    node: Node<role::Daemon>,
    catalogue: Catalogue,
    /// Entries that the catalogue does not have any more, of what runs.
    retired: BTreeMap<NodeId, CatalogueEntry>,
    /// The settings that are in force.
    started_with: DaemonConfig,
    reloader: Reloader,
    reload_complaint: LogOnce,
    later_complaint: LogOnce,
    /// Where the settings lie, for what is launched: it shall be in the same show.
    origin: ConfigSource,
    state: StateDir,
    events: SyncSender<DaemonEvent>,
    presence: PresenceObserver,
    _timelines: Subscription<Received<HostTimeline>>,
    neighbours: PeerTracker,
    timekeeper: Timekeeper,
    /// What is to be started on a beat.
    starts: ChangeSchedule<(Request, Start)>,
    /// Whether the daemon itself is on the mesh.
    hears: bool,
    keepers: BTreeMap<NodeId, ManagedProcess>,
    /// What all of them may publish of their output.
    budget: LineBudget,
    /// Nothing of a keeper is due before this.
    look_at: Instant,
    /// Says when each launch may be made.
    pacer: LaunchQueue,
    /// Polite commands that are not answered yet.
    asked: Vec<PendingCommand>,
    /// Until when what a process has left behind, and was killed with it, is looked for to be reaped.
    reaping_until: Option<Instant>,
    ending: bool,
}

/// A visualization that was asked to end: who, in which run, and the answer that is to come.
type PendingCommand = (NodeId, Instance, Pending<Result<Accepted, CommandError>>);

/// How often output is read, and unanswered polite commands are looked at.
const POLL: Duration = Duration::from_millis(100);
/// How long what is killed may take to be gone. What takes longer is reaped in the course of time.
const REAPING: Duration = Duration::from_secs(1);
/// What happens by itself while nothing runs: nothing. The wait is bounded all the same, and by the watchdog.
const IDLE: Duration = Duration::from_secs(5);
/// How long a visualization may take to answer the polite command; its stop deadlines run beside it.
const POLITE: Duration = Duration::from_secs(1);
/// How long a daemon that ends waits for what it launched. Longer than the stop deadlines of the policy.
const END: Duration = Duration::from_secs(10);
/// Starts that wait for their beat, at most.
const STARTS: usize = 64;
/// Ended visualizations that stay listed; of more, those that ended first are forgotten.
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

    /// Runs until it is told to end and everything it launched has ended.
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
                    // Told twice: at once.
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
                // What was launched goes on: it is the show, whoever looks after it.
                Ok(DaemonEvent::Displaced(rival)) => return Ok(Ending::Displaced(rival.node)),
                Ok(DaemonEvent::Reload) => self.reloader.ask(ReloadCause::Signal),
                Ok(DaemonEvent::Reloaded(reloaded)) => self.take_reloaded(reloaded),
                // What is ending already ends.
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

    /// Writes down all that the next daemon needs. The mesh is not left: others treat it as what it is, a daemon that is
    /// gone for a moment, and what runs waits for the next.
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

    /// Lets time pass for everybody.
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

    /// What is done ten times a second while something runs.
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
            // Our own token: the session is opened anew, and meanwhile we hear nobody.
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
                // Of the neighbours only their presence counts.
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

    /// What a run wrote last stands in the reason of its end.
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

    /// What a program reports of itself stands in the reason of its state.
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

    /// What was not heard while the daemon itself was off the mesh is held against nobody.
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
            // Ten times a second, of everybody.
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
            // Answered by the network layer, or refused there.
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

    /// Starts it when it is time. What cannot be started is said now.
    fn start_at(&mut self, request: Request, start: Start) {
        if self.catalogue.get(&start.name).is_err() {
            // The file may have it by now.
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
            // Asked before.
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
        // A person who starts one begins anew; what is restarted goes on where it was.
        look_keeper::forget(&self.state.look_of(&id), self.state.files());
        look_keeper::forget(&self.state.saved_of(&id), self.state.files());
        self.state.files().flush(PATIENCE);
        let mut keeper = self.keeper(id.clone(), entry.name.as_str(), entry.policy);
        keeper.wait(request);
        // A new start takes the place of what has ended under this id.
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

    /// Ended visualizations stay listed, but not for ever.
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

    /// Tells the supervisor what happened, and does what it says.
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
        // First the decision, then the deed: a daemon that is killed in between leaves the next one what to do. A
        // launch is written down with its mark.
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

    /// Launches whose turn it is.
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
                let swept = run.process.sweep();
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
            // Its output goes to a file and over the mesh, where colours are noise.
            // Where it is set for the daemon, that is somebody's wish for all.
            if env::var_os(ZenohRuntimeEnv::VARIABLE).is_none() {
                let threads = spec.env.entry(ZenohRuntimeEnv::VARIABLE.into());
                threads.or_insert_with(|| ZenohRuntimeEnv::VALUE.into());
            }
            spec.env.entry("NO_COLOR".into()).or_insert_with(|| "1".into());
            let notices = if entry.notices { "on" } else { "off" };
            spec.env.entry("HANA_NOTICES".into()).or_insert_with(|| notices.into());
            keeper.write_down_launch(&spec.mark);
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

    /// So that others know that it is not lost.
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

/// What is to be said when the output of a process does not go where it should.
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

/// Where the programs of the catalogue that have no path are looked for first: beside this one.
fn beside() -> PathBuf {
    env::current_exe().ok().and_then(|path| Some(path.parent()?.into())).unwrap_or_default()
}

/// Carries what comes into an inbox over into the loop's channel.
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
