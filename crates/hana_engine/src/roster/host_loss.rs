use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hana_protocol::id::NodeId;
use hana_protocol::message::LossCause;

/// Tells a lost host from a lost daemon. Pure: it is told which daemons vanish and come back and how their
/// machines answer when somebody knocks at the daemon's port, and says when to knock.
///
/// | who knocks hears | it is |
/// |---|---|
/// | nothing | the host that is lost |
/// | a refusal | the daemon that is lost |
/// | somebody who opens | neither: it is about to join, or cannot be seen from here |
#[derive(Debug, Default)]
pub struct HostLossDetector {
    hosts: BTreeMap<NodeId, Loss>,
}

#[derive(Debug)]
struct Loss {
    since_ms: u64,
    cause: Option<LossCause>,
    /// Since when somebody has opened, whenever one knocked.
    answers_since: Option<Instant>,
    /// When to knock next; none while somebody knocks.
    knock_at: Option<Instant>,
}

/// How a machine answered a knock at its daemon's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeOutcome {
    /// The port is closed: the machine is there.
    Refused,
    /// No answer, or no way there.
    Silent,
    /// Somebody opened.
    Answered,
}

/// Hosts that are waited for; of more, somebody makes up names.
const MAX_HOSTS: usize = 256;
/// A daemon that ends in good order says so; its word may come a moment after its token has gone.
const LAST_WORD: Duration = Duration::from_millis(40);
/// A daemon whose port answers is most likely joining: a packet that is lost makes two nodes look for each other a little
/// longer.
const JOINING: Duration = Duration::from_secs(12);
/// Between two knocks.
const KNOCK_AGAIN: Duration = Duration::from_secs(2);

impl HostLossDetector {
    /// The daemon of `host` is gone from the mesh, without a word so far.
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

    /// The daemon of `host` is there, or has said that it goes: nothing is lost. What it was thought to be.
    pub fn settled(&mut self, host: &NodeId) -> Option<LossCause> {
        self.hosts.remove(host)?.cause
    }

    /// The wall clock here was set forward by so many milliseconds.
    pub fn wall_clock_was_set(&mut self, set_ms: i64) {
        for loss in self.hosts.values_mut() {
            loss.since_ms = loss.since_ms.saturating_add_signed(set_ms);
        }
    }

    /// The hosts to knock at now. Each knock is to be answered with [`HostLossDetector::knocked`].
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

    /// When [`HostLossDetector::due`] has something to say next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.hosts.values().filter_map(|loss| loss.knock_at).min()
    }

    /// Somebody has knocked. The cause, if it is another one now.
    pub fn knocked(
        &mut self,
        host: &NodeId,
        knock: ProbeOutcome,
        now: Instant,
    ) -> Option<LossCause> {
        let loss = self.hosts.get_mut(host)?;
        loss.knock_at = Some(now + KNOCK_AGAIN);
        if knock == ProbeOutcome::Answered {
            let since = *loss.answers_since.get_or_insert(now);
            if now.saturating_duration_since(since) < JOINING {
                return None;
            }
        } else {
            loss.answers_since = None;
        }
        let cause = match knock {
            ProbeOutcome::Refused => LossCause::DaemonLost,
            ProbeOutcome::Silent => LossCause::HostLost,
            ProbeOutcome::Answered => LossCause::OffMesh,
        };
        (loss.cause.replace(cause) != Some(cause)).then_some(cause)
    }

    /// Whether the daemon of `host` is gone without a word.
    #[must_use]
    pub fn is_missing(&self, host: &NodeId) -> bool {
        self.hosts.contains_key(host)
    }

    /// Why the host is lost, once that is known.
    #[must_use]
    pub fn cause(&self, host: &NodeId) -> Option<LossCause> {
        self.hosts.get(host)?.cause
    }

    /// All that is lost for a known cause: host, cause, since when in Unix milliseconds.
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
    fn silence_is_a_lost_host_and_a_refusal_a_lost_daemon() {
        for (knock, cause) in [
            (ProbeOutcome::Silent, LossCause::HostLost),
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
            assert_eq!(watch.settled(&host()), Some(cause));
            assert_eq!(watch.next_deadline(), None);
        }
    }

    #[test]
    fn one_that_is_joining_is_not_lost_and_one_that_never_joins_is() {
        let (mut watch, start) = vanished();
        let mut said = vec![];
        while let Some(at) = watch.next_deadline().filter(|at| *at < start + 2 * JOINING) {
            watch.due(at);
            said.extend(
                watch.knocked(&host(), ProbeOutcome::Answered, at).map(|cause| (cause, at)),
            );
        }
        let [(LossCause::OffMesh, at)] = said[..] else { panic!("{said:?}") };
        assert!(at >= start + JOINING);
    }

    #[test]
    fn a_lost_host_that_answers_again_stays_what_it_was_until_it_has_had_time_to_join() {
        let (mut watch, start) = vanished();
        watch.knocked(&host(), ProbeOutcome::Silent, start);
        assert_eq!(watch.knocked(&host(), ProbeOutcome::Answered, start + KNOCK_AGAIN), None);
        assert_eq!(watch.cause(&host()), Some(LossCause::HostLost));
        assert_eq!(watch.settled(&host()), Some(LossCause::HostLost));
    }

    #[test]
    fn a_machine_that_comes_back_without_its_daemon_is_said_so_once() {
        let (mut watch, start) = vanished();
        let mut causes = vec![];
        for (knock, seconds) in [
            (ProbeOutcome::Silent, 1),
            (ProbeOutcome::Silent, 3),
            (ProbeOutcome::Refused, 5),
            (ProbeOutcome::Refused, 7),
        ] {
            causes.extend(watch.knocked(&host(), knock, start + Duration::from_secs(seconds)));
        }
        assert_eq!(causes, vec![LossCause::HostLost, LossCause::DaemonLost]);
    }

    #[test]
    fn one_that_has_said_goodbye_is_not_missed() {
        let (mut watch, start) = vanished();
        assert_eq!(watch.settled(&host()), None);
        assert_eq!(watch.due(start + Duration::from_secs(9)), vec![]);
        assert_eq!(watch.knocked(&host(), ProbeOutcome::Refused, start), None);
    }
}
