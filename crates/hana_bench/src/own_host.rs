use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use hana_network::{NetworkSettings, Node, NodeConfig, ShowName, ZenohRuntimeEnv};
use hana_protocol::id::{NodeId, role};
use tempfile::TempDir;

use crate::BenchError;
use crate::assistant::SOON;
use crate::child::{OwnChild, beside};

/// A test host on this machine: a daemon with its own id and port.
///
/// Several of them form a mesh over the loopback interface.
pub(crate) struct OwnHost {
    // Declared first, so that the daemon stops before its files are deleted.
    _daemon: OwnChild,
    files: TempDir,
    id: NodeId,
    port: u16,
    show: String,
}

/// Returns a loopback port that is free.
pub(crate) fn free_port() -> Result<u16, BenchError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .map_err(BenchError::system("finding a free port"))?;
    Ok(listener.local_addr().map_err(BenchError::system("finding a free port"))?.port())
}

/// Waits until a process listens on a loopback port.
pub(crate) fn wait_for_listener(port: u16, who: &str) -> Result<(), BenchError> {
    let deadline = Instant::now() + SOON;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() > deadline {
            return Err(BenchError::NotWithin {
                awaited: format!("{who} to listen"),
                seen: "nobody".into(),
                waited: SOON,
            });
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

impl OwnHost {
    /// Starts `count` hosts that know each other.
    pub(crate) fn mesh(count: usize) -> Result<Vec<Self>, BenchError> {
        if hana_network::daemon_is_listening() {
            return Err(BenchError::DaemonRuns);
        }
        let mut hosts: Vec<Self> = vec![];
        for number in 0..count {
            let connect: Vec<u16> = hosts.iter().map(|host| host.port).collect();
            hosts.push(Self::start(number, &connect)?);
        }
        for host in &hosts {
            wait_for_listener(host.port, "a daemon of the bench's own")?;
        }
        Ok(hosts)
    }

    fn start(number: usize, connect: &[u16]) -> Result<Self, BenchError> {
        let files = tempfile::Builder::new()
            .prefix("hana-bench-")
            .tempdir()
            .map_err(BenchError::system("making a folder for temporary files"))?;
        let connect: Vec<String> =
            connect.iter().map(|port| format!("\"tcp/127.0.0.1:{port}\"")).collect();
        let settings = format!("multicast = false\nconnect = [{}]\n", connect.join(", "));
        for (name, text) in [("hanad.toml", settings.as_str()), ("visualizations.toml", "")] {
            fs::write(files.path().join(name), text)
                .map_err(BenchError::system(format!("writing {name}")))?;
        }
        let id = NodeId::new(&format!("bench-{}", number + 1))
            .map_err(BenchError::network("naming a host"))?;
        let (port, show) = (free_port()?, format!("bench-{}", std::process::id()));
        let mut command = Command::new(beside("hanad")?);
        settle(&mut command, &files, &id, port, &show);
        Ok(Self { _daemon: OwnChild::spawn(command, true)?, files, id, port, show })
    }

    /// Configures a program to belong to this host.
    pub(crate) fn settle(&self, command: &mut Command) {
        settle(command, &self.files, &self.id, self.port, &self.show);
    }

    /// Configures a visualization to belong to this host, as if its daemon had launched it.
    pub(crate) fn launch(&self, command: &mut Command) {
        self.settle(command);
        command.env(ZenohRuntimeEnv::VARIABLE, ZenohRuntimeEnv::VALUE);
    }

    /// Returns the settings with which a node of this process joins as part of this host.
    pub(crate) fn config(&self, name: &str) -> Result<NodeConfig, BenchError> {
        let name = NodeId::new(name).map_err(BenchError::network("naming a node"))?;
        let show = ShowName::new(&self.show).map_err(BenchError::network("naming the show"))?;
        let network =
            NetworkSettings { multicast: false, show: Some(show), ..NetworkSettings::default() };
        Ok(NodeConfig::from_environment(name)
            .map_err(BenchError::network("reading the settings of this machine"))?
            .on_host(self.id.clone(), self.port)
            .with_network(network))
    }
}

/// Joins the mesh with a node in this process.
pub(crate) fn join(config: NodeConfig) -> Result<Node<role::App>, BenchError> {
    Node::<role::App>::join(config)
        .wait(SOON)
        .map_err(BenchError::network("joining the mesh"))?
        .map_err(BenchError::network("joining the mesh"))
}

fn settle(command: &mut Command, files: &TempDir, id: &NodeId, port: u16, show: &str) {
    command
        .env("HANA_CONFIG", files.path())
        .env("HANA_STATE", files.path().join("state"))
        .env("HANA_HOST", id.as_str())
        .env("HANA_PORT", port.to_string())
        .env("HANA_SHOW", show);
    for variable in ["HANA_SECRET", "HANA_PLAY_LINK", "HANA_NODE", "HANA_PLAYOUT_MS", "HANA_CLOCK"]
    {
        command.env_remove(variable);
    }
}
