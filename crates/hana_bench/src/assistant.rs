use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, thread};

use serde::de::DeserializeOwned;

use crate::{BenchError, WorkerRole};

/// A worker process: this program again, as one end of a measurement.
///
/// It receives commands as words, one per line, and answers each with a line of JSON. It exits with the bench,
/// however that ends, because it sees its input pipe close.
pub(crate) struct BenchWorker {
    part: WorkerRole,
    child: Child,
    words: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

/// The time a worker may take to stop.
const END: Duration = Duration::from_secs(3);
/// The time a worker may take to be ready or to answer a simple command.
pub(crate) const SOON: Duration = Duration::from_secs(20);

impl BenchWorker {
    /// Starts a worker and waits until it is ready. `prepare` sets its environment.
    pub(crate) fn start(
        part: WorkerRole,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Self, BenchError> {
        let assistant = Self::begin(part, arguments, prepare)?;
        assistant.line(SOON, "to be ready")?;
        Ok(assistant)
    }

    /// Starts a worker without waiting; [`BenchWorker::ready`] waits for it.
    pub(crate) fn begin(
        part: WorkerRole,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Self, BenchError> {
        let this =
            env::current_exe().map_err(BenchError::system("finding this program's own place"))?;
        let mut command = Command::new(this);
        command.args(["bench", "part", part.name()]).args(arguments);
        prepare(&mut command);
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            // Ctrl-C in the terminal reaches only the bench, which stops the workers in order.
            command.process_group(0);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(BenchError::system(format!("starting {}", part.name())))?;
        let words = child.stdin.take();
        let (say, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if say.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { part, child, words, lines })
    }

    /// Waits until the worker is ready.
    pub(crate) fn ready(&self) -> Result<(), BenchError> {
        self.line(SOON, "to be ready").map(drop)
    }

    /// Sends a command and returns the answer.
    pub(crate) fn ask<T: DeserializeOwned>(
        &mut self,
        word: &str,
        within: Duration,
    ) -> Result<T, BenchError> {
        self.tell(word)?;
        self.answer(word, within)
    }

    /// Sends a command; [`BenchWorker::answer`] returns its answer.
    pub(crate) fn tell(&mut self, word: &str) -> Result<(), BenchError> {
        let said = self.words.as_mut().map(|words| writeln!(words, "{word}"));
        said.transpose()
            .map(drop)
            .map_err(BenchError::system(format!("telling {} '{word}'", self.part.name())))
    }

    /// Returns the answer to the last command.
    pub(crate) fn answer<T: DeserializeOwned>(
        &self,
        word: &str,
        within: Duration,
    ) -> Result<T, BenchError> {
        let line = self.line(within, &format!("to answer '{word}'"))?;
        serde_json::from_str(&line).map_err(BenchError::network("reading what a part answers"))
    }

    fn line(&self, within: Duration, awaited: &str) -> Result<String, BenchError> {
        self.lines.recv_timeout(within).map_err(|problem| BenchError::NotWithin {
            awaited: format!("{} {awaited}", self.part.name()),
            seen: match problem {
                mpsc::RecvTimeoutError::Timeout => "nothing".into(),
                mpsc::RecvTimeoutError::Disconnected => "its end".into(),
            },
            waited: within,
        })
    }
}

impl Drop for BenchWorker {
    fn drop(&mut self) {
        self.words = None;
        let deadline = Instant::now() + END;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
