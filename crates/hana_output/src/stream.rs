use std::io;
use std::io::{ErrorKind, IsTerminal};

/// A standard stream of this process, written to without a buffer and without a lock, so that a thread that waits for
/// a slow reader delays no other thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Writes all bytes. Waits for a slow reader, even if another program made the pipe or the terminal non-blocking.
    ///
    /// # Errors
    ///
    /// Fails if the disk is full or the reader has gone.
    pub fn write_all(self, bytes: &[u8]) -> io::Result<()> {
        write_all(bytes, |rest| system::write(self, rest), || system::wait_for_room(self))
    }

    /// Returns whether the other end of the pipe or the terminal is closed. Always `false` for a file, and on Windows.
    #[must_use]
    pub fn is_closed(self) -> bool {
        system::is_closed(self)
    }

    /// Returns whether an error of [`Stream::write_all`] means that the reader has gone.
    #[must_use]
    pub fn is_closed_by(self, error: &io::Error) -> bool {
        matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
            || self.is_closed()
    }

    /// Returns whether the stream is a terminal.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }
}

/// Writes in pieces until nothing is left.
fn write_all(
    mut rest: &[u8],
    mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    mut wait: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    while !rest.is_empty() {
        match write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {},
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait()?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
mod system {
    use std::io;
    use std::os::fd::AsFd;

    use rustix::event::{PollFd, PollFlags, Timespec};
    use rustix::io::Errno;

    use super::Stream;

    /// The longest wait for a slow reader before the next attempt.
    const RETRY_INTERVAL: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

    fn with<T>(stream: Stream, act: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> T) -> T {
        match stream {
            Stream::Stdout => act(io::stdout().as_fd()),
            Stream::Stderr => act(io::stderr().as_fd()),
        }
    }

    pub(super) fn write(stream: Stream, bytes: &[u8]) -> io::Result<usize> {
        with(stream, |fd| match rustix::io::write(fd, bytes) {
            // The program was started without this stream, so the output is discarded.
            Err(Errno::BADF) => Ok(bytes.len()),
            outcome => Ok(outcome?),
        })
    }

    pub(super) fn wait_for_room(stream: Stream) -> io::Result<()> {
        poll(stream, PollFlags::OUT, RETRY_INTERVAL).map(drop)
    }

    pub(super) fn is_closed(stream: Stream) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(stream, PollFlags::empty(), now)
            .is_ok_and(|seen| seen.intersects(PollFlags::ERR | PollFlags::HUP))
    }

    fn poll(stream: Stream, wanted: PollFlags, within: Timespec) -> io::Result<PollFlags> {
        with(stream, |fd| {
            let mut polled = [PollFd::from_borrowed_fd(fd, wanted)];
            match rustix::event::poll(&mut polled, Some(&within)) {
                Ok(_) | Err(Errno::INTR) => Ok(polled[0].revents()),
                Err(problem) => Err(problem.into()),
            }
        })
    }
}

#[cfg(not(unix))]
mod system {
    use std::io::Write;
    use std::time::Duration;
    use std::{io, thread};

    use super::Stream;

    pub(super) fn write(stream: Stream, bytes: &[u8]) -> io::Result<usize> {
        match stream {
            Stream::Stdout => {
                let mut out = io::stdout();
                out.write_all(bytes)?;
                out.flush()?;
            },
            Stream::Stderr => io::stderr().write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    pub(super) fn wait_for_room(_: Stream) -> io::Result<()> {
        thread::sleep(Duration::from_millis(10));
        Ok(())
    }

    /// Always returns `false`, because Windows reports a closed reader only when the program writes.
    pub(super) const fn is_closed(_: Stream) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_reader_gets_every_byte_once() {
        let mut written = vec![];
        let mut turn = 0;
        let mut waits = 0;
        let outcome = write_all(
            b"one two three",
            |rest| {
                turn += 1;
                match turn % 3 {
                    0 => Err(ErrorKind::Interrupted.into()),
                    1 => Err(ErrorKind::WouldBlock.into()),
                    _ => {
                        written.extend_from_slice(&rest[..2.min(rest.len())]);
                        Ok(2.min(rest.len()))
                    },
                }
            },
            || {
                waits += 1;
                Ok(())
            },
        );
        assert!(outcome.is_ok());
        assert_eq!((written.as_slice(), waits), (b"one two three".as_slice(), 7));
    }

    #[test]
    fn error_ends_the_write() {
        for kind in [ErrorKind::StorageFull, ErrorKind::BrokenPipe] {
            let outcome = write_all(b"x", |_| Err(kind.into()), || Ok(()));
            assert_eq!(outcome.map_err(|error| error.kind()), Err(kind));
        }
        let outcome = write_all(b"x", |_| Ok(0), || Ok(()));
        assert_eq!(outcome.map_err(|error| error.kind()), Err(ErrorKind::WriteZero));
    }
}
