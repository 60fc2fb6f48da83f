//! The outcome of a start: whether the launched program runs, and remarks about it for the person.

use std::time::{Duration, Instant};

use hana_network::Node;
use hana_protocol::contract::Topic;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{ProcessState, ProcessStatus, Started};
use serde::Serialize;

use crate::mesh;

/// How long to wait until the launched program runs or has ended. A longer start is reported as starting.
const START_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval between two checks of the program's state.
const POLL_INTERVAL: Duration = Duration::from_millis(30);

/// The launched program, and its state a moment later.
#[derive(Debug, Serialize)]
pub(crate) struct StartOutcome {
    node: NodeId,
    /// The launched process.
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<ProcessState>,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

impl StartOutcome {
    /// Waits a few seconds at most until the daemon of `host` reports that the program runs or has ended.
    pub(crate) fn wait(node: &Node<role::App>, host: &NodeId, started: &Started) -> Self {
        let deadline = Instant::now() + START_TIMEOUT;
        let topic = Topic::<ProcessStatus>::process(host.clone(), started.node.clone());
        let mut last = None;
        loop {
            let found = mesh::query(node, topic.clone()).ok();
            last = found.and_then(|found| found.into_iter().next()).or(last);
            let status = last.as_ref().map(|received| &received.message);
            let is_clear = status.is_some_and(|status| !is_undecided(status, started.pid));
            if is_clear || Instant::now() >= deadline {
                return Self::of(started, status);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn of(started: &Started, status: Option<&ProcessStatus>) -> Self {
        Self {
            node: started.node.clone(),
            pid: started.pid,
            state: status.map(|status| status.state),
            reason: status.map(|status| status.reason.clone()).unwrap_or_default(),
        }
    }

    /// Describes the outcome for people, in one line.
    pub(crate) fn describe(&self, host: &NodeId) -> String {
        let Self { node, pid, state, reason } = self;
        let more = if reason.is_empty() { String::new() } else { format!("; {reason}") };
        match state {
            None => format!(
                "'{node}' was started on '{host}' as process {pid}; its state is not known yet, `hana nodes` lists it"
            ),
            Some(ProcessState::Running) => {
                format!("'{node}' runs on '{host}' as process {pid}{more}")
            },
            Some(state) => {
                let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                let log = if matches!(
                    state,
                    ProcessState::Crashed | ProcessState::CrashLoop | ProcessState::Restarting
                ) {
                    format!(" (see `hana logs {node}`)")
                } else {
                    String::new()
                };
                format!(
                    "'{node}' was started on '{host}' as process {pid} and is {state}{why}{log}"
                )
            },
        }
    }
}

/// Whether the start is still in progress: the launched process is starting.
fn is_undecided(status: &ProcessStatus, pid: u32) -> bool {
    status.state == ProcessState::Starting && status.pid == Some(pid)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn status(state: ProcessState, reason: &str) -> ProcessStatus {
        let node = NodeId::new("ripples").unwrap();
        ProcessStatus {
            name: "ripples".into(),
            state,
            reason: reason.into(),
            since_ms: 0,
            pid: Some(7),
            exit: None,
            restarts: 0,
            acknowledged: false,
            node,
        }
    }

    fn words(state: ProcessState, reason: &str) -> String {
        let started = Started { node: NodeId::new("ripples").unwrap(), pid: 7 };
        let host = NodeId::new("stage").unwrap();
        StartOutcome::of(&started, Some(&status(state, reason))).describe(&host)
    }

    #[test]
    fn outcome_names_host_process_and_reason() {
        assert_eq!(words(ProcessState::Running, ""), "'ripples' runs on 'stage' as process 7");
        let headless = words(ProcessState::Running, "headless, no window: no display");
        assert_eq!(
            headless,
            "'ripples' runs on 'stage' as process 7; headless, no window: no display"
        );
        let crashed = words(ProcessState::CrashLoop, "exit code 1; it last wrote: no display");
        assert!(crashed.contains("is crash_loop: exit code 1; it last wrote"), "{crashed}");
    }

    #[test]
    fn only_the_launched_process_is_awaited() {
        assert!(is_undecided(&status(ProcessState::Starting, ""), 7));
        assert!(!is_undecided(&status(ProcessState::Starting, "again"), 6), "it crashed before");
        assert!(!is_undecided(&status(ProcessState::Running, ""), 7));
    }
}
