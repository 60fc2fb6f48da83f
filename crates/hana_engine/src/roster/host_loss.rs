use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hana_protocol::id::NodeId;
use hana_protocol::message::LossCause;

/// Distinguishes a lost host from a lost daemon by probing the daemon's port. Pure.
///
/// The caller reports which daemons disappear and return, and the outcome of each probe; the detector determines when
/// to probe.
///
/// | outcome of the probe | verdict |
/// |---|---|
/// | no answer | the host is lost |
/// | connection refused | the daemon is lost |
/// | connection accepted | neither: the daemon is about to join, or is unreachable over the mesh |
#[derive(Debug, Default)]
pub struct HostLossDetector {
    hosts: BTreeMap<NodeId, Loss>,
}

#[derive(Debug)]
struct Loss {
    since_ms: u64,
    cause: Option<LossCause>,
    /// Time since which every probe has been accepted.
    answers_since: Option<Instant>,
    /// Time of the next probe; `None` while one is running.
    knock_at: Option<Instant>,
}

/// The outcome of a probe of a daemon's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeOutcome {
    /// The connection was refused: the port is closed, so the machine is up.
    Refused,
    /// There was no answer, or no route.
    Timeout,
    /// The connection was accepted.
    Connected,
}

/// Maximum number of missing hosts; names beyond it are considered forged.
const MAX_HOSTS: usize = 256;
/// Delay before the first probe: the announcement of a clean exit may arrive shortly after the token is removed.
const LAST_WORD: Duration = Duration::from_millis(40);
/// Time for which a daemon whose port accepts is assumed to be joining: after a lost packet, discovery takes longer.
const JOINING: Duration = Duration::from_secs(12);
/// Interval between two probes.
const KNOCK_AGAIN: Duration = Duration::from_secs(2);

impl HostLossDetector {
    /// Handles the disappearance of the daemon of `host`, for which no clean exit was announced so far.
    pub fn vanished(&mut self, host: &NodeId, now: Instant, unix_ms: u64) {
        if self.hosts.len() >= MAX_HOSTS && !self.hosts.contains_key(host) {
            return;
        }
        self.hosts.entry(host.clone()).or_insert(Loss {
            since_ms: unix_ms,
            cause: None,
            answers_since: None,
            knock_at: Some(now + LAST_WORD),
        });
    }

    /// Handles the return or the clean exit of the daemon of `host`; returns the cause reported for its loss, if any.
    pub fn resolved(&mut self, host: &NodeId) -> Option<LossCause> {
        self.hosts.remove(host)?.cause
    }

    /// Shifts all wall-clock times after this machine's clock was set forward by `set_ms` (back if negative).
    pub fn wall_clock_was_set(&mut self, set_ms: i64) {
        for loss in self.hosts.values_mut() {
            loss.since_ms = loss.since_ms.saturating_add_signed(set_ms);
        }
    }

    /// Returns the hosts to probe now. Report each outcome with [`HostLossDetector::knocked`].
    pub fn due(&mut self, now: Instant) -> Vec<NodeId> {
        let due = |loss: &Loss| loss.knock_at.is_some_and(|at| at <= now);
        let hosts = self.hosts.iter_mut().filter(|(_, loss)| due(loss));
        hosts
            .map(|(host, loss)| {
                loss.knock_at = None;
                host.clone()
            })
            .collect()
    }

    /// Returns the time of the next call of [`HostLossDetector::due`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.hosts.values().filter_map(|loss| loss.knock_at).min()
    }

    /// Handles the outcome of a probe; returns the cause of the loss if it changed.
    pub fn knocked(
        &mut self,
        host: &NodeId,
        knock: ProbeOutcome,
        now: Instant,
    ) -> Option<LossCause> {
        let loss = self.hosts.get_mut(host)?;
        loss.knock_at = Some(now + KNOCK_AGAIN);
        if knock == ProbeOutcome::Connected {
            let since = *loss.answers_since.get_or_insert(now);
            if now.saturating_duration_since(since) < JOINING {
                return None;
            }
        } else {
            loss.answers_since = None;
        }
        let cause = match knock {
            ProbeOutcome::Refused => LossCause::DaemonLost,
            ProbeOutcome::Timeout => LossCause::HostLost,
            ProbeOutcome::Connected => LossCause::OffMesh,
        };
        (loss.cause.replace(cause) != Some(cause)).then_some(cause)
    }

    /// Returns whether the daemon of `host` has disappeared without a clean exit.
    #[must_use]
    pub fn is_missing(&self, host: &NodeId) -> bool {
        self.hosts.contains_key(host)
    }

    /// Returns the cause of the host's loss, once known.
    #[must_use]
    pub fn cause(&self, host: &NodeId) -> Option<LossCause> {
        self.hosts.get(host)?.cause
    }

    /// Returns all losses with a known cause, each with the host, the cause, and its start in Unix milliseconds.
    pub fn lost(&self) -> impl Iterator<Item = (&NodeId, LossCause, u64)> {
        self.hosts.iter().filter_map(|(host, loss)| Some((host, loss.cause?, loss.since_ms)))
    }
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used)]
mod tests {
    use super::*;

    fn host() -> NodeId {
        NodeId::new("h1").unwrap()
    }

    fn vanished() -> (HostLossDetector, Instant) {
        let start = Instant::now();
        let mut watch = HostLossDetector::default();
        watch.vanished(&host(), start, 7);
        (watch, start)
    }

    #[test]
    fn silent_probe_is_a_lost_host_and_a_refusal_a_lost_daemon() {
        for (knock, cause) in [
            (ProbeOutcome::Timeout, LossCause::HostLost),
            (ProbeOutcome::Refused, LossCause::DaemonLost),
        ] {
            let (mut watch, start) = vanished();
            assert_eq!(watch.due(start), vec![], "its last word may still come");
            assert_eq!(watch.cause(&host()), None);
            let at = watch.next_deadline().unwrap();
            assert!(at - start < Duration::from_millis(100));
            assert_eq!(watch.due(at), vec![host()]);
            assert_eq!(watch.due(at), vec![], "somebody knocks already");
            assert_eq!(watch.knocked(&host(), knock, at), Some(cause));
            assert_eq!(watch.lost().collect::<Vec<_>>(), vec![(&host(), cause, 7)]);
            assert_eq!(watch.resolved(&host()), Some(cause));
            assert_eq!(watch.next_deadline(), None);
        }
    }

    #[test]
    fn joining_host_is_not_lost_unless_it_never_joins() {
        let (mut watch, start) = vanished();
        let mut said = vec![];
        while let Some(at) = watch.next_deadline().filter(|at| *at < start + 2 * JOINING) {
            watch.due(at);
            said.extend(
                watch.knocked(&host(), ProbeOutcome::Connected, at).map(|cause| (cause, at)),
            );
        }
        let [(LossCause::OffMesh, at)] = said[..] else { panic!("{said:?}") };
        assert!(at >= start + JOINING);
    }

    #[test]
    fn lost_host_that_responds_again_has_time_to_join() {
        let (mut watch, start) = vanished();
        watch.knocked(&host(), ProbeOutcome::Timeout, start);
        assert_eq!(watch.knocked(&host(), ProbeOutcome::Connected, start + KNOCK_AGAIN), None);
        assert_eq!(watch.cause(&host()), Some(LossCause::HostLost));
        assert_eq!(watch.resolved(&host()), Some(LossCause::HostLost));
    }

    #[test]
    fn machine_back_without_daemon_is_reported_once() {
        let (mut watch, start) = vanished();
        let mut causes = vec![];
        for (knock, seconds) in [
            (ProbeOutcome::Timeout, 1),
            (ProbeOutcome::Timeout, 3),
            (ProbeOutcome::Refused, 5),
            (ProbeOutcome::Refused, 7),
        ] {
            causes.extend(watch.knocked(&host(), knock, start + Duration::from_secs(seconds)));
        }
        assert_eq!(causes, vec![LossCause::HostLost, LossCause::DaemonLost]);
    }

    #[test]
    fn closed_host_is_not_missed() {
        let (mut watch, start) = vanished();
        assert_eq!(watch.resolved(&host()), None);
        assert_eq!(watch.due(start + Duration::from_secs(9)), vec![]);
        assert_eq!(watch.knocked(&host(), ProbeOutcome::Refused, start), None);
    }
}
