//! Counts messages on every lane, to see what each lane guarantees on your own network.
//!
//! ```text
//! tally count                          on one machine: a line for each message that arrives
//! tally send --count 10000             on another: sends them, numbered
//! ```
//!
//! `tally send --to tally` sends them to one node, which acknowledges each; `--lane` sends on one lane only.
//! When it ends, each prints the counters of its node.

mod counted;

use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{io, thread};

use anyhow::Context;
use clap::{Parser, Subcommand};
use counted::{AsLuckWill, AsTheyCome, Counted, InOrder, Newest};
use hana_network::{
    CustomSubscription, MessageSender, Node, NodeConfig, Pending, SendError, unix_ms,
};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{Accepted, Direction};
use hana_protocol::wire::Lane;

/// Counts messages on every lane.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Writes a line for each message that arrives: its lane, the instance that sent it, its number, and how
    /// many microseconds ago it was sent, by the clocks of the two machines
    Count {
        /// Milliseconds that each message takes
        #[arg(long, default_value_t = 0)]
        slowly: u64,
    },
    /// Sends numbered messages
    Send(Sending),
}

#[derive(clap::Args)]
struct Sending {
    /// Messages on each lane
    #[arg(long, default_value_t = 1000)]
    count: u64,
    /// Messages a second on each lane
    #[arg(long, default_value_t = 1000)]
    per_second: u32,
    /// Only on this lane
    #[arg(long)]
    lane: Option<String>,
    /// Only to this node, which acknowledges each
    #[arg(long)]
    to: Option<NodeId>,
    /// Seconds that the node may take to acknowledge each
    #[arg(long, default_value_t = 10)]
    deadline: u64,
    /// Seconds to stay afterwards, to retransmit lost messages
    #[arg(long, default_value_t = 2)]
    linger: u64,
}

/// How long joining may take.
const JOIN: Duration = Duration::from_secs(10);
/// How long leaving may take.
const LEAVE: Duration = Duration::from_secs(1);
/// Polling interval for received messages.
const LOOK: Duration = Duration::from_millis(2);

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let told_to_end = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&told_to_end))?;
    }
    let (id, flow) = match &arguments.what {
        What::Count { .. } => ("tally", Direction::Subscribed),
        What::Send(_) => ("tally-sender", Direction::Published),
    };
    let config = NodeConfig::from_environment(NodeId::new(id)?)?
        .with_message::<InOrder>(flow)
        .with_message::<AsTheyCome>(flow)
        .with_message::<Newest>(flow)
        .with_message::<AsLuckWill>(flow);
    let joining = Node::<role::App>::join(config);
    let node = joining.wait(JOIN).context("joining the mesh")?.context("joining the mesh")?;
    let mut out = BufWriter::new(io::stdout());
    writeln!(out, "joined {}", node.id())?;
    out.flush()?;
    match arguments.what {
        What::Count { slowly } => {
            count(node, Duration::from_millis(slowly), &told_to_end, &mut out)?;
        },
        What::Send(sending) => {
            sending.run(&node, &told_to_end, &mut out)?;
            writeln!(out, "counters {}", serde_json::to_string(&node.lanes())?)?;
            node.leave().wait(LEAVE).ok();
        },
    }
    out.flush()?;
    Ok(())
}

fn count(
    node: Node<role::App>,
    slowly: Duration,
    told_to_end: &AtomicBool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let in_order = node.subscribe_custom::<InOrder>();
    let as_they_come = node.subscribe_custom::<AsTheyCome>();
    let newest = node.subscribe_custom::<Newest>();
    let as_luck_will = node.subscribe_custom::<AsLuckWill>();
    let mut write = |slowly| -> io::Result<usize> {
        let arrived = write_down(&in_order, slowly, out)?
            + write_down(&as_they_come, slowly, out)?
            + write_down(&newest, slowly, out)?
            + write_down(&as_luck_will, slowly, out)?;
        out.flush()?;
        Ok(arrived)
    };
    while !told_to_end.load(Ordering::Acquire) {
        if write(slowly)? == 0 {
            thread::sleep(LOOK);
        }
    }
    let counters = serde_json::to_string(&node.lanes())?;
    // Messages accepted before it left must still be counted.
    node.leave().wait(LEAVE).ok();
    while write(Duration::ZERO)? > 0 {}
    writeln!(out, "counters {counters}")?;
    Ok(())
}

/// Writes down the messages received on one lane. Returns their number.
fn write_down<M: Counted>(
    heard: &CustomSubscription<M>,
    slowly: Duration,
    out: &mut impl Write,
) -> io::Result<usize> {
    let mut arrived = 0;
    while let Some(received) = heard.try_recv() {
        let (run, number) = received.message.run_and_number();
        let sent = received.envelope.map_or(0, |envelope| envelope.at);
        let ago = unix_us().saturating_sub(sent);
        writeln!(out, "{} {run} {number} {ago}", M::LANE)?;
        arrived += 1;
        if !slowly.is_zero() {
            out.flush()?;
            thread::sleep(slowly);
            break;
        }
    }
    Ok(arrived)
}

impl Sending {
    fn run(
        &self,
        node: &Node<role::App>,
        told_to_end: &AtomicBool,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let run = unix_ms() * 1000;
        writeln!(out, "run {run}")?;
        out.flush()?;
        let mut in_order = OnLane::<InOrder>::of(node, self);
        let mut as_they_come = OnLane::<AsTheyCome>::of(node, self);
        let mut newest = OnLane::<Newest>::of(node, self);
        let mut as_luck_will = OnLane::<AsLuckWill>::of(node, self);
        let begun = Instant::now();
        let gap = Duration::from_secs(1) / self.per_second.max(1);
        // Time spent handing over, which a program that draws spends in its frame.
        let mut spent = vec![];
        for number in 0..self.count {
            // Measured from the due time, so that the rate is kept.
            let due = begun + gap * u32::try_from(number).unwrap_or(u32::MAX);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if told_to_end.load(Ordering::Acquire) {
                break;
            }
            let before = Instant::now();
            in_order.send(run, number, out)?;
            as_they_come.send(run, number, out)?;
            newest.send(run, number, out)?;
            as_luck_will.send(run, number, out)?;
            spent.push(before.elapsed().as_micros());
            if number % u64::from(self.per_second) == 0 {
                write_percentiles("handing over", &mut spent, out)?;
            }
        }
        writeln!(out, "sent")?;
        out.flush()?;
        let patience = Instant::now() + Duration::from_secs(self.deadline + 1);
        while in_order.take_answers(out)? + as_they_come.take_answers(out)? > 0
            && Instant::now() < patience
        {
            thread::sleep(LOOK);
        }
        writeln!(out, "done")?;
        out.flush()?;
        let end = Instant::now() + Duration::from_secs(self.linger);
        while Instant::now() < end && !told_to_end.load(Ordering::Acquire) {
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// Writes percentiles in microseconds: the slowest half and the slowest hundredth took at least this long.
fn write_percentiles(what: &str, spent: &mut Vec<u128>, out: &mut impl Write) -> io::Result<()> {
    spent.sort_unstable();
    let at = |share: usize| spent.get(spent.len() * share / 100).copied().unwrap_or_default();
    writeln!(out, "{what} p50_us {} p99_us {}", at(50), at(99))?;
    spent.clear();
    out.flush()
}

/// Returns Unix microseconds, as in envelopes.
fn unix_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}

/// The messages to send on one lane, if any.
struct OnLane<'a, M> {
    courier: Option<MessageSender<M>>,
    sending: &'a Sending,
    unanswered: Vec<(u64, Pending<Result<Accepted, SendError>>)>,
}

impl<'a, M: Counted + hana_protocol::contract::routes::SentBy<role::App>> OnLane<'a, M> {
    fn of(node: &Node<role::App>, sending: &'a Sending) -> Self {
        let is_sent = sending.lane.as_ref().is_none_or(|lane| lane == M::LANE.as_str());
        Self { courier: is_sent.then(|| node.message_sender()), sending, unanswered: vec![] }
    }

    fn send(&mut self, run: u64, number: u64, out: &mut impl Write) -> io::Result<()> {
        let Some(courier) = &self.courier else { return Ok(()) };
        let message = M::new(run, number);
        let outcome = match &self.sending.to {
            None => courier.publish(&message),
            Some(node) if M::LANE.is_reliable() => {
                let deadline = Duration::from_secs(self.sending.deadline);
                self.unanswered.push((number, courier.send_to(node, &message, deadline)));
                self.take_answers(out)?;
                Ok(())
            },
            Some(node) => courier.send_unconfirmed(node, &message),
        };
        if let Err(problem) = outcome {
            writeln!(out, "refused {} {number}: {problem}", M::LANE)?;
        }
        Ok(())
    }

    /// Returns how many replies are still to come.
    fn take_answers(&mut self, out: &mut impl Write) -> io::Result<usize> {
        let lane: Lane = M::LANE;
        let mut problem = Ok(());
        self.unanswered.retain(|(number, answer)| {
            let Some(answer) = answer.try_recv() else { return true };
            problem = match answer {
                Ok(_) => writeln!(out, "taken {lane} {number}"),
                Err(problem) => writeln!(out, "failed {lane} {number}: {problem}"),
            }
            .and_then(|()| out.flush());
            false
        });
        problem.map(|()| self.unanswered.len())
    }
}
