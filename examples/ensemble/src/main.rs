//! Many visualizations and controllers in a few processes, to see how playing together works on your own network.
//!
//! ```text
//! ensemble stage --id v1 --id v2                    on one machine: two visualizations without a picture
//! ensemble hands --id a1 --id a2 --plays v1 --plays v2    on another: two apps, each plays both
//! ```
//!
//! The first app plays the parameter `p0` of each visualization, the second `p1`, and so on; `--from 2` begins with
//! `p2`. The played value is the time, so that a visualization knows how old a value is, and whether it arrived twice
//! or after a newer one. Both print a line of JSON for each of their nodes, five times a second.

mod hands;
mod ramp;
mod stage;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Many visualizations and controllers in a few processes.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Visualizations that report how played values arrive
    Stage(stage::Stage),
    /// Apps that play
    Hands(hands::HandsOn),
}

/// How long joining may take.
const JOIN: Duration = Duration::from_secs(10);
/// How long leaving may take.
const LEAVE: Duration = Duration::from_secs(1);
/// Interval between two lines about a node.
const TELL: Duration = Duration::from_millis(200);

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(io::stderr)
        // If its output fails, `tracing` would report that on standard error, and panic if that fails too.
        .log_internal_errors(false)
        .init();
    let told_to_end = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&told_to_end))?;
    }
    match arguments.what {
        What::Stage(stage) => stage.run(&told_to_end),
        What::Hands(hands) => hands.run(&told_to_end),
    }
}
