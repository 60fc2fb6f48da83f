use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, thread};

use serde::de::DeserializeOwned;

use crate::error::BenchError;
use crate::limits::REPLY_TIMEOUT;
use crate::worker::role::WorkerRole;

/// A worker process, which runs this program again as one end of a measurement.
///
/// It receives commands as words, one command per line, and replies to each with a line of JSON. It exits whenever
/// the bench ends, for any reason, because its input pipe is closed.
pub(crate) struct BenchWorker {
    role: WorkerRole,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

/// The time limit for a worker to stop.
const END: Duration = Duration::from_secs(3);

impl BenchWorker {
    /// Starts a worker and waits until it is ready. `prepare` sets its environment.
    pub(crate) fn start(
        role: WorkerRole,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Self, BenchError> {
        let worker = Self::begin(role, arguments, prepare)?;
        worker.line(REPLY_TIMEOUT, "to be ready")?;
        Ok(worker)
    }

    /// Starts a worker without waiting; [`BenchWorker::ready`] waits for it.
    pub(crate) fn begin(
        role: WorkerRole,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Self, BenchError> {
        let this =
            env::current_exe().map_err(BenchError::system("finding the path of this program"))?;
        let mut command = Command::new(this);
        command.args(["worker", &role.name()]).args(arguments);
        prepare(&mut command);
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            // Ctrl-C in the terminal must reach only the bench, which stops the workers in order.
            command.process_group(0);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(BenchError::system(format!("starting {}", role.name())))?;
        let stdin = child.stdin.take();
        let (line_tx, line_rx) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if line_tx.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { role, child, stdin, lines: line_rx })
    }

    /// Waits until the worker is ready.
    pub(crate) fn ready(&self) -> Result<(), BenchError> {
        self.line(REPLY_TIMEOUT, "to be ready").map(drop)
    }

    /// Sends a command and returns the reply.
    pub(crate) fn query<T: DeserializeOwned>(
        &mut self,
        word: &str,
        within: Duration,
    ) -> Result<T, BenchError> {
        self.send(word)?;
        self.reply(word, within)
    }

    /// Sends a command; [`BenchWorker::reply`] returns its reply.
    pub(crate) fn send(&mut self, word: &str) -> Result<(), BenchError> {
        let written = self.stdin.as_mut().map(|stdin| writeln!(stdin, "{word}"));
        written
            .transpose()
            .map(drop)
            .map_err(BenchError::system(format!("sending '{word}' to {}", self.role.name())))
    }

    /// Returns the reply to the last command.
    pub(crate) fn reply<T: DeserializeOwned>(
        &self,
        word: &str,
        within: Duration,
    ) -> Result<T, BenchError> {
        let line = self.line(within, &format!("to reply to '{word}'"))?;
        serde_json::from_str(&line).map_err(BenchError::network("reading the reply of a worker"))
    }

    fn line(&self, within: Duration, awaited: &str) -> Result<String, BenchError> {
        self.lines.recv_timeout(within).map_err(|problem| BenchError::NotWithin {
            awaited: format!("{} {awaited}", self.role.name()),
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
        self.stdin = None;
        let deadline = Instant::now() + END;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
