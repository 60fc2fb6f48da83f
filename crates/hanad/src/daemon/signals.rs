//! The daemon's signals. The signals that are commonly sent do not end a show by surprise.
//!
//! | signal | meaning |
//! |---|---|
//! | SIGINT, SIGTERM | end, with everything that was launched |
//! | SIGQUIT | end, and leave the launched processes to the next daemon |
//! | SIGUSR2 | the same, but the program now at this daemon's path takes over at once |
//! | SIGHUP, also when the terminal is closed | read the catalogue and the settings again |
//! | SIGUSR1 | nothing |

use std::sync::mpsc::SyncSender;
use std::{io, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::daemon::event::{DaemonEvent, Leave};
use crate::service::own_program::OwnProgram;

/// Registers the signals. Signals that arrive before the first read are queued.
pub(crate) fn register() -> io::Result<Signals> {
    Signals::new([SIGINT, SIGTERM, SIGQUIT, SIGUSR2, SIGHUP, SIGUSR1])
}

/// Turns signals into events, on a separate thread.
pub(crate) fn forward(
    mut signals: Signals,
    program: OwnProgram,
    events: SyncSender<DaemonEvent>,
) -> io::Result<()> {
    let event_of = move |signal| match signal {
        SIGHUP => Some(DaemonEvent::Reload),
        SIGQUIT => Some(DaemonEvent::Leave(Leave::End)),
        SIGUSR2 => match program.check() {
            Ok(()) => Some(DaemonEvent::Leave(Leave::Replace)),
            Err(problem) => {
                tracing::error!("cannot replace this daemon, so it continues: {problem}");
                None
            },
        },
        SIGUSR1 => {
            tracing::info!("SIGUSR1 has no meaning for hanad; it rotates its log file by itself");
            None
        },
        _ => Some(DaemonEvent::End),
    };
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if let Some(event) = event_of(signal) {
                events.send(event).ok();
            }
        }
    })?;
    Ok(())
}
