//! `hana-bench` compares hana with plain Zenoh, in alternating rounds, on this machine alone.
//!
//! All measured parties are real processes: daemons of the bench, the programs they launch, and plain Zenoh with the
//! same topology. All of them stop with the bench, even if it is interrupted.

mod arguments;
mod baseline;
mod error;
mod figure;
mod fixture;
mod limits;
mod measure;
mod worker;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Parser;
use hana_output::Stream;
use hana_protocol::wire::error_chain;

use crate::arguments::{Arguments, Benchmark};
use crate::error::BenchError;
use crate::measure::discovery::discovery;
use crate::measure::latency::latency;
use crate::measure::modulation::modulation;
use crate::measure::recovery::recovery;
use crate::measure::throughput::throughput;
use crate::worker::run;

fn main() -> ExitCode {
    match run_benchmark(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed too, so a failed write is ignored.
            Stream::Stderr
                .write_all(format!("hana-bench: {}\n", error_chain(&error)).as_bytes())
                .ok();
            ExitCode::FAILURE
        },
    }
}

fn run_benchmark(arguments: &Arguments) -> Result<(), BenchError> {
    // A worker process ends when the bench requests it, and not by a signal.
    if let Benchmark::Worker { role, arguments } = &arguments.benchmark {
        return run::run(*role, arguments);
    }
    let interrupted = interrupts().map_err(BenchError::system("listening for signals"))?;
    let report = match arguments.benchmark {
        Benchmark::Recovery { rounds } => recovery(rounds, &interrupted)?,
        Benchmark::Latency { rounds, messages } => latency(rounds, messages, &interrupted)?,
        Benchmark::Throughput { rounds, ms } => {
            throughput(rounds, Duration::from_millis(ms), &interrupted)?
        },
        Benchmark::Modulation { visualizations, seconds } => {
            modulation(visualizations, seconds, &interrupted)?
        },
        Benchmark::Discovery { hosts, nodes, rounds } => {
            discovery(hosts, nodes, rounds, &interrupted)?
        },
        Benchmark::Worker { .. } => return Ok(()),
    };
    let text = if arguments.json {
        serde_json::to_string(&report).map_err(BenchError::network("writing the result as JSON"))?
    } else {
        report.to_string()
    };
    match Stream::Stdout.write_all(format!("{text}\n").as_bytes()) {
        Err(problem) if !Stream::Stdout.is_closed_by(&problem) => {
            Err(BenchError::system("writing the result")(problem))
        },
        _ => Ok(()),
    }
}

/// Returns a flag that Ctrl-C and SIGTERM set.
fn interrupts() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}
