use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hana_engine::roster::NodeView;
use hana_network::{MeshObserver, NetworkSettings, Node, NodeConfig, ShowName, unix_ms};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{Set, Start, Started, Stop};
use tempfile::TempDir;

use crate::BenchError;
use crate::child::{OwnChild, beside};

/// The limit for operations that take milliseconds, or as long as the start of a program.
const SOON: Duration = Duration::from_secs(20);
/// The interval at which an idle observer checks for an interrupt.
const GLANCE: Duration = Duration::from_millis(50);

/// A daemon started by the bench, on this machine alone, and an app that observes the mesh behind it.
pub(crate) struct OwnShow<'a> {
    // The fields are in the order of their end: the observer, the daemon with the processes it launched, and their
    // files.
    watch: MeshObserver,
    node: Node<role::App>,
    daemon: OwnChild,
    files: TempDir,
    show: String,
    told_to_end: &'a AtomicBool,
}

impl<'a> OwnShow<'a> {
    /// Starts a daemon with this catalogue.
    pub(crate) fn start(catalogue: &str, told_to_end: &'a AtomicBool) -> Result<Self, BenchError> {
        if hana_network::daemon_is_listening() {
            return Err(BenchError::DaemonRuns);
        }
        let files = tempfile::Builder::new()
            .prefix("hana-bench-")
            .tempdir()
            .map_err(BenchError::system("making a folder for temporary files"))?;
        let put = |name: &str, text: &str| {
            fs::write(files.path().join(name), text)
                .map_err(BenchError::system(format!("writing {name}")))
        };
        put("hanad.toml", "multicast = false\nlink = false\n")?;
        put("visualizations.toml", catalogue)?;
        let show = format!("bench-{}", std::process::id());
        let mut command = Command::new(beside("hanad")?);
        command
            .env("HANA_CONFIG", files.path())
            .env("HANA_STATE", files.path().join("state"))
            .env("HANA_SHOW", &show);
        let mut daemon = OwnChild::spawn(command, true)?;
        let deadline = Instant::now() + SOON;
        while !hana_network::daemon_is_listening() {
            if daemon.has_ended() || Instant::now() > deadline {
                return Err(BenchError::NotWithin {
                    awaited: "the bench's own daemon to listen".into(),
                    seen: "none".into(),
                    waited: SOON,
                });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let name = NodeId::new("bench").map_err(BenchError::network("naming the observer"))?;
        let network = NetworkSettings {
            multicast: false,
            show: Some(ShowName::new(&show).map_err(BenchError::network("naming the show"))?),
            ..NetworkSettings::default()
        };
        let config = NodeConfig::passing(&name)
            .map_err(BenchError::network("reading the settings of this machine"))?
            .with_network(NetworkSettings { secret: None, ..network });
        let node = Node::<role::App>::join(config)
            .wait(SOON)
            .map_err(BenchError::network("joining the mesh"))?
            .map_err(BenchError::network("joining the mesh"))?;
        let watch = node.watch_mesh();
        let mut this = Self { watch, node, daemon, files, show, told_to_end };
        let host = this.node.host().clone();
        this.wait_for(&host, "the daemon to be on the mesh", |_| true)?;
        Ok(this)
    }

    /// Returns a command that runs a program next to this one in this show, without the daemon.
    pub(crate) fn command(&self, program: &str) -> Result<Command, BenchError> {
        let mut command = Command::new(beside(program)?);
        command.env("HANA_CONFIG", self.files.path()).env("HANA_SHOW", &self.show);
        Ok(command)
    }

    /// Launches an entry of the catalogue through the daemon.
    pub(crate) fn launch(&self, name: &str) -> Result<Started, BenchError> {
        let host = self.node.host();
        let start = Start { name: name.into(), id: None, at: hana_time::ScheduleAt::Now };
        self.node
            .command::<role::Daemon, _>(host, start, SOON)
            .wait(SOON * 2)
            .map_err(BenchError::network("launching a visualization"))?
            .map_err(BenchError::network("launching a visualization"))
    }

    /// Stops a launched node through the daemon.
    pub(crate) fn end(&self, node: &NodeId) -> Result<(), BenchError> {
        let stop = Stop { node: node.clone() };
        self.node
            .command::<role::Daemon, _>(self.node.host(), stop, SOON)
            .wait(SOON * 2)
            .map_err(BenchError::network("ending a visualization"))?
            .map_err(BenchError::network("ending a visualization"))?;
        Ok(())
    }

    /// Sets a parameter.
    pub(crate) fn set(&self, node: &NodeId, set: Set) -> Result<(), BenchError> {
        self.node
            .command::<role::Visualization, _>(node, set, SOON)
            .wait(SOON * 2)
            .map_err(BenchError::network("setting a parameter"))?
            .map_err(BenchError::network("setting a parameter"))?;
        Ok(())
    }

    /// Waits until the observer sees the node in a given state; returns the time.
    pub(crate) fn wait_for(
        &mut self,
        node: &NodeId,
        awaited: &str,
        wished: impl Fn(&NodeView) -> bool,
    ) -> Result<Instant, BenchError> {
        let deadline = Instant::now() + SOON;
        loop {
            let view = self.watch.roster().view(node, unix_ms());
            let now = Instant::now();
            if view.as_ref().is_some_and(&wished) {
                return Ok(now);
            }
            if self.told_to_end.load(Ordering::Relaxed) {
                return Err(BenchError::Interrupted);
            }
            if now > deadline || self.daemon.has_ended() {
                let seen = view.map_or_else(
                    || "nothing of it".into(),
                    |view| format!("{} ({})", view.state, view.reason),
                );
                let awaited = format!("'{node}': {awaited}");
                return Err(BenchError::NotWithin { awaited, seen, waited: SOON });
            }
            self.watch.wait(GLANCE);
        }
    }

    /// Waits until the observer no longer sees the node, or sees only that it has stopped.
    pub(crate) fn wait_until_gone(&mut self, node: &NodeId) -> Result<(), BenchError> {
        let deadline = Instant::now() + SOON;
        while self.watch.roster().is_present(node) {
            if Instant::now() > deadline {
                return Err(BenchError::NotWithin {
                    awaited: format!("'{node}' to be gone"),
                    seen: "its token".into(),
                    waited: SOON,
                });
            }
            self.watch.wait(GLANCE);
        }
        Ok(())
    }
}
