use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use hana_process::{Backoff, Jitter, LaunchError, ProgramFault};
use hana_time::{LinkOrder, LinkReport, sanitize_line};

use crate::complaint::LogOnce;

/// The program `hana-link`, which speaks Ableton Link: started, heard, told, and started again when it fails.
///
/// Everything that may wait is done on threads of its own. The program ends when its standard input is closed, thus also
/// when this daemon is killed.
pub(crate) struct LinkProcess {
    shared: Arc<Shared>,
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LinkEvent {
    /// It runs, and is to be told what to go on from before it joins, within half a second.
    Began,
    /// Where the session stands.
    Report(LinkReport),
    /// It is gone; it is started again by itself.
    Lost,
}

struct Shared {
    /// Where orders go while it runs.
    orders: Mutex<Option<SyncSender<String>>>,
    /// Closed when it is to end for good: nothing is ever sent.
    ended: Mutex<Option<SyncSender<()>>>,
}

/// One run of the program.
struct Run {
    child: Child,
    lines: Receiver<String>,
}

/// The program, beside this one or in PATH.
const PROGRAM: &str = "hana-link";
/// Orders on their way. One that does not read gets no more.
const ORDERS: usize = 64;
/// Reports on their way.
const REPORTS: usize = 64;
/// The longest line that is read; what is longer is cut into such.
const LONGEST: u64 = 4096;
/// It reports four times a second, but for the two seconds in which it joins. Silent for so long, it hangs.
const HUNG: Duration = Duration::from_secs(6);
/// How long it may take to end when its input is closed.
const END: Duration = Duration::from_millis(500);
/// After so long a run the next failure is a first one.
const SETTLED: Duration = Duration::from_secs(20);
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(100),
    initial: Duration::from_millis(500),
    factor: 2.0,
    max: Duration::from_secs(30),
    jitter: 0.1,
};

impl LinkProcess {
    /// Starts it where it is installed; what happens there goes to `tell`, which may wait. None where it is not, or where the
    /// system has no thread for it.
    pub(crate) fn start(tell: impl FnMut(LinkEvent) + Send + 'static) -> Option<Self> {
        let program = match find() {
            Ok(program) => program,
            Err(LaunchError::Faulty { program, fault }) => {
                tracing::warn!(
                    "no Ableton Link here: {} {fault}; this daemon's own clock serves",
                    program.display()
                );
                return None;
            },
            Err(_) => {
                tracing::info!(
                    "no Ableton Link here: {PROGRAM} is neither beside hanad nor in PATH (it is built by `cargo build --workspace`, with cmake and libclang); this daemon's own clock serves"
                );
                return None;
            },
        };
        let (ended, end) = mpsc::sync_channel(0);
        let shared = Arc::new(Shared { orders: Mutex::new(None), ended: Mutex::new(Some(ended)) });
        let of_thread = Arc::clone(&shared);
        let spawned = thread::Builder::new()
            .name("link".into())
            .spawn(move || keep_running(&program, &of_thread, &end, tell));
        match spawned {
            Ok(_) => Some(Self { shared }),
            Err(problem) => {
                tracing::warn!("no Ableton Link: the system has no thread for it: {problem}");
                None
            },
        }
    }

    /// Tells it to do something. Never waits: when it is not there, or does not read, nothing happens. It is asked what to go
    /// on from when it is there again.
    pub(crate) fn order(&self, order: LinkOrder) {
        if let Some(orders) = &*lock(&self.shared.orders)
            && orders.try_send(order.to_line()).is_err()
        {
            tracing::debug!("{PROGRAM} does not take orders: {order:?}");
        }
    }
}

impl Drop for LinkProcess {
    /// It ends by itself, as soon as its input is closed; whoever waits for that is its own thread.
    fn drop(&mut self) {
        lock(&self.shared.ended).take();
        lock(&self.shared.orders).take();
    }
}

/// The thread: one run after the other, until it is to end.
fn keep_running(
    program: &PathBuf,
    shared: &Shared,
    end: &Receiver<()>,
    mut tell: impl FnMut(LinkEvent),
) {
    let mut jitter = Jitter::of_name(PROGRAM);
    let mut failures: u32 = 0;
    let mut complaint = LogOnce::default();
    loop {
        let began = Instant::now();
        match Run::start(program, shared) {
            Ok(run) => {
                complaint.is_over();
                tracing::info!("{PROGRAM} runs: {}", program.display());
                tell(LinkEvent::Began);
                let outcome = run.hear(end, &mut tell);
                lock(&shared.orders).take();
                let Outcome::Failed(why) = outcome else { return };
                tracing::warn!("{PROGRAM} {why}; it is started again, and the beats go on");
                tell(LinkEvent::Lost);
            },
            // It may be replaced at this moment, and is tried again; said once.
            Err(problem) if complaint.is_news(&problem) => {
                let fault = ProgramFault::of(program).map_or_else(
                    || format!("cannot be started: {problem}"),
                    |fault| fault.to_string(),
                );
                tracing::warn!("no Ableton Link for now: {} {fault}", program.display());
            },
            Err(_) => {},
        }
        failures = if began.elapsed() >= SETTLED { 0 } else { failures + 1 };
        let pause = BACKOFF.delay(failures.saturating_sub(1), &mut jitter);
        if end.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// How a run came to its end.
enum Outcome {
    /// As it should.
    Ended,
    /// By itself, or because it hung: what happened, in words.
    Failed(String),
}

impl Run {
    fn start(program: &PathBuf, shared: &Shared) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg("--json").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C at the daemon's terminal is for the daemon.
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

    fn connect(child: &mut Child, shared: &Shared) -> io::Result<Receiver<String>> {
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("it has no pipes"));
        };
        let (out, lines) = mpsc::sync_channel(REPORTS);
        let (orders, inbox) = mpsc::sync_channel(ORDERS);
        let thread = |name: &str| thread::Builder::new().name(name.into());
        thread("link-reports").spawn(move || read_reports(stdout, &out))?;
        thread("link-log").spawn(move || log(stderr))?;
        thread("link-orders").spawn(move || write_orders(stdin, &inbox))?;
        // Not one that is to end meanwhile: its input is closed then.
        let ended = lock(&shared.ended);
        *lock(&shared.orders) = ended.is_some().then_some(orders);
        drop(ended);
        Ok(lines)
    }

    /// Hears it until it ends, hangs, or is to end.
    fn hear(mut self, end: &Receiver<()>, tell: &mut impl FnMut(LinkEvent)) -> Outcome {
        let mut heard = Instant::now();
        loop {
            match self.lines.recv_timeout(Duration::from_millis(200)) {
                Ok(line) => match LinkReport::parse(&line) {
                    Ok(report) => {
                        heard = Instant::now();
                        tell(LinkEvent::Report(report));
                    },
                    Err(problem) => tracing::warn!("{problem}"),
                },
                Err(RecvTimeoutError::Timeout) if heard.elapsed() > HUNG => {
                    self.kill();
                    return Outcome::Failed(format!("said nothing for {} s", HUNG.as_secs()));
                },
                Err(RecvTimeoutError::Timeout) => {},
                Err(RecvTimeoutError::Disconnected) => {
                    let ended = self.wait(END);
                    if is_over(end) {
                        return Outcome::Ended;
                    }
                    return Outcome::Failed(ended.map_or_else(
                        || "has closed its output".into(),
                        |status| format!("has ended: {status}"),
                    ));
                },
            }
            if is_over(end) {
                self.wait(END);
                return Outcome::Ended;
            }
        }
    }

    /// How it ended; none if somebody else has reaped it, as the daemon does with orphans. One that goes on is killed.
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
        // Only one that is known to be there: its number may be somebody else's otherwise.
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
    while from.by_ref().take(LONGEST).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        if !take(String::from_utf8_lossy(&line).trim_end().into()) {
            return;
        }
        line.clear();
    }
}

/// Ends, and closes its input with it, when nobody can order anything any more.
fn write_orders(mut stdin: ChildStdin, orders: &Receiver<String>) {
    while let Ok(order) = orders.recv() {
        if writeln!(stdin, "{order}").and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

/// One that can be run. A file of that name that cannot is passed over.
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

    const SOON: Duration = Duration::from_secs(20);

    /// A program in place of hana-link, as lines of shell, and what is told of it.
    fn kept(script: &str) -> (tempfile::TempDir, LinkProcess, Receiver<LinkEvent>) {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join(PROGRAM);
        // Written under another name: a program that is still open for writing, by a process that has just been started
        // too, cannot be run.
        let draft = directory.path().join("draft");
        std::fs::write(&draft, format!("#!/bin/sh\n{script}")).unwrap();
        std::fs::set_permissions(&draft, PermissionsExt::from_mode(0o755)).unwrap();
        let copied = Command::new("cp").arg("-p").arg(&draft).arg(&program).status().unwrap();
        assert!(copied.success());
        let (ended, end) = mpsc::sync_channel(0);
        let shared = Arc::new(Shared { orders: Mutex::new(None), ended: Mutex::new(Some(ended)) });
        let of_thread = Arc::clone(&shared);
        let (told, events) = mpsc::channel();
        thread::spawn(move || {
            keep_running(&program, &of_thread, &end, |event| {
                told.send(event).ok();
            });
        });
        (directory, LinkProcess { shared }, events)
    }

    const REPORT: &str =
        r#"{"bpm":133.0,"beat":2.0,"at_us":5,"quantum":4.0,"playing":true,"peers":1}"#;

    #[test]
    fn it_is_heard_and_told() {
        let (_kept, link, events) = kept(&format!(
            "while read -r order; do case $order in *90*) echo '{REPORT}';; esac; done"
        ));
        assert_eq!(events.recv_timeout(SOON).unwrap(), LinkEvent::Began);
        link.order(LinkOrder::Play {});
        link.order(LinkOrder::Tempo { bpm: 90.0 });
        let LinkEvent::Report(report) = events.recv_timeout(SOON).unwrap() else { unreachable!() };
        assert_eq!(report, LinkReport::parse(REPORT).unwrap());
        // Its input is closed: it ends, nobody starts it again, and nobody is told.
        drop(link);
        assert!(events.recv_timeout(SOON).is_err());
    }

    #[test]
    fn one_that_ends_is_started_again_and_nonsense_harms_nobody() {
        let (_kept, link, events) = kept(&format!("echo nonsense; echo '{REPORT}'; exit 3"));
        for _ in 0..3 {
            assert_eq!(events.recv_timeout(SOON).unwrap(), LinkEvent::Began);
            assert!(matches!(events.recv_timeout(SOON).unwrap(), LinkEvent::Report(_)));
            assert_eq!(events.recv_timeout(SOON).unwrap(), LinkEvent::Lost);
        }
        drop(link);
    }

    #[test]
    fn one_that_does_not_read_holds_nobody_up() {
        let (_kept, link, events) = kept("exec sleep 60");
        assert_eq!(events.recv_timeout(SOON).unwrap(), LinkEvent::Began);
        for _ in 0..100_000 {
            link.order(LinkOrder::Tempo { bpm: 90.0 });
        }
        // And is killed in the end.
        drop(link);
        assert!(events.recv_timeout(SOON).is_err());
    }
}
