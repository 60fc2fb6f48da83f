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
const HEARD: Duration = Duration::from_secs(4);
/// How long a change may take to become visible here.
const SEEN: Duration = Duration::from_secs(1);

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
    /// How often the beat jumped.
    jumps: u64,
    #[serde(skip)]
    words: String,
}

impl TempoLine {
    fn now(watch: &TimelineHandle) -> Option<Self> {
        let now = local_us();
        let (timeline, said) = (watch.at(now)?, watch.said()?);
        let beat = HostTimeline::beat_in_words(&timeline, now);
        let words = format!("{beat}  {}", said.source_in_words());
        Some(Self {
            words,
            bpm: timeline.bpm(),
            beat: timeline.beat_at(now),
            at_us: now,
            phase: timeline.phase_at(now),
            quantum: timeline.quantum(),
            playing: timeline.is_playing(),
            peers: said.peers,
            source: said.source,
            from: said.from,
            error_us: said.error_us,
            followers: said.followers,
            jumps: said.jump.map_or(0, |jump| jump.number),
        })
    }
}

pub(crate) fn run(arguments: &TempoArguments, format: Format) -> anyhow::Result<()> {
    let Some(bpm) = arguments.bpm else {
        let node = mesh::join()?;
        return show(node.timeline(), format);
    };
    // The receiver would refuse it too; this check needs no daemon.
    Timeline::new(bpm, 0, 0.0)?;
    tell(Tempo { bpm }, |timeline| (timeline.bpm() - bpm).abs() < 0.01, format)
}

pub(crate) fn play(format: Format) -> anyhow::Result<()> {
    tell(Play {}, Timeline::is_playing, format)
}

pub(crate) fn pause(format: Format) -> anyhow::Result<()> {
    tell(Pause {}, |timeline| !timeline.is_playing(), format)
}

/// Sends the command to the daemon of this host, else to any other, and shows the result.
fn tell<C>(command: C, is_so: impl Fn(&Timeline) -> bool, format: Format) -> anyhow::Result<()>
where
    C: Command<Reply = Accepted> + Route<role::App, role::Daemon> + Copy,
{
    let node = mesh::join()?;
    let timeline = node.timeline().clone();
    let ask = |host: &NodeId| {
        node.command::<role::Daemon, _>(host, command, mesh::COMMAND).wait(mesh::COMMAND * 2)
    };
    match ask(node.host())? {
        Err(CommandError::NotThere { .. }) => {
            let Some(host) = any_host(&node)? else {
                bail!("no daemon is there to keep the time; start one with `hanad`")
            };
            ask(&host)??;
        },
        answer => {
            answer?;
        },
    }
    let patience = Instant::now() + SEEN;
    while Instant::now() < patience && !timeline.now().is_some_and(|now| is_so(&now)) {
        std::thread::sleep(Duration::from_millis(5));
    }
    show(&timeline, format)
}

/// Returns a host that publishes a timeline; of several, the leader.
fn any_host(node: &Node<role::App>) -> anyhow::Result<Option<NodeId>> {
    let found = mesh::query_all(node, &Topics::<HostTimeline>::every_timeline(), |_| true)?;
    let best = found.into_iter().max_by_key(|heard| heard.message.from.is_none());
    Ok(best.and_then(|heard| Some(Key::parse(&heard.key)?.owner().clone())))
}

/// Returns the current tempo and beat as a line, once they are known.
pub(crate) fn line(watch: &TimelineHandle) -> Option<String> {
    TempoLine::now(watch).map(|shown| shown.words)
}

fn show(watch: &TimelineHandle, format: Format) -> anyhow::Result<()> {
    let patience = Instant::now() + HEARD;
    let shown = loop {
        if let Some(shown) = TempoLine::now(watch) {
            break shown;
        }
        if Instant::now() > patience {
            bail!("nobody says a timeline; a daemon keeps it, start one with `hanad`");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    output::print(format, &shown, || shown.words.clone())
}
