//! The terminal while a full-screen view is shown: takes it over, restores it, and detects when it is closed.

mod end_watch;
mod keys;

use std::io::{BufWriter, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, panic};

use anyhow::Context;
use hana_output::Stream;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::KeyEvent;
use ratatui::crossterm::{cursor, queue, terminal};
use ratatui::{Frame, Terminal};

use self::end_watch::EndWatch;
use self::keys::Keys;
pub(crate) use self::keys::is_ctrl;

/// A full-screen view in the terminal. Dropping it restores the terminal.
///
/// The view ends with its terminal, and on SIGINT, SIGTERM, SIGHUP and SIGQUIT, even while it waits for a terminal
/// that accepts no output: [`EndWatch`] ends the process then.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Output>>>,
    keys: Keys,
    watch: EndWatch,
    output_failed: Arc<AtomicBool>,
}

impl Screen {
    /// Whether there is a terminal to read keys from and to draw on.
    pub(crate) fn is_possible() -> bool {
        Stream::Stdout.is_terminal() && io::stdin().is_terminal()
    }

    pub(crate) fn open() -> anyhow::Result<Self> {
        let watch = EndWatch::start()?;
        restore_in_a_panic();
        take().context("taking over the terminal")?;
        let output_failed = Arc::default();
        let terminal = blank(&output_failed).inspect_err(|_| restore());
        let terminal = terminal.context("taking over the terminal")?;
        let keys = Keys::start().inspect_err(|_| restore()).context("reading keys")?;
        Ok(Self { terminal, keys, watch, output_failed })
    }

    /// Returns whether the screen continues. If Ctrl-Z or SIGTSTP requested a stop, first stops the process until it
    /// is continued.
    pub(crate) fn goes_on(&mut self) -> anyhow::Result<bool> {
        if self.watch.is_to_end() || self.output_failed.load(Ordering::Relaxed) {
            return Ok(false);
        }
        if self.watch.take_stop() {
            restore();
            self.watch.stop();
        } else if self.watch.take_continued() {
            self.watch.wait_for_foreground();
        } else {
            return Ok(true);
        }
        if self.watch.is_to_end() {
            return Ok(false);
        }
        // A shell has used the terminal in the meantime.
        terminal::disable_raw_mode().ok();
        take().context("taking over the terminal again")?;
        self.terminal = blank(&self.output_failed).context("taking over the terminal again")?;
        Ok(true)
    }

    /// Draws a picture. A closed terminal is not an error here: the next [`Screen::goes_on`] reports it.
    pub(crate) fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> anyhow::Result<()> {
        match self.terminal.draw(picture) {
            Err(_) if Stream::Stdout.is_closed() => Ok(()),
            outcome => outcome.map(drop).context("drawing"),
        }
    }

    /// Returns the next key, if one is pressed within that time.
    pub(crate) fn key(&self, within: Duration) -> Option<KeyEvent> {
        let pressed = self.keys.next(within)?;
        if is_ctrl(&pressed, 'z') {
            EndWatch::stop_job();
            return None;
        }
        Some(pressed)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.keys.end();
        restore();
    }
}

fn blank(failed: &Arc<AtomicBool>) -> io::Result<Terminal<CrosstermBackend<BufWriter<Output>>>> {
    let output = Output { failed: Arc::clone(failed) };
    Terminal::new(CrosstermBackend::new(BufWriter::new(output)))
}

fn take() -> io::Result<()> {
    terminal::enable_raw_mode()?;
    let mut codes = vec![];
    queue!(
        codes,
        terminal::EnterAlternateScreen,
        terminal::Clear(terminal::ClearType::All),
        cursor::Hide
    )?;
    Stream::Stdout.write_all(&codes)
}

/// Restores the terminal as far as possible.
fn restore() {
    terminal::disable_raw_mode().ok();
    let mut codes = vec![];
    if queue!(codes, terminal::LeaveAlternateScreen, cursor::Show).is_ok() {
        Stream::Stdout.write_all(&codes).ok();
    }
}

/// Restores the terminal in a panic, so that its message appears on the shell's screen.
fn restore_in_a_panic() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        restore();
        hook(info);
    }));
}

/// A writer to the terminal that never fails.
///
/// On a failure at its end, `ratatui` calls `eprintln!`, which panics if the terminal is closed.
struct Output {
    failed: Arc<AtomicBool>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.failed.load(Ordering::Relaxed) && Stream::Stdout.write_all(bytes).is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
