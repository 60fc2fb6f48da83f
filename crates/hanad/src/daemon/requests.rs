//! Control requests.

use hana_network::{Request, local_us};
use hana_process::ProcessEvent;
use hana_protocol::id::NodeId;
use hana_protocol::message::{Accepted, Control, Start};
use hana_time::Scheduled;

use crate::daemon::daemon::Daemon;
use crate::reload::reloader::ReloadCause;
use crate::state::look_store;
use crate::state::state_files::FLUSH_TIMEOUT;

const ENDING: &str = "this daemon is ending";

impl Daemon {
    pub(super) fn on_request(&mut self, request: Request) {
        if self.is_ending {
            request.refuse(ENDING);
            return;
        }
        match request.control().clone() {
            Control::Start(start) => self.schedule_start(request, start),
            Control::Stop(stop) => {
                self.forward_request(request, &stop.node, ProcessEvent::StopRequested);
            },
            Control::Kill(kill) => {
                self.forward_request(request, &kill.node, ProcessEvent::KillRequested);
            },
            Control::Restart(restart) => {
                self.forward_request(request, &restart.node, ProcessEvent::RestartRequested);
            },
            Control::Acknowledge(acknowledge) => self.acknowledge(request, &acknowledge.node),
            Control::Reload(_) => self.reloader.request(ReloadCause::Command(request)),
            Control::Tempo(_) | Control::Play(_) | Control::Pause(_) => {
                self.timekeeper.on_request(&self.table.node, request);
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

    /// Schedules a start, or refuses it if it cannot be scheduled.
    pub(super) fn schedule_start(&mut self, request: Request, start: Start) {
        if self.table.catalogue.get(&start.name).is_err() {
            // The entry may have been added to the file since the last reload.
            self.reloader.request(ReloadCause::Start(request));
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
            // A start that cannot be scheduled was already refused above.
            Err(problem) => tracing::warn!("cannot schedule a start: {problem}"),
        }
    }

    /// Carries out the scheduled starts that are due.
    pub(super) fn start_due(&mut self) {
        let now = local_us();
        while let Some(((request, start), _)) =
            self.starts.take_due(&self.timekeeper.timeline(now), now)
        {
            if self.is_ending {
                request.refuse(ENDING);
            } else {
                self.start(request, &start);
            }
        }
    }

    fn start(&mut self, request: Request, start: &Start) {
        let (name, policy) = match self.table.catalogue.get(&start.name) {
            Ok(entry) => (entry.name.clone(), entry.policy.clone()),
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
            None => self.free_id(&name),
        };
        // A start by a person begins from scratch, whereas a restart continues from the saved look and state.
        let state = &self.table.state;
        look_store::forget(&state.look_of(&id), state.files());
        look_store::forget(&state.saved_of(&id), state.files());
        state.files().flush(FLUSH_TIMEOUT);
        let mut process = self.table.manage(id.clone(), name.as_str(), policy);
        process.add_request(request);
        // The new process replaces an ended one with the same id, whose publishers must end first.
        self.table.processes.remove(&id);
        self.table.processes.insert(id.clone(), process);
        self.handle(&id, ProcessEvent::StartRequested);
        self.table.forget_ended();
    }

    fn acknowledge(&mut self, request: Request, node: &NodeId) {
        self.handle(node, ProcessEvent::Acknowledged);
        match self.table.processes.get(node).map(|process| &process.supervisor) {
            Some(supervisor) if supervisor.is_acknowledged() => request.accept(Accepted {}),
            Some(supervisor) => request.refuse(format!(
                "there is no fault to acknowledge: '{node}' is {}",
                supervisor.state()
            )),
            None => request.refuse(not_launched(node)),
        }
    }

    fn forward_request(&mut self, request: Request, node: &NodeId, event: ProcessEvent) {
        let Some(process) = self.table.processes.get_mut(node) else {
            request.refuse(not_launched(node));
            return;
        };
        process.add_request(request);
        self.handle(node, event);
    }

    fn is_taken(&self, id: &NodeId) -> bool {
        self.peers.is_taken(id) || self.table.is_taken(id)
    }

    fn free_id(&self, name: &NodeId) -> NodeId {
        let numbered = (2..).map(|number| name.numbered(number));
        std::iter::once(name.clone())
            .chain(numbered)
            .find(|id| !self.is_taken(id))
            .unwrap_or_else(|| name.clone())
    }
}

fn not_launched(node: &NodeId) -> String {
    format!("this daemon has not launched '{node}'; `hana nodes` shows the host of each node")
}
