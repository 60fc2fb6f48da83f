//! Many visualizations and many hands in a few processes, to see on your own network how playing together goes.
//!
//!     ensemble stage --id v1 --id v2                    on one machine: two visualizations without a picture
//!     ensemble hands --id a1 --id a2 --plays v1 --plays v2    on another: two apps, each plays both
//!
//! The first app plays the parameter `p0` of each visualization, the second `p1`, and so on; `--from 2` begins with `p2`.
//! What is played is the time, so that a visualization knows how old a value is, and whether one came twice or after a
//! newer one. Both print a line of JSON for each of their nodes, five times a second.

mod hands;
mod ramp;
mod stage;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Many visualizations and many hands in a few processes.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Visualizations that say how what they are played comes
    Stage(stage::Stage),
    /// Apps that play
    Hands(hands::HandsOn),
}

/// How long joining may take.
const JOIN: Duration = Duration::from_secs(10);
/// How long leaving may take.
const LEAVE: Duration = Duration::from_secs(1);
/// From one line about a node to the next.
const TELL: Duration = Duration::from_millis(200);

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(io::stderr)
        // Where it cannot write, it would say so on standard error, and panic if that is what failed.
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
