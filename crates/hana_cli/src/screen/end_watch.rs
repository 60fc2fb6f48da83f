use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use hana_output::Stream;
use ratatui::crossterm::terminal;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// Notices that a screen is to end, and ends the process when the screen cannot.
///
/// It may wait for a terminal that takes no more output.
pub(super) struct EndWatch {
    flags: Arc<Flags>,
}

#[derive(Default)]
struct Flags {
    /// A signal asks for the end, or the terminal is gone.
    end: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    continued: Arc<AtomicBool>,
}

/// How often it is looked whether the terminal is still there.
const LOOK: Duration = Duration::from_millis(100);
/// How long a screen has to end by itself.
const GRACE: Duration = Duration::from_millis(700);

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

    /// Whether the process is asked to stop for a while.
    pub(super) fn take_stop(&self) -> bool {
        self.flags.stop.swap(false, Ordering::Relaxed)
    }

    /// Whether the process was stopped without being asked, and goes on.
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

    /// Waits until the terminal may be changed. In the background that would stop the process again, and it could not end.
    pub(super) fn wait_for_foreground(&self) {
        while !self.is_to_end() && !is_in_foreground() {
            thread::sleep(LOOK);
        }
        self.take_continued();
    }

    /// What Ctrl-Z does: stops all that the shell has started with this process. Not where there is no shell to continue it.
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

/// Also after the screen, for what is done until the process has ended.
fn watch(flags: &Flags) -> ! {
    let mut patience = Patience::default();
    loop {
        if Stream::Stdout.is_closed() || is_stdin_closed() {
            flags.end.store(true, Ordering::Relaxed);
        }
        if patience.is_over(flags.end.load(Ordering::Relaxed), Instant::now()) {
            terminal::disable_raw_mode().ok();
            // Not `std::process::exit`, which may wait for what the screen waits for.
            low_level::exit(0);
        }
        thread::sleep(LOOK);
    }
}

/// Whether the terminal is this process's now. One that is not its controlling terminal always is.
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

/// For how long a screen that is to end is waited for. Pure.
#[derive(Debug, Default)]
struct Patience {
    asked: Option<Instant>,
}

impl Patience {
    fn is_over(&mut self, is_to_end: bool, now: Instant) -> bool {
        if !is_to_end {
            self.asked = None;
            return false;
        }
        let asked = *self.asked.get_or_insert(now);
        now.saturating_duration_since(asked) >= GRACE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_that_does_not_end_is_ended_after_its_grace() {
        let mut patience = Patience::default();
        let began = Instant::now();
        assert!(!patience.is_over(false, began));
        assert!(!patience.is_over(true, began + GRACE * 5));
        assert!(!patience.is_over(true, began + GRACE * 5 + LOOK));
        assert!(patience.is_over(true, began + GRACE * 6));
    }
}
