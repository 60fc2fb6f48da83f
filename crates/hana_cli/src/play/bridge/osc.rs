use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use hana_network::{Node, NodeConfig};
use hana_protocol::id::{NodeId, role};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::kernel_drops::KernelDrops;
use super::osc_input::{DatagramBatch, OscInput};
use super::osc_player::OscPlayer;
use crate::arguments::OscArguments;
use crate::output;
use crate::output::LastingOutput;

/// How long to wait for OSC before polling the mesh, and the polling interval while OSC arrives without a pause.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How often the kernel's drop counter is read, while datagrams arrive.
const DROPS_INTERVAL: Duration = Duration::from_millis(250);
/// How long a killed bridge may keep its address.
const BIND_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval between two lines about lost datagrams.
const LOSS_LINES: Duration = Duration::from_secs(1);

pub(crate) fn run(arguments: &OscArguments) -> anyhow::Result<()> {
    let address = arguments.listen;
    let socket = bind(address).with_context(|| {
        format!("cannot listen for OSC on {address}; is another program using it?")
    })?;
    let input = OscInput::start(&socket).context("reading OSC")?;
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    let mut player = OscPlayer::new(join(arguments.id.as_ref())?);
    let (id, local) = (player.node().id(), socket.local_addr()?);
    let out = LastingOutput::start()?;
    out.line(format_args!("'{id}' listens for OSC on {local}"));
    let mut losses = Losses::of(&socket);
    let mut batch = DatagramBatch::default();
    let mut looked = Instant::now();
    while !ended.load(Ordering::Acquire) {
        if let Some(problem) = input.take(&mut batch, POLL_INTERVAL) {
            player.report(&format!("the socket: {problem}"));
        }
        player.play(&batch);
        losses.note(&batch);
        if looked.elapsed() >= POLL_INTERVAL || batch.is_empty() {
            player.poll();
            losses.look(&player);
            looked = Instant::now();
        }
    }
    player.leave();
    Ok(())
}

/// Binds to an address; waits a moment for a previous bridge to release it.
fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let begun = Instant::now();
    loop {
        match UdpSocket::bind(address) {
            Err(problem)
                if problem.kind() == ErrorKind::AddrInUse && begun.elapsed() < BIND_TIMEOUT =>
            {
                std::thread::sleep(POLL_INTERVAL);
            },
            bound => return bound,
        }
    }
}

fn join(id: Option<&NodeId>) -> anyhow::Result<Node<role::Bridge>> {
    let id = if let Some(id) = id {
        id.clone()
    } else {
        let config = NodeConfig::from_environment(NodeId::new("osc")?)?.with_host_of_daemon();
        NodeId::from_hostname(&format!("{}-{}", config.id(), config.host()))
    };
    let config = NodeConfig::from_environment(id)?;
    Ok(Node::join(config).wait(Duration::from_secs(5))??)
}

/// Datagrams that reached this machine and were not read in time.
struct Losses {
    drops: KernelDrops,
    /// Whether datagrams arrived since the last reading. The kernel drops datagrams only while others wait to be
    /// read.
    has_come: bool,
    asked: Instant,
    /// Losses that are not printed yet.
    new: u64,
    total: u64,
    printed: Option<Instant>,
}

impl Losses {
    fn of(socket: &UdpSocket) -> Self {
        let drops = KernelDrops::of(socket);
        Self { drops, has_come: true, asked: Instant::now(), new: 0, total: 0, printed: None }
    }

    const fn note(&mut self, batch: &DatagramBatch) {
        self.has_come |= !batch.is_empty();
        self.new += batch.dropped();
    }

    fn look(&mut self, player: &OscPlayer) {
        if self.has_come && self.asked.elapsed() >= DROPS_INTERVAL {
            self.has_come = false;
            self.asked = Instant::now();
            self.new += self.drops.take().unwrap_or_default();
        }
        if self.new == 0 || self.printed.is_some_and(|at| at.elapsed() < LOSS_LINES) {
            return;
        }
        let new = std::mem::take(&mut self.new);
        self.total += new;
        self.printed = Some(Instant::now());
        player.node().count_lost_input(new);
        output::warn(format_args!(
            "{new} OSC datagrams were lost on this machine, {} since the bridge started: they arrived faster than they could be read, and the receive buffer was full. Send important values again; a larger net.core.rmem_max helps",
            self.total
        ));
    }
}
