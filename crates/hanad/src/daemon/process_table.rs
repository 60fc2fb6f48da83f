use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use hana_network::{CommandError, ConfigSource, Node, Pending, PresenceObserver};
use hana_process::{Catalogue, CatalogueEntry, Instance, Policy, ProcessEvent};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::Accepted;

use crate::daemon::event::DaemonEvent;
use crate::daemon::managed_process::ManagedProcess;
use crate::output::process_output::LineBudget;
use crate::state::state_dir::StateDir;

/// The processes that the daemon manages, and everything that their launches need.
pub(crate) struct ProcessTable {
    pub(super) node: Node<role::Daemon>,
    pub(super) presence: PresenceObserver,
    pub(super) catalogue: Catalogue,
    /// The entries of running visualizations that are no longer in the catalogue.
    pub(super) retired: BTreeMap<NodeId, CatalogueEntry>,
    /// The source of the settings, which launched programs receive so that they join the same show.
    pub(super) config_source: ConfigSource,
    pub(super) state: StateDir,
    pub(super) events: SyncSender<DaemonEvent>,
    pub(super) processes: BTreeMap<NodeId, ManagedProcess>,
    /// The number of output lines that all visualizations together may publish.
    pub(super) budget: LineBudget,
    /// The earliest deadline of any process.
    pub(super) check_at: Instant,
    /// The shutdown commands that have no reply yet.
    pub(super) shutdowns: Vec<PendingShutdown>,
    /// The time until which the loop reaps killed orphans.
    pub(super) reap_until: Option<Instant>,
}

/// A shutdown command in progress: the visualization, its instance, and the pending reply.
type PendingShutdown = (NodeId, Instance, Pending<Result<Accepted, CommandError>>);

/// The most ended visualizations in the list. If there are more, the ones that ended first are removed.
const MAX_ENDED: usize = 64;

impl ProcessTable {
    pub(crate) fn new(
        node: Node<role::Daemon>,
        catalogue: Catalogue,
        config_source: ConfigSource,
        state: StateDir,
        events: SyncSender<DaemonEvent>,
    ) -> Self {
        Self {
            presence: node.watch_presence(),
            node,
            catalogue,
            retired: BTreeMap::new(),
            config_source,
            state,
            events,
            processes: BTreeMap::new(),
            budget: LineBudget::new(),
            check_at: Instant::now(),
            shutdowns: vec![],
            reap_until: None,
        }
    }

    pub(super) fn manage(&self, id: NodeId, name: &str, policy: Policy) -> ManagedProcess {
        ManagedProcess::new(id, name, policy, &self.state, &self.budget, &self.node, &self.presence)
    }

    /// Returns whether the id is in use: its process exists or is about to be launched.
    pub(super) fn is_taken(&self, id: &NodeId) -> bool {
        self.processes.get(id).is_some_and(ManagedProcess::is_taken)
    }

    /// Returns the ids of the processes that exist or are about to be launched.
    pub(super) fn taken(&self) -> Vec<NodeId> {
        self.ids_where(ManagedProcess::is_taken)
    }

    pub(super) fn all_ended(&self) -> bool {
        self.processes.values().all(|process| process.running.is_none())
    }

    /// Returns the processes that need a [`ProcessEvent::Tick`] now.
    pub(super) fn due(&self, now: Instant) -> Vec<NodeId> {
        self.ids_where(|process| process.supervisor.next_deadline().is_some_and(|at| at <= now))
    }

    /// Returns the processes whose health monitor reports them as unresponsive.
    pub(super) fn unresponsive(&self, now: Instant) -> Vec<NodeId> {
        let is_unresponsive = |process: &ManagedProcess| {
            process.health.as_ref().is_some_and(|health| health.verdict(now).is_unresponsive())
        };
        self.ids_where(is_unresponsive)
    }

    fn ids_where(&self, condition: impl Fn(&ManagedProcess) -> bool) -> Vec<NodeId> {
        let processes = self.processes.iter().filter(|(_, process)| condition(process));
        processes.map(|(id, _)| id.clone()).collect()
    }

    /// Returns whether any process or command must be polled.
    pub(super) fn needs_polling(&self) -> bool {
        !self.shutdowns.is_empty()
            || self.reap_until.is_some_and(|until| until > Instant::now())
            || !self.all_ended()
    }

    /// Polls all processes and shutdown commands, ten times a second while a process runs. Returns their events.
    pub(super) fn poll(&mut self) -> Vec<(NodeId, ProcessEvent)> {
        let now = Instant::now();
        for process in self.processes.values_mut() {
            process.poll(now);
        }
        let mut events = vec![];
        for (id, instance, reply) in std::mem::take(&mut self.shutdowns) {
            match reply.try_recv() {
                None if !reply.is_cancelled() => self.shutdowns.push((id, instance, reply)),
                Some(Ok(_)) => {},
                Some(Err(_)) | None => {
                    events.push((id, ProcessEvent::ShutdownFailed { instance }));
                },
            }
        }
        hana_process::reap_orphans();
        events
    }

    /// Adjusts all published and recorded times after the wall clock was set.
    pub(super) fn follow_clock(&mut self) {
        self.processes.values_mut().for_each(ManagedProcess::follow_clock);
    }

    /// Moves the next check forward to the earliest deadline of the processes, if that is before the planned time.
    pub(super) fn schedule_next(&mut self, now: Instant) {
        let deadlines = self.processes.values().filter_map(|process| process.next_deadline(now));
        self.check_at = deadlines.fold(self.check_at, Instant::min);
    }

    /// Removes the oldest ended visualizations from the list if there are too many.
    pub(super) fn forget_ended(&mut self) {
        let mut ended: Vec<(Instant, NodeId)> = self
            .processes
            .iter()
            .filter(|(_, process)| !process.is_taken())
            .map(|(id, process)| (process.supervisor.since(), id.clone()))
            .collect();
        ended.sort();
        let surplus = ended.len().saturating_sub(MAX_ENDED);
        for (_, id) in ended.into_iter().take(surplus) {
            if let Some(mut process) = self.processes.remove(&id) {
                process.forget_record();
                self.state.files().release(&self.state.look_of(&id));
            }
        }
    }

    /// Removes the records of ended processes, because the daemon ends normally.
    pub(super) fn forget_records_of_ended(&mut self) {
        for process in self.processes.values_mut().filter(|process| process.running.is_none()) {
            process.forget_record();
        }
    }

    /// Saves everything that the next daemon needs.
    ///
    /// The daemon does not announce that it leaves the mesh: other nodes treat it as briefly absent, and the running
    /// processes wait for the next daemon.
    pub(super) fn hand_over(&mut self) {
        tracing::info!("handing over to the next daemon; launched processes keep running");
        let now = Instant::now();
        for process in self.processes.values_mut() {
            process.hand_over(now);
        }
    }
}
