use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use hana_process::{Backoff, Jitter, LaunchError, ProgramFault};
use hana_time::{LinkOrder, LinkReport, sanitize_line};

use crate::log_once::LogOnce;

/// The program `hana-link`, which connects to Ableton Link. It is restarted when it fails.
///
/// Everything that may block runs on separate threads. The program ends when its standard input is closed, so it also
/// ends when this daemon is killed.
pub(crate) struct LinkProcess {
    shared: Arc<LinkShared>,
}

/// An event of the program.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LinkEvent {
    /// The program runs. Within half a second, before it joins a Link session, it needs the state to continue from.
    Started,
    /// The state of the Link session.
    Report(LinkReport),
    /// The program has ended and will be restarted automatically.
    Lost,
}

struct LinkShared {
    /// The queue for commands while the program runs.
    commands: Mutex<Option<SyncSender<String>>>,
    /// A channel that is closed to end the program for good. Nothing is ever sent on it.
    ended: Mutex<Option<SyncSender<()>>>,
}

/// One running instance of the program.
struct Run {
    child: Child,
    lines: Receiver<String>,
}

/// The program's name, which is searched for in the directory of this program and in `PATH`.
const PROGRAM: &str = "hana-link";
/// The most queued commands. Further commands are dropped if the program does not read.
const MAX_QUEUED_COMMANDS: usize = 64;
/// The most queued reports.
const MAX_QUEUED_REPORTS: usize = 64;
/// The longest line that is read, in bytes. Longer lines are cut into several.
const MAX_LINE_BYTES: u64 = 4096;
/// The time without a report after which the program counts as frozen.
///
/// The program reports four times a second, except during the two seconds in which it joins.
const REPORT_TIMEOUT: Duration = Duration::from_secs(6);
/// The time allowed for the program to end after its input is closed.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);
/// The running time after which the program is stable, so that its next failure counts as the first.
const STABLE_AFTER: Duration = Duration::from_secs(20);
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(100),
    initial: Duration::from_millis(500),
    factor: 2.0,
    max: Duration::from_secs(30),
    jitter: 0.1,
};

impl LinkProcess {
    /// Starts the program. `on_event` receives its events and may block.
    ///
    /// Returns `None` if the program is not installed or the system cannot start a thread.
    pub(crate) fn start(on_event: impl FnMut(LinkEvent) + Send + 'static) -> Option<Self> {
        let program = match find() {
            Ok(program) => program,
            Err(LaunchError::Faulty { program, fault }) => {
                tracing::warn!(
                    "Ableton Link is off: {} {fault}; using this daemon's own clock",
                    program.display()
                );
                return None;
            },
            Err(_) => {
                tracing::info!(
                    "Ableton Link is off: {PROGRAM} is neither beside hanad nor in PATH (`cargo build --workspace` builds it, with cmake and libclang); using this daemon's own clock"
                );
                return None;
            },
        };
        let (ended, end) = mpsc::sync_channel(0);
        let shared =
            Arc::new(LinkShared { commands: Mutex::new(None), ended: Mutex::new(Some(ended)) });
        let shared_with_thread = Arc::clone(&shared);
        let spawned = thread::Builder::new()
            .name("link".into())
            .spawn(move || keep_running(&program, &shared_with_thread, &end, on_event));
        match spawned {
            Ok(_) => Some(Self { shared }),
            Err(problem) => {
                tracing::warn!("Ableton Link is off: cannot start a thread: {problem}");
                None
            },
        }
    }

    /// Sends a command without blocking.
    ///
    /// The command is lost if the program is not running or does not read. Once the program runs again, it requests
    /// the state to continue from.
    pub(crate) fn send(&self, command: LinkOrder) {
        if let Some(commands) = &*lock(&self.shared.commands)
            && commands.try_send(command.to_line()).is_err()
        {
            tracing::debug!("{PROGRAM} does not read commands, so one is dropped: {command:?}");
        }
    }
}

impl Drop for LinkProcess {
    /// Closes the program's input, which ends the program. A separate thread waits for its end.
    fn drop(&mut self) {
        lock(&self.shared.ended).take();
        lock(&self.shared.commands).take();
    }
}

/// Runs one instance after another, on a separate thread, until the program is stopped.
fn keep_running(
    program: &PathBuf,
    shared: &LinkShared,
    end: &Receiver<()>,
    mut on_event: impl FnMut(LinkEvent),
) {
    let mut jitter = Jitter::seeded_by(PROGRAM);
    let mut failures: u32 = 0;
    let mut log_once = LogOnce::default();
    loop {
        let began = Instant::now();
        match Run::start(program, shared) {
            Ok(run) => {
                log_once.clear();
                tracing::info!("{PROGRAM} runs: {}", program.display());
                on_event(LinkEvent::Started);
                let outcome = run.read_reports(end, &mut on_event);
                lock(&shared.commands).take();
                let RunOutcome::Failed(why) = outcome else { return };
                tracing::warn!("{PROGRAM} {why}; restarting it, the beat continues");
                on_event(LinkEvent::Lost);
            },
            // The file may be in the middle of an update, so the launch is retried and the problem logged once.
            Err(problem) if log_once.should_log(&problem) => {
                let fault = ProgramFault::of(program).map_or_else(
                    || format!("cannot be started: {problem}"),
                    |fault| fault.to_string(),
                );
                tracing::warn!("Ableton Link is off for now: {} {fault}", program.display());
            },
            Err(_) => {},
        }
        failures = if began.elapsed() >= STABLE_AFTER { 0 } else { failures + 1 };
        let pause = BACKOFF.delay(failures.saturating_sub(1), &mut jitter);
        if end.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// The reason for the end of an instance.
enum RunOutcome {
    /// The daemon requested the end.
    Ended,
    /// The program ended on its own or froze; the text describes the failure.
    Failed(String),
}

impl Run {
    fn start(program: &PathBuf, shared: &LinkShared) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg("--json").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C at the daemon's terminal must reach only the daemon.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        match Self::connect(&mut child, shared) {
            Ok(lines) => Ok(Self { child, lines }),
            Err(problem) => {
                child.kill().ok();
                child.wait().ok();
                Err(problem)
            },
        }
    }

    fn connect(child: &mut Child, shared: &LinkShared) -> io::Result<Receiver<String>> {
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("it has no pipes"));
        };
        let (out, lines) = mpsc::sync_channel(MAX_QUEUED_REPORTS);
        let (commands, inbox) = mpsc::sync_channel(MAX_QUEUED_COMMANDS);
        let thread = |name: &str| thread::Builder::new().name(name.into());
        thread("link-reports").spawn(move || read_reports(stdout, &out))?;
        thread("link-log").spawn(move || log(stderr))?;
        thread("link-commands").spawn(move || write_commands(stdin, &inbox))?;
        // If the program was stopped in the meantime, the commands are dropped, which closes its input.
        let ended = lock(&shared.ended);
        *lock(&shared.commands) = ended.is_some().then_some(commands);
        drop(ended);
        Ok(lines)
    }

    /// Receives reports until the program ends, freezes, or is stopped.
    fn read_reports(
        mut self,
        end: &Receiver<()>,
        on_event: &mut impl FnMut(LinkEvent),
    ) -> RunOutcome {
        let mut last_report = Instant::now();
        loop {
            match self.lines.recv_timeout(Duration::from_millis(200)) {
                Ok(line) => match LinkReport::parse(&line) {
                    Ok(report) => {
                        last_report = Instant::now();
                        on_event(LinkEvent::Report(report));
                    },
                    Err(problem) => tracing::warn!("{problem}"),
                },
                Err(RecvTimeoutError::Timeout) if last_report.elapsed() > REPORT_TIMEOUT => {
                    self.kill();
                    return RunOutcome::Failed(format!(
                        "sent no report for {} s",
                        REPORT_TIMEOUT.as_secs()
                    ));
                },
                Err(RecvTimeoutError::Timeout) => {},
                Err(RecvTimeoutError::Disconnected) => {
                    let ended = self.wait(EXIT_TIMEOUT);
                    if is_over(end) {
                        return RunOutcome::Ended;
                    }
                    return RunOutcome::Failed(ended.map_or_else(
                        || "closed its output".into(),
                        |status| format!("ended: {status}"),
                    ));
                },
            }
            if is_over(end) {
                self.wait(EXIT_TIMEOUT);
                return RunOutcome::Ended;
            }
        }
    }

    /// Waits until the program ends and returns its exit status. Kills the program at the deadline.
    ///
    /// Returns `None` if the program was killed, or if its status was already reaped along with the orphans.
    fn wait(&mut self, deadline: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + deadline;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Err(_) => return None,
                Ok(None) if Instant::now() >= until => {
                    self.kill();
                    return None;
                },
                Ok(None) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn kill(&mut self) {
        // The program is killed only if it still exists. Otherwise, the id may belong to another process.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

fn is_over(end: &Receiver<()>) -> bool {
    end.try_recv() == Err(mpsc::TryRecvError::Disconnected)
}

fn read_reports(stdout: ChildStdout, out: &SyncSender<String>) {
    each_line(stdout, |line| out.send(line).is_ok());
}

fn log(stderr: ChildStderr) {
    each_line(stderr, |line| {
        tracing::warn!("{}", sanitize_line(&line, 500));
        true
    });
}

fn each_line(from: impl Read, mut take: impl FnMut(String) -> bool) {
    let mut from = BufReader::new(from);
    let mut line = vec![];
    while from.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).is_ok_and(|read| read > 0)
    {
        if !take(String::from_utf8_lossy(&line).trim_end().into()) {
            return;
        }
        line.clear();
    }
}

/// Writes commands to the program until the queue is closed, then closes the program's input.
fn write_commands(mut stdin: ChildStdin, commands: &Receiver<String>) {
    while let Ok(command) = commands.recv() {
        if writeln!(stdin, "{command}").and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

/// Finds the program's file. A file that cannot be executed is skipped.
fn find() -> Result<PathBuf, LaunchError> {
    let exe = env::current_exe().ok();
    let beside = exe.as_deref().and_then(Path::parent).unwrap_or_else(|| Path::new(""));
    hana_process::find_program_beside(PROGRAM, beside)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    /// Starts a shell script in place of `hana-link` and returns its events.
    fn start_script(script: &str) -> (tempfile::TempDir, LinkProcess, Receiver<LinkEvent>) {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join(PROGRAM);
        // The program is copied from a draft, since a file that is open for writing cannot be executed. A process
        // that was just started may hold such a handle.
        let draft = directory.path().join("draft");
        std::fs::write(&draft, format!("#!/bin/sh\n{script}")).unwrap();
        std::fs::set_permissions(&draft, PermissionsExt::from_mode(0o755)).unwrap();
        let copied = Command::new("cp").arg("-p").arg(&draft).arg(&program).status().unwrap();
        assert!(copied.success());
        let (ended, end) = mpsc::sync_channel(0);
        let shared =
            Arc::new(LinkShared { commands: Mutex::new(None), ended: Mutex::new(Some(ended)) });
        let shared_with_thread = Arc::clone(&shared);
        let (event_tx, events) = mpsc::channel();
        thread::spawn(move || {
            keep_running(&program, &shared_with_thread, &end, |event| {
                event_tx.send(event).ok();
            });
        });
        (directory, LinkProcess { shared }, events)
    }

    const REPORT: &str =
        r#"{"bpm":133.0,"beat":2.0,"at_us":5,"quantum":4.0,"playing":true,"peers":1}"#;

    #[test]
    fn link_process_sends_and_receives() {
        let (_directory, link, events) = start_script(&format!(
            "while read -r command; do case $command in *90*) echo '{REPORT}';; esac; done"
        ));
        assert_eq!(events.recv_timeout(TIMEOUT).unwrap(), LinkEvent::Started);
        link.send(LinkOrder::Play {});
        link.send(LinkOrder::Tempo { bpm: 90.0 });
        let LinkEvent::Report(report) = events.recv_timeout(TIMEOUT).unwrap() else {
            unreachable!()
        };
        assert_eq!(report, LinkReport::parse(REPORT).unwrap());
        // Dropping closes the input: the program ends, is not restarted, and reports nothing.
        drop(link);
        assert!(events.recv_timeout(TIMEOUT).is_err());
    }

    #[test]
    fn ended_link_process_is_restarted_despite_invalid_lines() {
        let (_directory, link, events) =
            start_script(&format!("echo nonsense; echo '{REPORT}'; exit 3"));
        for _ in 0..3 {
            assert_eq!(events.recv_timeout(TIMEOUT).unwrap(), LinkEvent::Started);
            assert!(matches!(events.recv_timeout(TIMEOUT).unwrap(), LinkEvent::Report(_)));
            assert_eq!(events.recv_timeout(TIMEOUT).unwrap(), LinkEvent::Lost);
        }
        drop(link);
    }

    #[test]
    fn stalled_link_process_delays_no_sender() {
        let (_directory, link, events) = start_script("exec sleep 60");
        assert_eq!(events.recv_timeout(TIMEOUT).unwrap(), LinkEvent::Started);
        for _ in 0..100_000 {
            link.send(LinkOrder::Tempo { bpm: 90.0 });
        }
        // The program ignores the closed input and is eventually killed.
        drop(link);
        assert!(events.recv_timeout(TIMEOUT).is_err());
    }
}
