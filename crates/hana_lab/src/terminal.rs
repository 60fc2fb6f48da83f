use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fmt, fs, thread};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use vt100::{Color, Parser};

use crate::{Host, Running, Signal, eventually};

/// A terminal with a program and a keyboard.
///
/// It consists of a pseudo terminal of the kernel, and a parser that displays the output like a real terminal.
pub struct Terminal {
    running: Running,
    /// The keyboard, or `None` once the terminal is closed.
    keyboard: Option<File>,
    parser: Arc<Mutex<Parser>>,
    is_closed: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Runs a program on a host in a terminal with `columns` and `rows`. Dropping the terminal kills the program.
    #[track_caller]
    #[must_use]
    pub fn with<S: AsRef<OsStr>>(
        host: &Host,
        (columns, rows): (u16, u16),
        program: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        let keyboard =
            rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
                .expect("there are pseudo terminals");
        rustix::pty::grantpt(&keyboard).expect("a pseudo terminal is ours");
        rustix::pty::unlockpt(&keyboard).expect("a pseudo terminal is ours");
        let name = rustix::pty::ptsname(&keyboard, vec![]).expect("a pseudo terminal has a name");
        let inside =
            rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
                .expect("a pseudo terminal can be opened");
        rustix::termios::tcsetwinsize(&keyboard, size(columns, rows))
            .expect("a terminal has a size");
        let mut command = host.command_at_terminal(program.as_ref());
        let again = || inside.try_clone().expect("a file can be shared");
        command
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(again())
            .stdout(again())
            .stderr(again());
        let parser = Arc::new(Mutex::new(Parser::new(some(rows), some(columns), 0)));
        let keyboard = File::from(keyboard);
        let mut written = keyboard.try_clone().expect("a file can be shared");
        let shown = Arc::clone(&parser);
        let is_closed = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&is_closed);
        let reader = thread::spawn(move || {
            let mut some = [0; 4096];
            while !ended.load(Ordering::Relaxed) {
                let mut polled = [PollFd::new(&written, PollFlags::IN)];
                let soon = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                if rustix::event::poll(&mut polled, Some(&soon)).unwrap_or(0) == 0 {
                    continue;
                }
                // Reading fails once no process has the inner side of the terminal open.
                let Ok(length @ 1..) = written.read(&mut some) else { break };
                lock(&shown).process(&some[..length]);
            }
        });
        let running = Running::start_connected(host.clone(), command, host.next_number());
        Self { running, keyboard: Some(keyboard), parser, is_closed, reader: Some(reader) }
    }

    /// Types a text. Other keys are the escape sequences that a terminal sends: `\x1b[A` for up, `\x1b[B` for down.
    pub fn type_in(&self, text: &str) {
        let mut keyboard = self.keyboard();
        keyboard.write_all(text.as_bytes()).expect("a terminal can be typed at");
    }

    const fn keyboard(&self) -> &File {
        self.keyboard.as_ref().expect("the terminal is open")
    }

    /// Closes the terminal, as if its window was closed or its connection lost. The program continues without it.
    pub fn close(&mut self) {
        self.is_closed.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("a terminal is read until it is closed");
        }
        self.keyboard = None;
    }

    /// Resizes the window.
    pub fn resize(&self, columns: u16, rows: u16) {
        lock(&self.parser).screen_mut().set_size(some(rows), some(columns));
        rustix::termios::tcsetwinsize(self.keyboard(), size(columns, rows))
            .expect("a terminal has a size");
    }

    /// Returns the text on the screen, one line for each row.
    #[must_use]
    pub fn text(&self) -> String {
        lock(&self.parser).screen().contents()
    }

    /// Waits until `is_expected` accepts the text on the screen, and returns it.
    #[track_caller]
    pub fn wait_for(
        &self,
        deadline: Duration,
        awaited: &str,
        mut wished: impl FnMut(&str) -> bool,
    ) -> String {
        /// A text that is formatted as it is, not as a string literal.
        struct Shown(String);
        impl fmt::Debug for Shown {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\n{}", self.0)
            }
        }
        eventually(deadline, awaited, || {
            let text = self.text();
            if wished(&text) { Ok(text) } else { Err(Shown(text)) }
        })
    }

    /// Returns whether the program uses the alternate screen, so that the shell's screen returns after it.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        lock(&self.parser).screen().alternate_screen()
    }

    /// Returns whether the program receives keys one by one, without echo.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        let modes = rustix::termios::tcgetattr(self.keyboard()).expect("a terminal has modes");
        !modes.local_modes.contains(rustix::termios::LocalModes::ICANON)
    }

    /// Sends a signal to the program.
    #[track_caller]
    pub fn kill(&self, signal: Signal) {
        self.running.kill(signal);
    }

    /// Waits until the program ends and returns its exit status.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        self.running.wait(deadline)
    }

    /// Draws the screen as an SVG picture, for a page about the program.
    pub fn save_svg(&self, path: impl AsRef<Path>) {
        let picture = svg(lock(&self.parser).screen());
        let path = path.as_ref();
        fs::write(path, picture).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

fn lock(parser: &Mutex<Parser>) -> MutexGuard<'_, Parser> {
    parser.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn some(length: u16) -> NonZeroU16 {
    NonZeroU16::new(length).expect("a terminal has columns and rows")
}

const fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// The width and height of a character in a picture. Its font size is `TYPE`.
const CELL: (f32, f32) = (8.4, 18.0);
const TYPE: u8 = 14;
const PAPER: &str = "#14161b";
const INK: &str = "#d8dce4";

fn svg(screen: &vt100::Screen) -> String {
    let (rows, columns) = screen.size();
    let (rows, columns) = (rows.get(), columns.get());
    let (wide, high) =
        (f32::from(columns).mul_add(CELL.0, 16.0), f32::from(rows).mul_add(CELL.1, 16.0));
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0} {high:.0}" font-family="'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="{TYPE}">
<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>
"#
    );
    for row in 0..rows {
        let mut column = 0;
        while column < columns {
            let Some(first) = screen.cell(row, column) else { break };
            // Neighbouring cells with the same style are drawn as one text.
            let wanted = look(first);
            let begin = column;
            let mut text = String::new();
            while let Some(cell) = screen.cell(row, column).filter(|cell| look(cell) == wanted) {
                text.push_str(if cell.has_contents() { cell.contents() } else { " " });
                column += 1;
            }
            piece(&mut out, (begin, row), column - begin, &text, &wanted);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// The style of a cell: foreground colour, background colour, bold, dim.
type Look = (String, String, bool, bool);

fn look(cell: &vt100::Cell) -> Look {
    let ink = colour(cell.fgcolor()).unwrap_or_else(|| INK.into());
    let paper = colour(cell.bgcolor()).unwrap_or_else(|| PAPER.into());
    let (ink, paper) = if cell.inverse() { (paper, ink) } else { (ink, paper) };
    (ink, paper, cell.bold(), cell.dim())
}

fn piece(out: &mut String, at: (u16, u16), cells: u16, text: &str, look: &Look) {
    let (ink, paper, bold, dim) = look;
    let (x, y) = (f32::from(at.0).mul_add(CELL.0, 8.0), f32::from(at.1).mul_add(CELL.1, 8.0));
    let width = f32::from(cells) * CELL.0;
    if paper != PAPER {
        let _ = writeln!(
            out,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{}" fill="{paper}"/>"#,
            CELL.1
        );
    }
    if text.trim().is_empty() {
        return;
    }
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let weight = if *bold { r#" font-weight="bold""# } else { "" };
    let faint = if *dim { r#" opacity="0.6""# } else { "" };
    let _ = writeln!(
        out,
        r#"<text x="{x:.1}" y="{:.1}" textLength="{width:.1}" xml:space="preserve" fill="{ink}"{weight}{faint}>{text}</text>"#,
        y + 13.5
    );
}

/// Returns one of the sixteen colours of a modern terminal, or `None` for the terminal's default.
fn colour(colour: Color) -> Option<String> {
    const SIXTEEN: [&str; 16] = [
        "#000000", "#c94f4f", "#57b868", "#d9a62e", "#4f86d9", "#a86fc9", "#4fb3b8", "#c8ccd4",
        "#6b7280", "#ff6b6b", "#7bd88f", "#ffd166", "#78a9ff", "#d49bf0", "#78dce0", "#ffffff",
    ];
    match colour {
        Color::Default => None,
        Color::Idx(index) => SIXTEEN.get(usize::from(index)).map(|&name| name.into()),
        Color::Rgb(red, green, blue) => Some(format!("#{red:02x}{green:02x}{blue:02x}")),
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a terminal that shows\n{}", self.text())
    }
}
