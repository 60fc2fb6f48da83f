use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::thread;

use anyhow::Context;

/// A file descriptor through which the daemon signals readiness to the program that started it.
#[derive(Debug)]
pub(crate) struct ReadySignal {
    descriptor: i32,
    file: File,
}

impl ReadySignal {
    /// Takes ownership of an inherited descriptor: the write end of a pipe, or a file.
    ///
    /// Must be called before this process opens any file, which could get the same number.
    pub(crate) fn open(descriptor: i32) -> anyhow::Result<Self> {
        let cannot_write =
            || format!("--ready-fd {descriptor}: cannot write to descriptor {descriptor}");
        let path = format!("/dev/fd/{descriptor}");
        let file = OpenOptions::new().append(true).open(path).map_err(|problem| match problem {
            problem if problem.kind() == io::ErrorKind::NotFound => io::Error::other(
                "it is not open; open it in the program that starts hanad, for instance `hanad --ready-fd 3 3>ready`",
            ),
            problem => problem,
        });
        let file = file.with_context(cannot_write)?;
        // Launched programs must not inherit the descriptor. Otherwise, the reader would never reach its end.
        nix::unistd::close(descriptor).map_err(io::Error::from).with_context(cannot_write)?;
        Ok(Self { descriptor, file })
    }

    /// Writes the line `READY` and closes the descriptor, without waiting for the reader.
    pub(crate) fn send(self) {
        let Self { descriptor, mut file } = self;
        let sent = thread::Builder::new().name("ready".into()).spawn(move || {
            if let Err(problem) = file.write_all(b"READY\n") {
                tracing::warn!("cannot write READY to descriptor {descriptor}: {problem}");
            }
        });
        if let Err(problem) = sent {
            tracing::warn!("cannot write READY to descriptor {descriptor}: {problem}");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read;
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn reader_gets_one_line_and_the_end() {
        let (mut reader, writer) = io::pipe().unwrap();
        ReadySignal::open(writer.into_raw_fd()).unwrap().send();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "READY\n");
    }

    #[test]
    fn descriptor_that_is_not_open_or_writable_is_refused() {
        let error = format!("{:#}", ReadySignal::open(987).unwrap_err());
        assert!(error.contains("descriptor 987: it is not open"), "{error}");
        let directory = File::open("/").unwrap().into_raw_fd();
        let error = format!("{:#}", ReadySignal::open(directory).unwrap_err());
        assert!(error.contains("cannot write"), "{error}");
    }
}
