use std::time::{Duration, Instant};

use crate::session::attach_mode::AttachMode;

/// Decides when to switch the attach mode. Pure: receives observations and the current time.
#[derive(Debug)]
pub(super) struct AttachPolicy {
    pub(super) mode: AttachMode,
    /// The time at which the daemon disappeared.
    alone_since: Option<Instant>,
    /// The earliest time to try the daemon's port again, after the listener there turned out not to be our daemon.
    not_before: Option<Instant>,
    /// The cause of the last failed switch; logged once, however many attempts follow.
    pub(super) reported: Option<String>,
    /// The time of the last switch to running without the daemon.
    left_at: Option<Instant>,
    /// How many times in a row the daemon was lost again soon after it returned.
    relapses: u32,
    /// The time since which a daemon has been listening.
    listening_since: Option<Instant>,
}

/// A daemon that is lost again within this time is flapping.
const FLAPPING: Duration = Duration::from_mins(2);
/// How long a daemon that flapped once must listen before it is trusted; doubled for each further time.
const BASE_TRIAL: Duration = Duration::from_secs(4);
/// The maximum number of doublings.
const MAX_DOUBLINGS: u32 = 3;

/// The time after which the node stops waiting for a lost daemon. A restarted daemon is back sooner.
const DAEMON_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after a listener on the daemon's port did not respond like a daemon.
const RETRY_DELAY: Duration = Duration::from_secs(10);
impl AttachPolicy {
    pub(super) const fn new(mode: AttachMode) -> Self {
        Self {
            mode,
            alone_since: None,
            not_before: None,
            reported: None,
            left_at: None,
            relapses: 0,
            listening_since: None,
        }
    }

    /// Returns the attach mode to switch to, if any.
    ///
    /// `daemon` is whether there is a daemon: connected, for a client; listening, for a peer.
    pub(super) fn poll(&mut self, daemon: bool, now: Instant) -> Option<AttachMode> {
        match self.mode {
            AttachMode::ViaDaemon if daemon => {
                self.alone_since = None;
                None
            },
            AttachMode::ViaDaemon => {
                let since = *self.alone_since.get_or_insert(now);
                (now.saturating_duration_since(since) >= DAEMON_TIMEOUT).then_some(AttachMode::Peer)
            },
            AttachMode::Peer => {
                let may = self.not_before.is_none_or(|at| now >= at);
                if !daemon {
                    self.listening_since = None;
                    return None;
                }
                let since = *self.listening_since.get_or_insert(now);
                let is_trusted = now.saturating_duration_since(since) >= self.trial();
                (may && is_trusted).then_some(AttachMode::ViaDaemon)
            },
        }
    }

    /// Returns how long a daemon must listen before it is trusted: longer the more often it flapped.
    fn trial(&self) -> Duration {
        match self.relapses {
            0 => Duration::ZERO,
            relapses => BASE_TRIAL * 2_u32.pow((relapses - 1).min(MAX_DOUBLINGS)),
        }
    }

    pub(super) fn changed(&mut self, mode: AttachMode, now: Instant) {
        let (mut left_at, mut relapses) = (self.left_at, self.relapses);
        if self.mode == AttachMode::ViaDaemon && mode == AttachMode::Peer {
            let soon = |at| now.saturating_duration_since(at) < FLAPPING;
            relapses = if left_at.is_some_and(soon) { relapses.saturating_add(1) } else { 0 };
            left_at = Some(now);
        }
        *self = Self { left_at, relapses, ..Self::new(mode) };
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.alone_since = None;
        self.not_before = Some(now + RETRY_DELAY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK_INTERVAL: Duration = Duration::from_millis(250);

    #[test]
    fn client_waits_five_seconds_for_its_daemon() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut policy = AttachPolicy::new(AttachMode::ViaDaemon);
        assert_eq!(policy.poll(true, start), None);
        assert_eq!(policy.poll(false, after(1000)), None);
        assert_eq!(policy.poll(true, after(4000)), None, "it was restarted");
        assert_eq!(policy.poll(false, after(5000)), None);
        assert_eq!(policy.poll(false, after(9900)), None);
        assert_eq!(policy.poll(false, after(10_000)), Some(AttachMode::Peer));
        policy.changed(AttachMode::Peer, after(10_000));
        assert_eq!(policy.poll(false, after(11_000)), None);
        assert_eq!(policy.poll(true, after(12_000)), Some(AttachMode::ViaDaemon));
    }

    #[test]
    fn flapping_daemon_is_followed_less_and_less() {
        let start = Instant::now();
        let mut policy = AttachPolicy::new(AttachMode::ViaDaemon);
        let mut changes = 0;
        // Ten minutes with four checks a second: the daemon is there for six seconds, then gone for six.
        for look in 0..2_400_u32 {
            let now = start + CHECK_INTERVAL * look;
            let daemon = look % 48 < 24;
            if let Some(mode) = policy.poll(daemon, now) {
                policy.changed(mode, now);
                changes += 1;
            }
        }
        assert!(changes <= 6, "{changes} changes in ten minutes");
        // A daemon that stays is trusted in the end.
        let trusted =
            (2_400..2_600).find_map(|look| policy.poll(true, start + CHECK_INTERVAL * look));
        assert_eq!(trusted, Some(AttachMode::ViaDaemon));
    }

    #[test]
    fn foreign_listener_is_retried_after_a_pause() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut policy = AttachPolicy::new(AttachMode::Peer);
        assert_eq!(policy.poll(true, start), Some(AttachMode::ViaDaemon));
        policy.failed(start);
        assert_eq!(policy.poll(true, after(9000)), None);
        assert_eq!(policy.poll(true, after(10_000)), Some(AttachMode::ViaDaemon));
    }
}
