use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::arguments::Bench;
use crate::output;

pub(crate) fn run(bench: &Bench, json: bool) -> anyhow::Result<()> {
    // A worker process of the bench ends when the bench requests it.
    match bench {
        Bench::Raw { part, endpoint } => return Ok(part.be(endpoint)?),
        Bench::Part { part, arguments } => return Ok(part.be(arguments)?),
        _ => {},
    }
    let told_to_end = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&told_to_end))
            .context("listening for signals")?;
    }
    let report = match *bench {
        Bench::Recovery { rounds } => hana_bench::recovery(rounds, &told_to_end)?,
        Bench::Latency { rounds, messages } => hana_bench::latency(rounds, messages, &told_to_end)?,
        Bench::Throughput { rounds, ms } => {
            hana_bench::throughput(rounds, Duration::from_millis(ms), &told_to_end)?
        },
        Bench::Modulation { visualizations, seconds } => {
            hana_bench::modulation(visualizations, seconds, &told_to_end)?
        },
        Bench::Discovery { hosts, nodes, rounds } => {
            hana_bench::discovery(hosts, nodes, rounds, &told_to_end)?
        },
        Bench::Raw { .. } | Bench::Part { .. } => return Ok(()),
    };
    output::print(json, &report, || report.to_string())
}
