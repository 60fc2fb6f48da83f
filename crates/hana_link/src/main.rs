//! `hana-link`: takes part in an Ableton Link session, reports its state, and carries out commands.
//!
//! This is a separate program under the GPL, because Ableton Link is under the GPL; nothing else in the workspace is
//! linked with Link. The daemon starts `hana-link` if it is installed, reads a line of JSON from it on every change
//! and at least four times a second, and writes commands to it. At a terminal, it is a small tool.
//!
//! | to find | look in |
//! |---|---|
//! | when it changes a session, and when it only listens | [`participant`] |
//! | Ableton Link itself | [`link`] |
//! | the clocks | [`clocks`] |
//! | when a line is written, and the form for people | [`reporter`] |
//! | the commands | [`commands`] |
//! | the loop | [`session`] |
//! | the standard output | [`stdout_writer`] |

mod clocks;
mod commands;
mod link;
mod link_clock_offset;
mod participant;
mod reporter;
mod session;
mod stdout_writer;

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use hana_output::{DroppingWriter, Stream};
use hana_time::Timeline;
#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::participant::Participant;
use crate::reporter::{OutputFormat, Reporter};
use crate::session::Session;

/// Takes part in an Ableton Link session: reports tempo, beat and transport, and carries out commands.
///
/// Joins without changing the session. Exits on Ctrl-C, SIGTERM, or when standard input is closed.
#[derive(Parser)]
#[command(name = "hana-link", version, max_term_width = 100, after_help = commands::HELP)]
struct Arguments {
    /// Print JSON Lines, one on every change and at least four per second, instead of text on each change.
    #[arg(long)]
    json: bool,
    /// Tempo in beats per minute if no other peer is in the session, 20 to 999.
    #[arg(long, value_name = "BPM", default_value_t = 120.0)]
    tempo: f64,
    /// Beats in a bar.
    #[arg(long, value_name = "BEATS", default_value_t = 4.0)]
    quantum: f64,
}

/// Capacity of the queue of incoming commands. A sender that exceeds it has to wait.
const INPUT_CAPACITY: usize = 64;
/// Time to wait at the exit until the last line is written.
const LAST_LINE_TIMEOUT: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Stream::Stderr.write_all(format!("hana-link: {error:#}\n").as_bytes()).ok();
            ExitCode::FAILURE
        },
    }
}

/// Registers the signals of a closed terminal, after which the program leaves the session.
///
/// With `--json` the program belongs to a daemon and ends when the daemon closes its input; neither a closed
/// terminal nor the signals meant for the daemon end it.
#[cfg(unix)]
fn handle_hangup(arguments: &Arguments, ended: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let ignored = [SIGHUP, SIGUSR1, SIGUSR2];
    let (signals, flag): (&[i32], _) =
        if arguments.json { (&ignored, Arc::default()) } else { (&[SIGHUP], Arc::clone(ended)) };
    for signal in signals {
        signal_hook::flag::register(*signal, Arc::clone(&flag)).context("cannot handle signals")?;
    }
    Ok(())
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps)]
const fn handle_hangup(_: &Arguments, _: &Arc<AtomicBool>) -> anyhow::Result<()> {
    Ok(())
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let initial = clocks::local_us().and_then(|now| {
        Ok(Timeline::new(arguments.tempo, now, 0.0)?.with_quantum(arguments.quantum)?)
    })?;
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended)).context("cannot handle signals")?;
    }
    handle_hangup(arguments, &ended)?;
    let stderr = DroppingWriter::start(Stream::Stderr).context("cannot start writing")?;
    let (input_tx, input_rx) = mpsc::sync_channel(INPUT_CAPACITY);
    commands::read_from_stdin(input_tx.clone())?;
    let (line_tx, done_rx) = stdout_writer::start(input_tx)?;
    let format = if arguments.json { OutputFormat::Json } else { OutputFormat::Text };
    let session = Session {
        participant: Participant::new(initial, Instant::now()),
        reporter: Reporter::new(format),
        input_rx,
        line_tx,
        report_invalid: |reason| {
            stderr.push(format!("hana-link: {reason}\n"));
        },
    };
    session.run(&ended)?;
    done_rx.recv_timeout(LAST_LINE_TIMEOUT).ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
