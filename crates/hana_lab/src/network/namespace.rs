//! Namespaces and the processes in them, read from `/proc`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Pid, Signal};

/// A process that holds a set of namespaces, as their pid 1. When it ends, the kernel kills all processes inside.
pub(crate) struct Anchor {
    /// The process `unshare`, or the `nsenter` that replaced it.
    wrapper: Child,
    /// The standard input of pid 1, which is held open. When this process dies, pid 1 reads the end of the pipe and
    /// ends.
    stdin: Option<ChildStdin>,
    /// The process with pid 1, by its pid on this machine.
    pub(crate) init: Pid,
}

impl Anchor {
    /// Starts `command`, which must create namespaces and run bash in them with the given script.
    ///
    /// The script must print `ready`, then read a line before it ends.
    pub(crate) fn start(mut command: Command, script: &str) -> Result<Self, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut wrapper = command
            .args(["--", "bash", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C at the terminal must reach only the test, so that the anchor can clean up.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot run `{program}`: {error}"))?;
        let stdin = wrapper.stdin.take();
        let mut line = String::new();
        let stdout = wrapper.stdout.take().ok_or("no pipe")?;
        BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        if line != "ready\n" {
            drop(stdin);
            let mut complaint = String::new();
            if let Some(mut stderr) = wrapper.stderr.take() {
                let _ = stderr.read_to_string(&mut complaint);
            }
            let _ = wrapper.wait();
            return Err(complaint.trim().replace('\n', "; "));
        }
        let mut pid = Pid::from_child(&wrapper);
        while numbers(pid).last() != Some(&1) {
            pid = child_of(pid).ok_or("the namespace's first process has gone")?;
        }
        Ok(Self { wrapper, stdin, init: pid })
    }

    /// Sends a last line to pid 1, which then ends.
    pub(crate) fn release(&mut self, word: &str) {
        if let Some(mut stdin) = self.stdin.take() {
            let _ = stdin.write_all(word.as_bytes());
        }
    }

    /// Waits until the process ends, and kills it if that takes too long.
    pub(crate) fn end(&mut self) {
        let start = Instant::now();
        self.stdin = None;
        while matches!(self.wrapper.try_wait(), Ok(None)) {
            if start.elapsed() > Duration::from_secs(5) {
                let _ = rustix::process::kill_process(self.init, Signal::KILL);
                let _ = self.wrapper.kill();
                let _ = self.wrapper.wait();
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Returns the namespaces of a process, as `net:[4026532254]`.
pub(crate) fn namespaces_of(pid: Pid) -> Vec<String> {
    ["pid", "net"].into_iter().filter_map(|kind| link(pid.as_raw_nonzero().get(), kind)).collect()
}

/// Returns the processes that are in any of these namespaces, by their pids on this machine.
#[must_use]
pub fn inhabitants(namespaces: &[String]) -> Vec<i32> {
    pids(Path::new("/proc"))
        .filter(|&pid| {
            ["pid", "net"]
                .into_iter()
                .filter_map(|kind| link(pid, kind))
                .any(|found| namespaces.contains(&found))
        })
        .collect()
}

/// Returns the pid on this machine of the process that has the pid `inside` in the pid namespace of `init`.
pub(crate) fn outside(init: Pid, inside: i32) -> Option<Pid> {
    let namespace = link(init.as_raw_nonzero().get(), "pid")?;
    pids(Path::new("/proc")).filter_map(Pid::from_raw).find(|&pid| {
        numbers(pid).last() == Some(&inside)
            && link(pid.as_raw_nonzero().get(), "pid").as_ref() == Some(&namespace)
    })
}

/// Returns the pids of all processes in this `/proc`.
pub(crate) fn pids(proc: &Path) -> impl Iterator<Item = i32> {
    fs::read_dir(proc)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Returns the parent and the state of a process, or `None` if the process no longer exists.
pub(crate) fn parent_and_state(proc: &Path, pid: i32) -> Option<(i32, char)> {
    let stat = fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?;
    // The name of the process, in parentheses, may contain any character.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

/// Returns the pids of a process, from the one on this machine to the one in its innermost pid namespace.
fn numbers(pid: Pid) -> Vec<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .map(|line| line.split_whitespace().filter_map(|number| number.parse().ok()).collect())
        .unwrap_or_default()
}

fn child_of(parent: Pid) -> Option<Pid> {
    let proc = Path::new("/proc");
    let parent = parent.as_raw_nonzero().get();
    pids(proc)
        .find(|&pid| parent_and_state(proc, pid).is_some_and(|(found, _)| found == parent))
        .and_then(Pid::from_raw)
}

fn link(pid: i32, kind: &str) -> Option<String> {
    Some(fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?.to_str()?.to_owned())
}
