//! Tempo, play and pause: for all hosts that share a timeline, through any daemon.

use std::time::{Duration, Instant};

use anyhow::bail;
use hana_network::{CommandError, Node, TimelineHandle, local_us};
use hana_protocol::contract::routes::Route;
use hana_protocol::contract::{Key, Topics};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{Accepted, Command, HostTimeline, Pause, Play, Tempo, TimelineSource};
use hana_time::Timeline;
use serde::Serialize;

use crate::arguments::TempoArguments;
use crate::output::Format;
use crate::{mesh, output};

/// How long to wait for a timeline.
const TIMELINE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a change may take to reach this program.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct TempoLine {
    bpm: f64,
    /// The beat at `at_us` of this machine's clock.
    beat: f64,
    at_us: i64,
    phase: f64,
    quantum: f64,
    playing: bool,
    peers: u64,
    source: TimelineSource,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<NodeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_us: Option<u64>,
    followers: u32,
    /// The number of jumps of the beat.
    jumps: u64,
    #[serde(skip)]
    words: String,
}

impl TempoLine {
    fn now(watch: &TimelineHandle) -> Option<Self> {
        let now = local_us();
        let (timeline, published) = (watch.at(now)?, watch.last_published()?);
        let beat = HostTimeline::beat_in_words(&timeline, now);
        let words = format!("{beat}  {}", published.source_in_words());
        Some(Self {
            words,
            bpm: timeline.bpm(),
            beat: timeline.beat_at(now),
            at_us: now,
            phase: timeline.phase_at(now),
            quantum: timeline.quantum(),
            playing: timeline.is_playing(),
            peers: published.peers,
            source: published.source,
            from: published.from,
            error_us: published.error_us,
            followers: published.followers,
            jumps: published.jump.map_or(0, |jump| jump.number),
        })
    }
}

pub(crate) fn run(arguments: &TempoArguments, format: Format) -> anyhow::Result<()> {
    let Some(bpm) = arguments.bpm else {
        let node = mesh::join()?;
        return show(node.timeline(), format);
    };
    // A daemon would refuse an invalid tempo too, but this check needs no daemon.
    Timeline::new(bpm, 0, 0.0)?;
    send(Tempo { bpm }, |timeline| (timeline.bpm() - bpm).abs() < 0.01, format)
}

pub(crate) fn play(format: Format) -> anyhow::Result<()> {
    send(Play {}, Timeline::is_playing, format)
}

pub(crate) fn pause(format: Format) -> anyhow::Result<()> {
    send(Pause {}, |timeline| !timeline.is_playing(), format)
}

/// Sends the command to the daemon of this host, or else to that of any other host, and prints the result.
fn send<C>(command: C, is_so: impl Fn(&Timeline) -> bool, format: Format) -> anyhow::Result<()>
where
    C: Command<Reply = Accepted> + Route<role::App, role::Daemon> + Copy,
{
    let node = mesh::join()?;
    let timeline = node.timeline().clone();
    let request = |host: &NodeId| {
        node.command::<role::Daemon, _>(host, command, mesh::COMMAND).wait(mesh::COMMAND * 2)
    };
    match request(node.host())? {
        Err(CommandError::NoSuchNode { .. }) => {
            let Some(host) = any_host(&node)? else {
                bail!("no timeline on the mesh; start a daemon with `hanad`")
            };
            request(&host)??;
        },
        answer => {
            answer?;
        },
    }
    let deadline = Instant::now() + CHANGE_TIMEOUT;
    while Instant::now() < deadline && !timeline.now().is_some_and(|now| is_so(&now)) {
        std::thread::sleep(Duration::from_millis(5));
    }
    show(&timeline, format)
}

/// Returns a host that publishes a timeline; if there are several, the leader.
fn any_host(node: &Node<role::App>) -> anyhow::Result<Option<NodeId>> {
    let found = mesh::query_all(node, &Topics::<HostTimeline>::every_timeline(), |_| true)?;
    let best = found.into_iter().max_by_key(|received| received.message.from.is_none());
    Ok(best.and_then(|received| Some(Key::parse(&received.key)?.owner().clone())))
}

/// Returns the current tempo and beat as a line, once they are known.
pub(crate) fn line(watch: &TimelineHandle) -> Option<String> {
    TempoLine::now(watch).map(|shown| shown.words)
}

fn show(watch: &TimelineHandle, format: Format) -> anyhow::Result<()> {
    let deadline = Instant::now() + TIMELINE_TIMEOUT;
    let shown = loop {
        if let Some(shown) = TempoLine::now(watch) {
            break shown;
        }
        if Instant::now() > deadline {
            bail!("no timeline on the mesh; start a daemon with `hanad`");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    output::print(format, &shown, || shown.words.clone())
}
