//! The identity of this daemon's host, and the lock that allows one daemon per host.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use anyhow::{Context, bail};
use hana_network::{HostMemory, HostUse, hostname_id, machine_id, named_host};
use hana_protocol::id::NodeId;

use crate::state::state_dir;

/// The id of the host: `HANA_HOST`, or the id saved in the state directory, since the hostname may change.
#[derive(Debug)]
pub(crate) struct HostId {
    id: NodeId,
    base: PathBuf,
    /// The machine's current hostname, unless `HANA_HOST` gives the id.
    hostname: Option<NodeId>,
    /// The lock that is held while this daemon lives, so that other daemons detect it.
    lock: Option<ManuallyDrop<File>>,
}

/// The time limit for a daemon to exit so that another can take its place.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
/// The name of a living daemon's lock file, which contains the daemon's process id.
const LOCK: &str = "hanad.lock";

impl HostId {
    /// Determines the host id: `wanted` from the command line, otherwise `HANA_HOST`, otherwise the saved id.
    pub(crate) fn find(wanted: Option<&NodeId>) -> anyhow::Result<Self> {
        let base = state_dir::usable_base();
        if let Some(id) = named_host()?.filter(|_| wanted.is_none()) {
            return Ok(Self { id, base, hostname: None, lock: None });
        }
        let hostname = hostname_id();
        let id = wanted.cloned().unwrap_or_else(|| {
            HostMemory::read(&base)
                .host(&machine_id(), &hostname, |host| use_of(&base, host))
                .unwrap_or_else(|| hostname.clone())
        });
        Ok(Self { id, base, hostname: Some(hostname), lock: None })
    }

    pub(crate) const fn id(&self) -> &NodeId {
        &self.id
    }

    /// Logs a hostname that differs from the id, and other host ids that are still in use on this machine.
    pub(crate) fn log(&self) {
        let Some(hostname) = &self.hostname else { return };
        if *hostname != self.id {
            tracing::info!(
                "the hostname is '{hostname}', but this host keeps its id '{}'; to change the id, run `hanad --host {hostname}` or set HANA_HOST",
                self.id
            );
        }
        for host in HostMemory::read(&self.base).hosts(&machine_id()) {
            if *host != self.id && use_of(&self.base, host) == HostUse::InUse {
                tracing::warn!(
                    "processes launched here as host '{host}' may still run unsupervised; `HANA_HOST={host} hanad` adopts them"
                );
            }
        }
    }

    /// Saves the id and takes the lock. If that fails, the daemon runs without them.
    pub(crate) fn hold(&mut self) {
        if let Some(hostname) = &self.hostname {
            self.remember(hostname, &self.id);
        }
        match self.lock() {
            // The lock is held until the process ends.
            Ok(lock) => self.lock = lock.map(ManuallyDrop::new),
            Err(problem) => tracing::debug!(
                "cannot lock the host id, so other daemons do not see this one: {problem}"
            ),
        }
    }

    fn remember(&self, hostname: &NodeId, id: &NodeId) {
        let (before, machine) = (HostMemory::read(&self.base), machine_id());
        let mut memory = before.clone();
        memory.remember(&machine, hostname, id);
        if memory == before {
            return;
        }
        if let Err(problem) = memory.write(&self.base) {
            tracing::warn!(
                "cannot save the host id '{id}' ({problem}), so it changes with the hostname"
            );
        }
    }

    fn lock(&self) -> io::Result<Option<File>> {
        let directory = self.base.join(self.id.as_str());
        fs::create_dir_all(&directory)?;
        let path = directory.join(LOCK);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        // Another process that tests the lock holds it for a moment.
        for _ in 0..5 {
            match file.try_lock() {
                Ok(()) => {
                    file.set_len(0)?;
                    file.rewind()?;
                    write!(file, "{}", std::process::id())?;
                    return Ok(Some(file));
                },
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
                Err(TryLockError::Error(problem)) => return Err(problem),
            }
        }
        Ok(None)
    }

    /// Gives up the id because another machine has it. Returns the remedy as text.
    ///
    /// If the hostname has changed since the id was assigned, the hostname becomes the next id: an operator has
    /// renamed a machine that was set up from a copied disk.
    pub(crate) fn yield_id(&self) -> String {
        match &self.hostname {
            Some(hostname) if *hostname != self.id => {
                self.remember(hostname, hostname);
                format!("restart hanad to use the id '{hostname}'")
            },
            _ => "set another id with HANA_HOST=... and restart hanad".into(),
        }
    }

    /// Makes the running daemon of this host exit, so that this one can take its place.
    ///
    /// The processes that it launched continue.
    pub(crate) fn take_place(&self) -> anyhow::Result<()> {
        let path = self.base.join(self.id.as_str()).join(LOCK);
        if is_free(&path) {
            tracing::info!("no daemon of '{}' runs here, so there is none to replace", self.id);
            return Ok(());
        }
        let mut text = String::new();
        File::open(&path)?.read_to_string(&mut text)?;
        let pid = text.trim().parse().context("reading the process id of the running daemon")?;
        request_exit(pid).with_context(|| format!("signalling hanad, process {pid}, to exit"))?;
        let until = Instant::now() + EXIT_TIMEOUT;
        // The daemon also occupies a port, which it may release a moment after the lock.
        while !is_free(&path) || hana_network::daemon_is_listening() {
            if Instant::now() >= until {
                bail!(
                    "hanad, process {pid}, did not exit; it may be suspended or too old for --replace"
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Returns whether no living daemon holds the lock.
///
/// Also returns true if the lock cannot be opened, since then no daemon of this user holds it.
fn is_free(lock: &Path) -> bool {
    let Ok(file) = File::open(lock) else { return true };
    !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn use_of(base: &Path, host: &NodeId) -> HostUse {
    let directory = base.join(host.as_str());
    if !is_free(&directory.join(LOCK)) {
        return HostUse::Taken;
    }
    let has_records = fs::read_dir(directory.join(state_dir::RUN)).is_ok_and(|mut found| {
        found.any(|entry| {
            entry.is_ok_and(|entry| entry.path().extension().is_some_and(|of| of == "json"))
        })
    });
    if has_records { HostUse::InUse } else { HostUse::Idle }
}

#[cfg(unix)]
fn request_exit(pid: i32) -> io::Result<()> {
    let pid = rustix::process::Pid::from_raw(pid)
        .ok_or_else(|| io::Error::other("the process id is invalid"))?;
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::QUIT)?)
}

#[cfg(not(unix))]
fn request_exit(_pid: i32) -> io::Result<()> {
    Err(io::Error::other("not on this platform"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn host(base: &Path, id: &str, hostname: &str) -> HostId {
        let id = NodeId::new(id).unwrap();
        let hostname = Some(NodeId::new(hostname).unwrap());
        HostId { id, base: base.into(), hostname, lock: None }
    }

    #[test]
    fn running_daemon_is_detected_and_ended_one_is_not() {
        let base = tempfile::tempdir().unwrap();
        let mut alpha = host(base.path(), "alpha", "alpha");
        assert_eq!(use_of(base.path(), alpha.id()), HostUse::Idle);
        alpha.hold();
        assert_eq!(use_of(base.path(), alpha.id()), HostUse::Taken);
        drop(alpha.lock.take().map(ManuallyDrop::into_inner));
        assert_eq!(use_of(base.path(), alpha.id()), HostUse::Idle);
    }

    #[test]
    fn renamed_machine_with_copied_disk_uses_its_hostname() {
        let base = tempfile::tempdir().unwrap();
        let copy = host(base.path(), "alpha", "beta");
        copy.remember(&NodeId::new("alpha").unwrap(), copy.id());
        assert!(copy.yield_id().contains("'beta'"));
        let beta = NodeId::new("beta").unwrap();
        let next = HostMemory::read(base.path()).host(&machine_id(), &beta, |_| HostUse::Idle);
        assert_eq!(next, Some(beta));
        let same = host(base.path(), "alpha", "alpha");
        assert!(same.yield_id().contains("HANA_HOST="));
    }
}
