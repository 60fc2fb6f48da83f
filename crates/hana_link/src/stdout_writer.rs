use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;
use std::{io, thread};

use hana_output::Stream;

use crate::commands::LinkInput;

/// Capacity of the output queue. While the queue is full, new lines are dropped, because each line repeats the whole
/// state.
const CAPACITY: usize = 16;
/// Interval at which the reader's presence is checked while there is nothing to write.
const READER_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Starts a thread that writes lines, so that a slow reader does not delay Link.
///
/// Once the reader is gone, the thread sends [`LinkInput::End`]. When it ends, it sends to the returned receiver.
pub(crate) fn start(
    input_tx: SyncSender<LinkInput>,
) -> io::Result<(SyncSender<String>, Receiver<()>)> {
    let (line_tx, line_rx) = mpsc::sync_channel::<String>(CAPACITY);
    let (done_tx, done_rx) = mpsc::channel();
    thread::Builder::new().name("lines".into()).spawn(move || {
        loop {
            let written = match line_rx.recv_timeout(READER_CHECK_INTERVAL) {
                Ok(line) => Stream::Stdout.write_all(format!("{line}\n").as_bytes()),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            // A full disk loses lines. Without a reader, the program serves neither a daemon nor a person, so it ends.
            let is_closed = written.map_or_else(
                |error| Stream::Stdout.is_closed_by(&error),
                |()| Stream::Stdout.is_closed(),
            );
            if is_closed {
                input_tx.send(LinkInput::End).ok();
                break;
            }
        }
        done_tx.send(()).ok();
    })?;
    Ok((line_tx, done_rx))
}
