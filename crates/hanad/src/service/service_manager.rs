//! Notifications to the service manager: systemd, on Linux, through the socket in `NOTIFY_SOCKET`.
//!
//! On other platforms, or if the daemon is started by hand, nothing is sent.

use std::time::Duration;

/// Returns how often the service manager requires a heartbeat, or `None` if it requires none.
pub(crate) fn watches_every() -> Option<Duration> {
    imp::watches_every()
}

/// Reports that the daemon is on the mesh. `systemctl status` displays `status`.
pub(crate) fn ready(status: &str) {
    imp::ready(status);
}

/// Reports that the daemon's loop is running.
pub(crate) fn alive() {
    imp::alive();
}

/// Reports that the daemon is ending, together with everything that it launched.
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
        notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    pub(super) fn alive() {
        notify(&[NotifyState::Watchdog]);
    }

    pub(super) fn stopping() {
        notify(&[NotifyState::Stopping]);
    }

    fn notify(state: &[NotifyState<'_>]) {
        if let Err(problem) = sd_notify::notify(state) {
            tracing::debug!("cannot notify systemd: {problem}");
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
