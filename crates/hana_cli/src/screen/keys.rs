use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{io, thread};

use ratatui::crossterm::event;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

/// Reads keys on a dedicated thread.
///
/// `crossterm` blocks inside a read until a key is complete, and never returns at the end of the input.
pub(super) struct Keys {
    pressed: Receiver<KeyEvent>,
    is_over: Arc<AtomicBool>,
}

/// How often the thread checks whether keys are still wanted.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum number of keys that wait to be handled.
const MAX_KEYS: usize = 64;

impl Keys {
    pub(super) fn start() -> io::Result<Self> {
        let (sender, pressed) = mpsc::sync_channel(MAX_KEYS);
        let is_over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&is_over);
        thread::Builder::new().name("keys".into()).spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                match input::wait(CHECK_INTERVAL) {
                    Input::None => {},
                    Input::Over => return,
                    Input::Some => {
                        while event::poll(Duration::ZERO).unwrap_or(false) {
                            let Ok(event) = event::read() else { break };
                            let Event::Key(key) = event else { continue };
                            if sender.send(key).is_err() {
                                return;
                            }
                        }
                    },
                }
            }
        })?;
        Ok(Self { pressed, is_over })
    }

    pub(super) fn next(&self, within: Duration) -> Option<KeyEvent> {
        match self.pressed.recv_timeout(within) {
            Ok(key) => Some(key),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            // The terminal is closed. The sleep keeps the caller's drawing loop at its rate.
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                thread::sleep(within);
                None
            },
        }
    }

    /// Stops reading: later keys are for the shell.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn is_ctrl(pressed: &KeyEvent, letter: char) -> bool {
    pressed.code == KeyCode::Char(letter) && pressed.modifiers.contains(KeyModifiers::CONTROL)
}

/// The state of the input.
enum Input {
    None,
    Some,
    /// The end of the input.
    Over,
}

#[cfg(unix)]
mod input {
    use std::time::Duration;
    use std::{io, thread};

    use rustix::event::{PollFd, PollFlags, Timespec};

    use super::Input;

    pub(super) fn wait(within: Duration) -> Input {
        let within = Timespec::try_from(within).unwrap_or_default();
        let stdin = io::stdin();
        let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
        if rustix::event::poll(&mut polled, Some(&within)).is_err() {
            // The poll was interrupted, or resources were briefly unavailable.
            thread::sleep(Duration::from_millis(10));
            return Input::None;
        }
        let seen = polled[0].revents();
        if seen.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            Input::Over
        } else if seen.contains(PollFlags::IN) {
            Input::Some
        } else {
            Input::None
        }
    }
}

#[cfg(not(unix))]
mod input {
    use std::time::Duration;

    use ratatui::crossterm::event;

    use super::Input;

    pub(super) fn wait(within: Duration) -> Input {
        match event::poll(within) {
            Ok(true) => Input::Some,
            Ok(false) => Input::None,
            Err(_) => Input::Over,
        }
    }
}
