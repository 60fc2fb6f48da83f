use std::time::{Duration, Instant};

use anyhow::Context;
use hana_network::{CommandError, Node, Pending};
use hana_protocol::id::role;
use hana_protocol::message::{Accepted, Ping};
use hana_protocol::wire::error_chain;
use serde::Serialize;

use crate::arguments::PingArguments;
use crate::output::Format;
use crate::{mesh, output};

const PING_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Pinged {
    node: String,
    mesh: RoundTrip,
    /// The round trip over a direct link; `None` for a node that cannot be played.
    play: Option<RoundTrip>,
}

#[derive(Serialize)]
struct RoundTrip {
    p50_us: u64,
    p99_us: u64,
    count: u32,
}

pub(crate) fn run(arguments: &PingArguments, format: Format) -> anyhow::Result<()> {
    let PingArguments { node: id, count } = arguments;
    let node = mesh::join()?;
    // Every role answers a ping, so the command is sent as if to a visualization.
    let over_mesh = measure(&node, *count, || {
        node.command::<role::Visualization, _>(id, Ping {}, PING_TIMEOUT)
    })?;
    let play = match mesh::info_of(&node, id)?.filter(|info| !info.play.is_empty()) {
        Some(info) => {
            match node
                .open_direct_link(&info)
                .wait(PING_TIMEOUT * 6)
                .context("opening a direct link")?
            {
                Ok(link) => Some(measure(&node, *count, || link.ping(PING_TIMEOUT))?),
                Err(problem) => {
                    output::warn(error_chain(&problem));
                    None
                },
            }
        },
        None => None,
    };
    let pinged = Pinged { node: id.to_string(), mesh: over_mesh, play };
    output::print(format, &pinged, || {
        let line = |name: &str, trip: &RoundTrip| {
            format!(
                "{name}  p50 {} us  p99 {} us  ({} times)",
                trip.p50_us, trip.p99_us, trip.count
            )
        };
        let play = pinged
            .play
            .as_ref()
            .map_or_else(|| "direct link  none".into(), |trip| line("direct link", trip));
        format!("{}\n{play}", line("mesh       ", &pinged.mesh))
    })
}

fn measure(
    node: &Node<role::App>,
    count: u32,
    mut send: impl FnMut() -> Pending<Result<Accepted, CommandError>>,
) -> anyhow::Result<RoundTrip> {
    let mut times = Vec::new();
    for _ in 0..count {
        output::check_reader()?;
        let begun = Instant::now();
        send().wait(PING_TIMEOUT * 2)?.map_err(|problem| mesh::explain(node, problem))?;
        times.push(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    Ok(RoundTrip { p50_us: at(50), p99_us: at(99), count })
}
