use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fmt, fs, thread};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::network::host::PID_FILE;
use crate::{Host, eventually, network::namespace};

/// A program that runs on a [`Host`].
///
/// Dropping it kills and reaps the program, but not its children, so that a test can detect children that remain.
pub struct Running {
    host: Host,
    line: String,
    /// The process `nsenter`, which waits for the program and ends with the same status.
    child: Child,
    /// The pid of the program on the host.
    pid: i32,
    stdout: PathBuf,
    stderr: PathBuf,
    start: Instant,
    end: Option<ExitStatus>,
    /// The standard input of the program, if the test may write to it.
    stdin: Option<ChildStdin>,
}

/// The result of a program that has ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The host and the command line.
    pub line: String,
    /// The exit status. If a signal killed the program, it contains that signal.
    pub status: ExitStatus,
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
    /// The time from start to end, including the few milliseconds that entering the host takes.
    pub took: Duration,
}

impl Running {
    /// Starts a program without input. `number` is part of the names of its output files.
    #[track_caller]
    pub(crate) fn start(host: Host, mut command: Command, number: u32) -> Self {
        let [stdout, stderr, _] = files(&host, number);
        let create = |path: &Path| File::create(path).expect("a lab's directory can be written");
        command.stdin(Stdio::null()).stdout(create(&stdout)).stderr(create(&stderr));
        Self::start_connected(host, command, number)
    }

    /// Starts a program that reads lines from [`Running::send_line`].
    #[track_caller]
    pub(crate) fn start_with_input(host: Host, mut command: Command, number: u32) -> Self {
        let [stdout, stderr, _] = files(&host, number);
        let create = |path: &Path| File::create(path).expect("a lab's directory can be written");
        command.stdin(Stdio::piped()).stdout(create(&stdout)).stderr(create(&stderr));
        Self::start_connected(host, command, number)
    }

    /// Starts a program whose input and output the caller has connected.
    #[track_caller]
    pub(crate) fn start_connected(host: Host, mut command: Command, number: u32) -> Self {
        let line = command_line(&host, &command);
        let [stdout, stderr, pid_file] = files(&host, number);
        let start = Instant::now();
        let mut child = command
            .env(PID_FILE, &pid_file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run nsenter: {error}"));
        let pid = eventually(Duration::from_secs(10), "the program to be started", || {
            let pid = fs::read_to_string(&pid_file)
                .ok()
                .and_then(|text| text.strip_suffix('\n')?.parse().ok());
            // A program that has already failed has no pid. Its standard error has the reason.
            pid.or_else(|| child.try_wait().ok().flatten().map(|_| 0))
        });
        assert!(pid != 0, "`{line}` could not be started: {}", read(&stderr));
        let stdin = child.stdin.take();
        Self { host, line, child, pid, stdout, stderr, start, end: None, stdin }
    }

    /// Returns the pid on the host.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns the standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Returns the standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Writes a line to the standard input of a program started with [`Host::spawn_with_input`].
    #[track_caller]
    pub fn send_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("the program was started with an input");
        writeln!(stdin, "{line}")
            .unwrap_or_else(|error| panic!("`{}` does not read: {error}", self.line));
    }

    /// Closes the standard input.
    pub fn hang_up(&mut self) {
        self.stdin.take();
    }

    /// Sends a signal to the program.
    #[track_caller]
    pub fn kill(&self, signal: Signal) {
        self.host.kill(signal, self.pid);
    }

    /// Returns the exit status if the program has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.end.is_none() {
            self.end = self.child.try_wait().expect("a child can be waited for");
            self.wake_wrapper();
        }
        self.end
    }

    /// Waits until the program ends. Fails the test if that takes longer than `deadline`.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.try_wait() {
                return status;
            }
            assert!(
                start.elapsed() < deadline,
                "`{}` has not ended within {:.2} s",
                self.line,
                deadline.as_secs_f64()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the program ends and returns its output. Fails the test if that takes longer than `deadline`.
    #[track_caller]
    pub fn finish(mut self, deadline: Duration) -> Output {
        let status = self.wait(deadline);
        Output {
            line: self.line.clone(),
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
            took: self.start.elapsed(),
        }
    }

    /// Continues `nsenter`, which suspends itself when its program is suspended.
    fn wake_wrapper(&self) {
        let state =
            |proc: &Path, pid| namespace::parent_and_state(proc, pid).map(|(_, state)| state);
        let wrapper = Pid::from_child(&self.child);
        if self.end.is_none()
            && state(Path::new("/proc"), wrapper.as_raw_nonzero().get()) == Some('T')
            && state(&self.host.proc(), self.pid) != Some('T')
        {
            let _ = rustix::process::kill_process(wrapper, Signal::CONT);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let ended_by_itself = self.try_wait();
        if ended_by_itself.is_none() {
            if let Some(outside) = self.host.outside(self.pid) {
                let _ = rustix::process::kill_process(outside, Signal::KILL);
            }
            let start = Instant::now();
            while self.try_wait().is_none() {
                if start.elapsed() > Duration::from_secs(5) {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    break;
                }
                thread::sleep(Duration::from_millis(2));
            }
        }
        if thread::panicking() {
            let end = ended_by_itself
                .map_or_else(|| "was still running".into(), |status| status.to_string());
            eprintln!(
                "--- {} ({end})\n--- its stdout:\n{}--- its stderr:\n{}---",
                self.line,
                tail(&self.stdout()),
                tail(&self.stderr())
            );
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("line", &self.line)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

impl Output {
    /// Returns this output if the program succeeded. Fails the test otherwise.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "failed: {self}");
        self
    }

    /// Returns the exit code, or `None` if a signal killed the program.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Parses the standard output as a JSON document.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// Parses the standard output as JSON lines.
    #[track_caller]
    #[must_use]
    pub fn json_lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("no JSON: {line}: {error}: {self}"))
            })
            .collect()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, status, stdout, stderr, took } = self;
        write!(
            f,
            "{line}\n{status} after {:.3} s\nstdout:\n{stdout}\nstderr:\n{stderr}",
            took.as_secs_f64()
        )
    }
}

/// Returns a readable command line, without the shell that the program replaces.
fn command_line(host: &Host, command: &Command) -> String {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let shell = words.windows(2).position(|pair| pair[0] == "-c").map_or(0, |at| at + 3);
    let line = words.get(shell..).unwrap_or_default().join(" ");
    format!("{}: {line}", host.name())
}

fn files(host: &Host, number: u32) -> [PathBuf; 3] {
    let base = host.directory().join("output").join(number.to_string());
    ["out", "err", "pid"].map(|kind| base.with_extension(kind))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Returns the last lines of a long output.
fn tail(text: &str) -> String {
    const LINES: usize = 200;
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(LINES);
    let mut shown =
        if skipped > 0 { format!("... {skipped} lines before these ...\n") } else { String::new() };
    for line in &lines[skipped..] {
        shown.push_str(line);
        shown.push('\n');
    }
    shown
}
