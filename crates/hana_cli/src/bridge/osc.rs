use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use hana_network::MeshWatch;
use hana_network::Node;
use hana_network::NodeConfig;
use hana_network::Operator;
use hana_network::PlaySession;
use hana_protocol::NodeId;
use hana_protocol::ParameterName;
use hana_protocol::role;
use hana_protocol::role::Role;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;

use super::osc_message;
use super::osc_message::OscValue;
use crate::arguments::OscArguments;

/// How long the socket is waited for before the mesh is looked at again.
const LOOK_AROUND: Duration = Duration::from_millis(20);
/// Errors printed in a second; the others are counted.
const ERRORS_PER_SECOND: u32 = 20;

pub(crate) fn run(arguments: &OscArguments) -> anyhow::Result<()> {
    let address = arguments.listen;
    let socket = UdpSocket::bind(address).with_context(|| {
        format!("cannot listen for OSC on {address}; is another program using it?")
    })?;
    socket.set_read_timeout(Some(LOOK_AROUND))?;
    let node = join(arguments.id.as_ref())?;
    let told_to_end = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&told_to_end))?;
    }
    let mut bridge = OscBridge {
        watch: node.watch_mesh(),
        operator: node.operator(),
        node,
        played: HashMap::new(),
        complaints: Complaints::new(),
    };
    bridge.watch.wait_until_complete(Duration::from_millis(500));
    println!("'{}' listens for OSC on {}", bridge.node.id(), socket.local_addr()?);
    let mut datagram = vec![0; 65_536];
    while !told_to_end.load(Ordering::Acquire) {
        match socket.recv_from(&mut datagram) {
            Ok((length, _)) => bridge.take(&datagram[..length]),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock
                        | std::io::ErrorKind::TimedOut
                        | std::io::ErrorKind::Interrupted
                ) => {},
            // On some systems a send of ours that nobody took comes back here; it ends nothing.
            Err(error) => bridge.complaints.say(&format!("the socket: {error}")),
        }
        bridge.look_around();
    }
    bridge.node.leave().wait(Duration::from_secs(1)).ok();
    Ok(())
}

fn join(id: Option<&NodeId>) -> anyhow::Result<Node<role::Bridge>> {
    let id = match id {
        Some(id) => id.clone(),
        None => {
            let config = NodeConfig::from_environment(NodeId::new("osc")?)?.with_host_of_daemon();
            NodeId::from_hostname(&format!("{}-{}", config.id(), config.host()))
        },
    };
    let config = NodeConfig::from_environment(id)?;
    Ok(Node::join(config).wait(Duration::from_secs(5))??)
}

struct OscBridge {
    node: Node<role::Bridge>,
    watch: MeshWatch,
    /// Tells how much its word counts (`HANA_PRIORITY`); it takes nothing by itself, and holds what it plays.
    operator: Operator,
    /// For values that come together the frames of a session see to it that they are shown together.
    played: HashMap<NodeId, PlaySession>,
    complaints: Complaints,
}

impl OscBridge {
    fn take(&mut self, datagram: &[u8]) {
        let values = osc_message::read(datagram);
        for value in values {
            match value {
                Ok(value) => self.play(&value),
                Err(error) => self.complaints.say(&error.to_string()),
            }
        }
    }

    fn play(&mut self, value: &OscValue) {
        let OscValue { node: id, parameter, value } = value;
        self.watch.poll();
        let played = self.check(id, parameter, *value).and_then(|()| {
            if !self.played.contains_key(id) {
                self.played.insert(id.clone(), self.node.play_session(id));
            }
            let session = self.played.get(id);
            let played = session.map_or(Ok(()), |session| session.set(parameter, *value));
            played.map_err(|problem| problem.to_string())
        });
        if let Err(problem) = played {
            self.complaints.say(&format!("/hana/{id}/{parameter}: {problem}"));
        }
    }

    fn check(&self, id: &NodeId, name: &ParameterName, value: f32) -> Result<(), String> {
        let roster = self.watch.roster();
        let there = || {
            let is_visualization = |view: &hana_protocol::NodeView| {
                view.role == Role::Visualization && view.state.is_alive()
            };
            let names: Vec<String> = roster
                .views(hana_network::unix_ms())
                .into_iter()
                .filter(is_visualization)
                .map(|view| view.node.to_string())
                .collect();
            if names.is_empty() { "none".into() } else { names.join(", ") }
        };
        let info = roster
            .info(id)
            .filter(|info| info.role == Role::Visualization && roster.is_present(id))
            .ok_or_else(|| format!("there is no visualization '{id}'; there are: {}", there()))?;
        let parameters = hana_protocol::Parameters::new(info.parameters.clone());
        let index = parameters.index(name).map_err(|problem| problem.to_string())?;
        parameters.declared()[index].check(value).map_err(|problem| problem.to_string())?;
        Ok(())
    }

    /// Forgets who is gone.
    fn look_around(&mut self) {
        self.watch.poll();
        self.operator.poll(self.watch.roster());
        let roster = self.watch.roster();
        // One that is started again goes on being played, and is there again soon.
        self.played.retain(|id, _| roster.info(id).is_some());
        self.complaints.sum_up();
    }
}

/// One line for each error, as long as they do not flood.
struct Complaints {
    second: Instant,
    said: u32,
    unsaid: u64,
}

impl Complaints {
    fn new() -> Self {
        Self { second: Instant::now(), said: 0, unsaid: 0 }
    }

    fn say(&mut self, text: &str) {
        if self.said < ERRORS_PER_SECOND {
            self.said += 1;
            eprintln!("hana: {text}");
        } else {
            self.unsaid += 1;
        }
    }

    fn sum_up(&mut self) {
        if self.second.elapsed() < Duration::from_secs(1) {
            return;
        }
        if self.unsaid > 0 {
            eprintln!("hana: and {} more errors in this second", self.unsaid);
        }
        *self = Self::new();
    }
}
