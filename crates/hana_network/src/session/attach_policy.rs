use std::time::{Duration, Instant};

use crate::session::attach_mode::AttachMode;

/// Decides when to switch the attach mode. Pure: each observation comes with the current time.
#[derive(Debug)]
pub(super) struct AttachPolicy {
    pub(super) mode: AttachMode,
    /// The time at which the daemon of a client disappeared; `None` while it is connected.
    alone_since: Option<Instant>,
    /// The earliest time of another attempt, after the listener at the daemon's port did not behave like the daemon.
    not_before: Option<Instant>,
    /// The cause of the last failed switch, so that it is logged once, however many attempts follow.
    pub(super) reported: Option<String>,
    /// The time of the last switch to the mode without a daemon.
    left_at: Option<Instant>,
    /// The number of consecutive losses of the daemon that each came soon after the previous one.
    relapses: u32,
    /// The time from which a daemon has been listening without interruption.
    listening_since: Option<Instant>,
}

/// If the node loses its daemon twice within this time, the daemon is flapping.
const FLAPPING: Duration = Duration::from_mins(2);
/// The time for which a daemon that flapped once must listen before it is trusted. It doubles each time the daemon
/// flaps again.
const BASE_TRIAL: Duration = Duration::from_secs(4);
/// The maximum number of doublings.
const MAX_DOUBLINGS: u32 = 3;

/// The time after which the node stops waiting for a lost daemon. A restarted daemon is back sooner.
const DAEMON_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after the listener at the daemon's port did not respond like a daemon.
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

    /// Returns the attach mode to which the node must switch, if any.
    ///
    /// `daemon` is true if a client is connected to the daemon, or if a daemon listens at its port while the node is a
    /// peer.
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

    /// Returns the time for which a daemon must listen before it is trusted.
    ///
    /// The more often the daemon flapped, the longer the time.
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
        // The test covers ten minutes with four checks a second: the daemon runs for six seconds, then is gone for
        // six.
        for look in 0..2_400_u32 {
            let now = start + CHECK_INTERVAL * look;
            let daemon = look % 48 < 24;
            if let Some(mode) = policy.poll(daemon, now) {
                policy.changed(mode, now);
                changes += 1;
            }
        }
        assert!(changes <= 6, "{changes} changes in ten minutes");
        // A daemon that stays is eventually trusted.
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
