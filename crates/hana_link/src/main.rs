//! `hana-link`: takes part in an Ableton Link session, reports its state, and carries out orders.
//!
//! A separate program under the GPL, because Ableton Link is under it; nothing else in the workspace is
//! linked with Link. The daemon starts it where it is installed, reads a line of JSON from it on every change
//! and four times a second, and writes orders to it. At a terminal it is a small tool.
//!
//! | to find | look in |
//! |---|---|
//! | when it changes a session, and when it only listens | [`Participant`] |
//! | Ableton Link itself | [`Link`] |
//! | the clocks | [`clocks`] |
//! | when a line is written, and the form for people | [`Reporter`] |
//! | the orders | [`orders`] |

mod clock_offset;
mod clocks;
mod link;
mod member;
mod orders;
mod teller;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::Context;
use clap::Parser;
use hana_output::{DroppingWriter, Stream};
use hana_time::Timeline;
#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::link::Link;
use crate::member::Participant;
use crate::orders::LinkInput;
use crate::teller::{Audience, Reporter};

/// Takes part in an Ableton Link session: reports tempo, beat and transport, and takes orders.
///
/// Joins without changing anything. Ends with Ctrl-C, SIGTERM, or when its standard input is closed.
#[derive(Parser)]
#[command(name = "hana-link", version, max_term_width = 100, after_help = orders::HELP)]
struct Arguments {
    /// Print JSON, a line on every change and four a second, instead of a readable line on each change.
    #[arg(long)]
    json: bool,
    /// The tempo if no other peer is in the session, 20 to 999 beats a minute.
    #[arg(long, value_name = "BPM", default_value_t = 120.0)]
    tempo: f64,
    /// Beats in a bar.
    #[arg(long, value_name = "BEATS", default_value_t = 4.0)]
    quantum: f64,
}

/// How often Link is polled: a change there is reported this much later, at most.
const POLL: Duration = Duration::from_millis(10);
/// Capacity of the output queue. While there is no reader, newer lines are dropped: each line repeats the
/// whole state.
const LINES: usize = 16;
/// Capacity of the queue of incoming orders. A sender that exceeds it has to wait.
const ORDERS: usize = 64;
/// How often the reader's presence is checked while there is nothing to write.
const LOOK: Duration = Duration::from_millis(250);
/// How long the last line may take to be written.
const LAST_LINE: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Stream::Stderr.write_all(format!("hana-link: {error:#}\n").as_bytes()).ok();
            ExitCode::FAILURE
        },
    }
}

/// Leaves the session when the terminal is closed.
///
/// With `--json` the program belongs to a daemon and ends when the daemon closes its input; neither a closed
/// terminal nor the signals meant for the daemon end it.
#[cfg(unix)]
fn handle_hangup(arguments: &Arguments, ended: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let ignored = [SIGHUP, SIGUSR1, SIGUSR2];
    let (signals, flag): (&[i32], _) =
        if arguments.json { (&ignored, Arc::default()) } else { (&[SIGHUP], Arc::clone(ended)) };
    for signal in signals {
        signal_hook::flag::register(*signal, Arc::clone(&flag)).context("listening to signals")?;
    }
    Ok(())
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps)]
const fn handle_hangup(_: &Arguments, _: &Arc<AtomicBool>) -> anyhow::Result<()> {
    Ok(())
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let own = clocks::local_us().and_then(|now| {
        Ok(Timeline::new(arguments.tempo, now, 0.0)?.with_quantum(arguments.quantum)?)
    })?;
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended)).context("listening to signals")?;
    }
    handle_hangup(arguments, &ended)?;
    let stderr = DroppingWriter::start(Stream::Stderr).context("starting to write")?;
    let (tells, inbox) = mpsc::sync_channel(ORDERS);
    orders::read_from_stdin(tells.clone())?;
    let (out, written) = write_to_stdout(tells)?;
    let audience = if arguments.json { Audience::Program } else { Audience::Person };
    let member = Participant::new(own, Instant::now());
    take_part(member, Reporter::new(audience), &inbox, (&out, &stderr), &ended)?;
    drop(out);
    written.recv_timeout(LAST_LINE).ok();
    Ok(())
}

/// Runs the loop: all calls to Link are made here, on one thread.
fn take_part(
    mut member: Participant,
    mut teller: Reporter,
    inbox: &Receiver<LinkInput>,
    (out, stderr): (&SyncSender<String>, &DroppingWriter),
    ended: &AtomicBool,
) -> anyhow::Result<()> {
    let mut link = Link::new(member.timeline())?;
    loop {
        let heard = inbox.recv_timeout(POLL);
        if ended.load(Ordering::Relaxed) {
            return Ok(());
        }
        let now = Instant::now();
        let seen = link.see(member.quantum())?;
        let acts = match heard {
            Ok(LinkInput::Order(order)) => member.order(order, &seen),
            Ok(LinkInput::Nonsense(problem)) => {
                stderr.push(format!("hana-link: {problem}\n"));
                vec![]
            },
            Ok(LinkInput::End) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => vec![],
        };
        for act in acts.into_iter().chain(member.tick(&seen, link.has_slept(), now)) {
            link.carry_out(act)?;
        }
        if member.is_settled()
            && let Some(line) = teller.tell(&link.see(member.quantum())?, now)
        {
            out.try_send(line).ok();
        }
    }
}

/// Starts a thread that writes lines, so that a slow reader does not delay Link. Its end closes the returned channel.
fn write_to_stdout(tells: SyncSender<LinkInput>) -> io::Result<(SyncSender<String>, Receiver<()>)> {
    let (out, lines) = mpsc::sync_channel::<String>(LINES);
    let (done, written) = mpsc::channel();
    thread::Builder::new().name("lines".into()).spawn(move || {
        loop {
            let written = match lines.recv_timeout(LOOK) {
                Ok(line) => Stream::Stdout.write_all(format!("{line}\n").as_bytes()),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            // A full disk costs lines. Without a reader, the program serves neither a daemon nor a person.
            let is_over = written.map_or_else(
                |error| Stream::Stdout.is_closed_by(&error),
                |()| Stream::Stdout.is_closed(),
            );
            if is_over {
                tells.send(LinkInput::End).ok();
                break;
            }
        }
        done.send(()).ok();
    })?;
    Ok((out, written))
}
