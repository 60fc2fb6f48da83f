//! What the daemon tells the service manager that started it, where that listens: systemd, on Linux, through
//! the socket in `NOTIFY_SOCKET`. Elsewhere, and started by hand, nothing.

use std::time::Duration;

/// How often the service manager wants to hear that the daemon is well, if it wants to.
pub(crate) fn watches_every() -> Option<Duration> {
    imp::watches_every()
}

/// The daemon is on the mesh; `status` says how it is, for `systemctl status`.
pub(crate) fn ready(status: &str) {
    imp::ready(status);
}

/// The daemon's loop moves.
pub(crate) fn alive() {
    imp::alive();
}

/// The daemon ends, with what it launched.
pub(crate) fn stopping() {
    imp::stopping();
}

#[cfg(target_os = "linux")]
mod imp {
    use std::time::Duration;

    use sd_notify::NotifyState;

    pub(super) fn watches_every() -> Option<Duration> {
        sd_notify::watchdog_enabled()
    }

    pub(super) fn ready(status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    pub(super) fn alive() {
        tell(&[NotifyState::Watchdog]);
    }

    pub(super) fn stopping() {
        tell(&[NotifyState::Stopping]);
    }

    fn tell(state: &[NotifyState<'_>]) {
        if let Err(problem) = sd_notify::notify(state) {
            tracing::debug!("systemd does not hear: {problem}");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::time::Duration;

    pub(super) const fn watches_every() -> Option<Duration> {
        None
    }

    pub(super) const fn ready(_status: &str) {}

    pub(super) const fn alive() {}

    pub(super) const fn stopping() {}
}
