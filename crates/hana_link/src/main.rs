//! `hana-link`: takes part in an Ableton Link session, says where it stands, and carries out orders.
//!
//! A program of its own, under the GPL, because Ableton Link is; nothing else in the workspace is linked with it. The
//! daemon starts it where it is installed, reads a line of JSON from it on every change and four times a second, and
//! writes orders to it. At a terminal it is a small tool.
//!
//! | to find | look in |
//! |---|---|
//! | when it speaks in a session, and when it only listens | [`Member`] |
//! | Ableton Link itself | [`Link`] |
//! | whose clock says what | [`clocks`] |
//! | when a line is written, and what a person reads | [`Teller`] |
//! | what can be ordered | [`orders`] |

mod clock_offset;
mod clocks;
mod link;
mod member;
mod orders;
mod teller;

use std::io;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use hana_protocol::Timeline;
use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use signal_hook::consts::SIGUSR1;
use signal_hook::consts::SIGUSR2;

use crate::link::Link;
use crate::member::Member;
use crate::orders::Heard;
use crate::teller::Audience;
use crate::teller::Teller;

/// Takes part in an Ableton Link session: says tempo, beat and transport, and takes orders.
///
/// Joins without changing anything. Ends with Ctrl-C, SIGTERM, or when its standard input is closed.
#[derive(Parser)]
#[command(name = "hana-link", version, max_term_width = 100, after_help = orders::HELP)]
struct Arguments {
    /// A line of JSON on every change, and four a second, instead of a line for people on a change.
    #[arg(long)]
    json: bool,
    /// The tempo, 20 to 999 beats a minute, if nobody else is in the session.
    #[arg(long, value_name = "BPM", default_value_t = 120.0)]
    tempo: f64,
    /// Beats in a bar.
    #[arg(long, value_name = "BEATS", default_value_t = 4.0)]
    quantum: f64,
}

/// How often Link is looked at: what happens there is told this much later, at most.
const POLL: Duration = Duration::from_millis(10);
/// Lines on their way out. When nobody reads, newer ones are left out: the next one says it all again.
const LINES: usize = 16;
/// Orders on their way in. Who sends more at a time waits.
const ORDERS: usize = 64;
/// How long the last line may take to be written.
const LAST_LINE: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "hana-link: {error:#}").ok();
            ExitCode::FAILURE
        },
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let own = clocks::local_us().and_then(|now| {
        Ok(Timeline::new(arguments.tempo, now, 0.0)?.with_quantum(arguments.quantum)?)
    })?;
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended)).context("listening to signals")?;
    }
    if arguments.json {
        // It belongs to a daemon, and ends when that closes its input; a terminal that is closed ends neither.
        for signal in [SIGHUP, SIGUSR1, SIGUSR2] {
            signal_hook::flag::register(signal, Arc::default()).context("listening to signals")?;
        }
    }
    let (tells, inbox) = mpsc::sync_channel(ORDERS);
    orders::read_from_stdin(tells.clone())?;
    let (out, written) = write_to_stdout(tells)?;
    let audience = if arguments.json { Audience::Program } else { Audience::Person };
    let member = Member::new(own, Instant::now());
    take_part(member, Teller::new(audience), &inbox, &out, &ended)?;
    drop(out);
    written.recv_timeout(LAST_LINE).ok();
    Ok(())
}

/// The loop: everything that is done with Link is done here, on one thread.
fn take_part(
    mut member: Member,
    mut teller: Teller,
    inbox: &Receiver<Heard>,
    out: &SyncSender<String>,
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
            Ok(Heard::Order(order)) => member.order(order, &seen),
            Ok(Heard::Nonsense(problem)) => {
                writeln!(io::stderr(), "hana-link: {problem}").ok();
                vec![]
            },
            Ok(Heard::End) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
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

/// A thread that writes lines, so that one who does not read holds nobody up, and a channel on which its end is heard.
fn write_to_stdout(tells: SyncSender<Heard>) -> io::Result<(SyncSender<String>, Receiver<()>)> {
    let (out, lines) = mpsc::sync_channel::<String>(LINES);
    let (done, written) = mpsc::channel();
    thread::Builder::new().name("lines".into()).spawn(move || {
        let mut stdout = io::stdout().lock();
        for line in lines {
            if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
                tells.send(Heard::End).ok();
                break;
            }
        }
        done.send(()).ok();
    })?;
    Ok((out, written))
}
