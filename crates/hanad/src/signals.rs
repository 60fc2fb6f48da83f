//! The signals of the daemon. None that people are used to sending may end a show by surprise.
//!
//! | signal | meaning |
//! |---|---|
//! | SIGINT, SIGTERM | end, with all that was launched |
//! | SIGQUIT | end, and leave what was launched to the next daemon |
//! | SIGUSR2 | the same, and be that next one: the program that now lies at this one's path takes over |
//! | SIGHUP, also when the terminal is closed | read catalogue and settings again |
//! | SIGUSR1 | nothing |

use std::sync::mpsc::SyncSender;
use std::{io, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::daemon::{DaemonEvent, Leave};
use crate::own_program::OwnProgram;

/// Signals that came since the registration and before anybody looks at them wait.
pub(crate) fn register() -> io::Result<Signals> {
    Signals::new([SIGINT, SIGTERM, SIGQUIT, SIGUSR2, SIGHUP, SIGUSR1])
}

/// Turns signals into events, on a thread of its own.
pub(crate) fn forward(
    mut signals: Signals,
    program: OwnProgram,
    events: SyncSender<DaemonEvent>,
) -> io::Result<()> {
    let of_signal = move |signal| match signal {
        SIGHUP => Some(DaemonEvent::Reload),
        SIGQUIT => Some(DaemonEvent::Leave(Leave::End)),
        SIGUSR2 => match program.check() {
            Ok(()) => Some(DaemonEvent::Leave(Leave::Replace)),
            Err(problem) => {
                tracing::error!("not replaced, and going on: {problem}");
                None
            },
        },
        SIGUSR1 => {
            tracing::info!("SIGUSR1 means nothing to hanad; its log file is moved by itself");
            None
        },
        _ => Some(DaemonEvent::End),
    };
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if let Some(event) = of_signal(signal) {
                events.send(event).ok();
            }
        }
    })?;
    Ok(())
}
