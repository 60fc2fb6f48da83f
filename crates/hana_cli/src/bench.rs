use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;

use crate::arguments::Bench;
use crate::process::say;

pub(crate) fn run(bench: &Bench, json: bool) -> anyhow::Result<()> {
    let rounds = match bench {
        Bench::Raw { part, endpoint } => return Ok(part.be(endpoint)?),
        Bench::Recovery { rounds } => *rounds,
    };
    let told_to_end = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&told_to_end))
            .context("listening for signals")?;
    }
    let report = hana_bench::recovery(rounds, &told_to_end)?;
    say(json, &report, || report.to_string())
}
