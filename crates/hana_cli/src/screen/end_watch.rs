use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use hana_output::Stream;
use ratatui::crossterm::terminal;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// Detects that a screen must end, and ends the process if the screen cannot.
///
/// The screen may be blocked by a terminal that accepts no more output.
pub(super) struct EndWatch {
    flags: Arc<Flags>,
}

#[derive(Default)]
struct Flags {
    /// Set when a signal requests the end, or the terminal is closed.
    end: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    continued: Arc<AtomicBool>,
}

/// How often the terminal is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How long a screen may take to end before this watch ends the process.
const END_TIMEOUT: Duration = Duration::from_millis(700);

impl EndWatch {
    pub(super) fn start() -> anyhow::Result<Self> {
        let flags = Arc::new(Flags::default());
        let registered = [
            (SIGINT, &flags.end),
            (SIGTERM, &flags.end),
            #[cfg(unix)]
            (signal_hook::consts::SIGHUP, &flags.end),
            #[cfg(unix)]
            (signal_hook::consts::SIGQUIT, &flags.end),
            #[cfg(unix)]
            (signal_hook::consts::SIGTSTP, &flags.stop),
            #[cfg(unix)]
            (signal_hook::consts::SIGCONT, &flags.continued),
        ];
        for (signal, flag) in registered {
            flag::register(signal, Arc::clone(flag)).context("listening for signals")?;
        }
        let watched = Arc::clone(&flags);
        thread::Builder::new()
            .name("end".into())
            .spawn(move || watch(&watched))
            .context("watching the terminal")?;
        Ok(Self { flags })
    }

    pub(super) fn is_to_end(&self) -> bool {
        self.flags.end.load(Ordering::Relaxed)
    }

    /// Returns whether SIGTSTP requested a stop of the process, and clears the request.
    pub(super) fn take_stop(&self) -> bool {
        self.flags.stop.swap(false, Ordering::Relaxed)
    }

    /// Returns whether the process was continued after a stop without a request, and clears the flag.
    pub(super) fn take_continued(&self) -> bool {
        self.flags.continued.swap(false, Ordering::Relaxed)
    }

    /// Stops the process, and returns when it is continued.
    pub(super) fn stop(&self) {
        #[cfg(unix)]
        low_level::emulate_default_handler(signal_hook::consts::SIGTSTP).ok();
        self.take_stop();
        self.wait_for_foreground();
    }

    /// Waits until the terminal may be changed.
    ///
    /// A change from the background would stop the process again, so that it could not end.
    pub(super) fn wait_for_foreground(&self) {
        while !self.is_to_end() && !is_in_foreground() {
            thread::sleep(CHECK_INTERVAL);
        }
        self.take_continued();
    }

    /// Stops the whole job of this process, as Ctrl-Z does. Does nothing if no shell could continue the job.
    pub(super) fn stop_job() {
        #[cfg(unix)]
        {
            let group = rustix::process::getpgrp();
            if rustix::process::getsid(None).is_ok_and(|session| session != group) {
                let stop = rustix::process::Signal::TSTP;
                rustix::process::kill_current_process_group(stop).ok();
            }
        }
    }
}

/// Watches until the process ends, even after the screen has ended.
fn watch(flags: &Flags) -> ! {
    let mut deadline = EndDeadline::default();
    loop {
        if Stream::Stdout.is_closed() || is_stdin_closed() {
            flags.end.store(true, Ordering::Relaxed);
        }
        if deadline.is_over(flags.end.load(Ordering::Relaxed), Instant::now()) {
            terminal::disable_raw_mode().ok();
            // Not `std::process::exit`, which may wait for the same output as the screen.
            low_level::exit(0);
        }
        thread::sleep(CHECK_INTERVAL);
    }
}

/// Whether this process is in the foreground of its terminal; also `true` if standard input is not its controlling
/// terminal.
#[cfg(unix)]
fn is_in_foreground() -> bool {
    rustix::termios::tcgetpgrp(std::io::stdin())
        .map_or(true, |foreground| foreground == rustix::process::getpgrp())
}

#[cfg(not(unix))]
const fn is_in_foreground() -> bool {
    true
}

#[cfg(unix)]
fn is_stdin_closed() -> bool {
    use rustix::event::PollFd;
    use rustix::event::PollFlags;

    let stdin = std::io::stdin();
    let mut polled = [PollFd::new(&stdin, PollFlags::empty())];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&now)).is_ok()
        && polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

#[cfg(not(unix))]
const fn is_stdin_closed() -> bool {
    false
}

/// The time left for a screen that must end. Pure.
#[derive(Debug, Default)]
struct EndDeadline {
    requested: Option<Instant>,
}

impl EndDeadline {
    fn is_over(&mut self, is_to_end: bool, now: Instant) -> bool {
        if !is_to_end {
            self.requested = None;
            return false;
        }
        let requested = *self.requested.get_or_insert(now);
        now.saturating_duration_since(requested) >= END_TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn screen_that_does_not_end_is_ended() {
        let mut deadline = EndDeadline::default();
        let began = Instant::now();
        assert!(!deadline.is_over(false, began));
        assert!(!deadline.is_over(true, began + END_TIMEOUT * 5));
        assert!(!deadline.is_over(true, began + END_TIMEOUT * 5 + CHECK_INTERVAL));
        assert!(deadline.is_over(true, began + END_TIMEOUT * 6));
    }
}
