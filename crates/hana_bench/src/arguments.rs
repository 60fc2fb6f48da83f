use clap::{Parser, Subcommand};

use crate::worker::role::WorkerRole;

/// Compare hana with plain Zenoh on this machine, in one run. No daemon may run meanwhile.
#[derive(Parser)]
#[command(name = "hana-bench", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Print the result as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) benchmark: Benchmark,
}

#[derive(Subcommand)]
pub(crate) enum Benchmark {
    /// Measure how soon a crash and a freeze are detected, and how soon the show is restored.
    Recovery {
        /// Measurements of each.
        #[arg(long, default_value_t = 20)]
        rounds: usize,
    },
    /// Measure the latency of messages: modulation, commands, and each lane.
    Latency {
        /// Measurements of each.
        #[arg(long, default_value_t = 10)]
        rounds: usize,
        /// Messages of each kind in a round, a thousand a second.
        #[arg(long, default_value_t = 300)]
        messages: u64,
    },
    /// Count small messages a second: values in batches, single values, and each lane.
    Throughput {
        /// Measurements of each.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Duration of each measurement, in milliseconds.
        #[arg(long, default_value_t = 500)]
        ms: u64,
    },
    /// Play 64 parameters of many visualizations, a thousand times a second; count lost and stale values.
    Modulation {
        /// Number of visualizations.
        #[arg(long, default_value_t = 32)]
        visualizations: usize,
        /// Duration in seconds, for hana and again for the reference.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Measure the time until all nodes see a node that joins.
    Discovery {
        /// Hosts, each with a daemon.
        #[arg(long, default_value_t = 10)]
        hosts: usize,
        /// Nodes on all of them together.
        #[arg(long, default_value_t = 100)]
        nodes: usize,
        /// Number of measurements.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Run a worker process of a benchmark.
    #[command(hide = true)]
    Worker {
        /// The worker's role.
        role: WorkerRole,
        /// The worker's arguments.
        arguments: Vec<String>,
    },
}
