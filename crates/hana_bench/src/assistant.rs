use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, thread};

use serde::de::DeserializeOwned;

use crate::{BenchError, WorkerRole};

/// Another process of the bench's own: this program again, as one end of what is measured. It is told words, one a line,
/// and answers each with a line of JSON. It ends with the bench, however that ends: it reads the end of a pipe.
pub(crate) struct BenchWorker {
    part: WorkerRole,
    child: Child,
    words: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

/// How long one that is told to end may take.
const END: Duration = Duration::from_secs(3);
/// How long one may take to be ready, or to answer what it knows.
pub(crate) const SOON: Duration = Duration::from_secs(20);

impl BenchWorker {
    /// Starts one, and waits until it is ready. `prepare` sets its environment.
    pub(crate) fn start(
        part: WorkerRole,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Self, BenchError> {
        let assistant = Self::begin(part, arguments, prepare)?;
        assistant.line(SOON, "to be ready")?;
        Ok(assistant)
    }

    /// The same without waiting: [`BenchWorker::ready`] does that.
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
            // Ctrl-C at the terminal is for the bench alone, which ends the others in order.
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

    /// Waits until it is ready.
    pub(crate) fn ready(&self) -> Result<(), BenchError> {
        self.line(SOON, "to be ready").map(drop)
    }

    /// Tells it something, and brings its answer.
    pub(crate) fn ask<T: DeserializeOwned>(
        &mut self,
        word: &str,
        within: Duration,
    ) -> Result<T, BenchError> {
        self.tell(word)?;
        self.answer(word, within)
    }

    /// Tells it something; the answer is to be fetched with [`BenchWorker::answer`].
    pub(crate) fn tell(&mut self, word: &str) -> Result<(), BenchError> {
        let said = self.words.as_mut().map(|words| writeln!(words, "{word}"));
        said.transpose()
            .map(drop)
            .map_err(BenchError::system(format!("telling {} '{word}'", self.part.name())))
    }

    /// The answer to what it was told.
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
