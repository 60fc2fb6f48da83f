use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fmt, fs};

use rustix::process::{Pid, Signal};

use crate::network::lab_inner::LabInner;
use crate::{environment, network::namespace, program};

/// A host of a [`crate::Lab`], with its own network, processes, hostname and home. It shares this machine's file
/// system.
#[derive(Clone)]
pub struct Host {
    inner: Arc<HostInner>,
}

struct HostInner {
    lab: Arc<LabInner>,
    name: String,
    number: u8,
    /// The host's process with pid 1, by its pid on this machine.
    init: Pid,
    namespaces: Vec<String>,
    /// The number of spawned programs, which is used to name their files.
    spawned: AtomicU32,
}

/// A process of a host, with its ids on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The pid on the host.
    pub pid: i32,
    /// The pid of the parent. 1 is the host's first process, which adopts orphans. 0 is the test, which is the parent
    /// of processes started with [`Host::spawn`] and [`Host::run`].
    pub ppid: i32,
    /// The state as in `ps`: `R`, `S`, `D`, `T` for suspended, `Z` for a zombie.
    pub state: char,
    /// The command line, or the name in brackets if there is none, as for zombies.
    pub command: String,
}

impl Host {
    pub(crate) fn new(lab: Arc<LabInner>, name: &str, number: u8, init: Pid) -> Self {
        for directory in ["home", "state", "tmp", "output"] {
            fs::create_dir_all(lab.directory.join(name).join(directory))
                .expect("a lab's directory can be written");
        }
        let namespaces = namespace::namespaces_of(init);
        Self {
            inner: Arc::new(HostInner {
                lab,
                name: name.into(),
                number,
                init,
                namespaces,
                spawned: 0.into(),
            }),
        }
    }

    /// Returns the name, which is also the hostname.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the address on the lab's network.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.inner.number)
    }

    /// Returns the folder of the host's files: `home`, `state` (`HANA_STATE` on the host), `tmp`, `output`.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.inner.lab.directory.join(&self.inner.name)
    }

    /// Returns a command that runs on this host. `program` is a program of this workspace, one in `PATH`, or a path.
    ///
    /// It runs in the project's root, with an empty `HOME`, `HANA_STATE` and `TMPDIR` per host, with the workspace's
    /// programs first in `PATH`, and without the display, language or settings of the developer. `env` and `args` of
    /// the command reach the program; `current_dir` does not. For anything longer than a quick query, pass it to
    /// [`Host::spawn`] or [`Host::run_within`], which have a time limit.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        // The program gets its own session, as in a separate terminal, so a signal to its process group stays there.
        self.command_in_session(&["setsid"], program.as_ref())
    }

    /// Returns such a command for a program whose standard input is a terminal, which sends it signals.
    pub(crate) fn command_at_terminal(&self, program: &OsStr) -> Command {
        self.command_in_session(&["setsid", "--ctty"], program)
    }

    fn command_in_session(&self, session: &[&str], program: &OsStr) -> Command {
        let program = program::resolve(program);
        let mut command =
            self.inner.lab.enter(self.inner.init, &["--net", "--uts", "--pid", "--mount"]);
        command
            .args(session)
            .args(["sh", "-c"])
            .arg(format!(
                r#"cd '{}' && if [ "${PID_FILE}" ]; then echo $$ > "${PID_FILE}"; unset {PID_FILE}; fi && exec "$@""#,
                program::project_root().display()
            ))
            .arg("sh")
            .arg(program);
        environment::clear_developer_settings(&mut command);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(program::programs()).chain(std::env::split_paths(&path));
        let directory = self.directory();
        command
            .env("PATH", std::env::join_paths(paths).expect("paths were split from one"))
            .env("HOME", directory.join("home"))
            .env("HANA_STATE", directory.join("state"))
            // Tests of Ableton Link turn it on: see `crate::link`.
            .env("HANA_LINK", "off")
            .env("TMPDIR", directory.join("tmp"));
        command
    }

    /// Returns the number in the file names of the next program.
    pub(crate) fn next_number(&self) -> u32 {
        self.inner.spawned.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a signal to a process by its pid on this host. Returns once the kernel has accepted it.
    #[track_caller]
    pub fn kill(&self, signal: Signal, pid: i32) {
        let outside = namespace::outside(self.inner.init, pid).unwrap_or_else(|| {
            panic!("there is no process {pid} on {}: {:#?}", self.name(), self.processes())
        });
        rustix::process::kill_process(outside, signal).unwrap_or_else(|error| {
            panic!("cannot send {signal:?} to {pid} on {}: {error}", self.name())
        });
    }

    /// Lists all processes of the host, including zombies but not its first process, which only adopts orphans.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let proc = self.proc();
        let mut found: Vec<Process> = namespace::pids(&proc)
            .filter(|&pid| pid != 1)
            .filter_map(|pid| {
                let (ppid, state) = namespace::parent_and_state(&proc, pid)?;
                Some(Process { pid, ppid, state, command: command_line(&proc, pid)? })
            })
            .collect();
        found.sort_by_key(|process| process.pid);
        found
    }

    /// Unplugs the cable, so the host loses its carrier.
    pub fn unplug(&self) {
        self.inner.lab.run_on_switch(&format!("ip link set port{} down", self.inner.number));
    }

    /// Plugs the cable in again.
    pub fn plug(&self) {
        self.inner.lab.run_on_switch(&format!("ip link set port{} up", self.inner.number));
    }

    /// Cuts the power: all processes and the network of the host end at once, permanently.
    pub fn power_off(&self) {
        let _ = rustix::process::kill_process(self.inner.init, Signal::KILL);
        crate::eventually(Duration::from_secs(5), "a host without power to be gone", || {
            !self.is_on()
        });
    }

    pub(crate) fn namespaces(&self) -> &[String] {
        &self.inner.namespaces
    }

    pub(crate) fn init(&self) -> Pid {
        self.inner.init
    }

    pub(crate) fn number(&self) -> u8 {
        self.inner.number
    }

    pub(crate) fn is_on(&self) -> bool {
        !namespace::inhabitants(self.namespaces()).is_empty()
    }

    pub(crate) fn outside(&self, pid: i32) -> Option<Pid> {
        namespace::outside(self.inner.init, pid)
    }

    /// Returns the path of the host's own `/proc`, as its first process sees it.
    pub(crate) fn proc(&self) -> PathBuf {
        format!("/proc/{}/root/proc", self.inner.init).into()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("name", &self.inner.name)
            .field("address", &self.address())
            .finish()
    }
}

/// The variable with the path of the file to which the shell between `nsenter` and the program writes its pid.
pub(crate) const PID_FILE: &str = "HANA_LAB_PID_FILE";

fn command_line(proc: &Path, pid: i32) -> Option<String> {
    let line = fs::read(proc.join(pid.to_string()).join("cmdline")).ok()?;
    let line = String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ");
    if !line.is_empty() {
        return Some(line);
    }
    let name = fs::read_to_string(proc.join(pid.to_string()).join("comm")).ok()?;
    Some(format!("[{}]", name.trim_end()))
}
