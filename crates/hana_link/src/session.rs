use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use crate::commands::LinkInput;
use crate::link::Link;
use crate::participant::Participant;
use crate::reporter::Reporter;

/// The main loop: all calls to Link are made here, on one thread.
pub(crate) struct Session<F> {
    pub(crate) participant: Participant,
    pub(crate) reporter: Reporter,
    pub(crate) input_rx: Receiver<LinkInput>,
    /// The lines to write; a line is dropped while the queue is full.
    pub(crate) line_tx: SyncSender<String>,
    /// The function that reports why a line of input is not a command.
    pub(crate) report_invalid: F,
}

/// Interval at which Link is polled, and so the longest delay before a change in Link is reported.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

impl<F: FnMut(String)> Session<F> {
    /// Runs until the input ends or `ended` is set.
    pub(crate) fn run(mut self, ended: &AtomicBool) -> anyhow::Result<()> {
        let mut link = Link::new(self.participant.timeline())?;
        loop {
            let input = self.input_rx.recv_timeout(POLL_INTERVAL);
            if ended.load(Ordering::Relaxed) {
                return Ok(());
            }
            let now = Instant::now();
            let report = link.report(self.participant.quantum())?;
            let actions = match input {
                Ok(LinkInput::Command(command)) => self.participant.handle(command, &report),
                Ok(LinkInput::Invalid(reason)) => {
                    (self.report_invalid)(reason);
                    vec![]
                },
                Ok(LinkInput::End) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => vec![],
            };
            let due = self.participant.tick(&report, link.has_slept(), now);
            for action in actions.into_iter().chain(due) {
                link.apply(action)?;
            }
            if self.participant.is_settled()
                && let Some(line) =
                    self.reporter.line(&link.report(self.participant.quantum())?, now)
            {
                self.line_tx.try_send(line).ok();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc;

    use hana_time::Timeline;

    use super::*;
    use crate::clocks;
    use crate::reporter::OutputFormat;

    /// Runs a session with this input until it ends; it is too short to join any session.
    fn run(inputs: Vec<LinkInput>, ended: bool) -> Vec<String> {
        let initial = Timeline::new(120.0, clocks::local_us().unwrap(), 0.0).unwrap();
        let (input_tx, input_rx) = mpsc::sync_channel(inputs.len());
        for input in inputs {
            input_tx.send(input).unwrap();
        }
        drop(input_tx);
        let (line_tx, line_rx) = mpsc::sync_channel(1);
        let mut reasons = vec![];
        let session = Session {
            participant: Participant::new(initial, Instant::now()),
            reporter: Reporter::new(OutputFormat::Json),
            input_rx,
            line_tx,
            report_invalid: |reason| reasons.push(reason),
        };
        session.run(&AtomicBool::new(ended)).unwrap();
        assert_eq!(line_rx.try_iter().count(), 0, "no report before the session is known");
        reasons
    }

    #[test]
    fn invalid_lines_are_reported_until_the_input_ends() {
        let invalid = |reason: &str| LinkInput::Invalid(reason.into());
        assert_eq!(run(vec![invalid("a"), LinkInput::End, invalid("b")], false), ["a"]);
        assert_eq!(run(vec![invalid("a"), invalid("b")], false), ["a", "b"]);
    }

    #[test]
    fn signals_end_the_session_at_once() {
        assert!(run(vec![LinkInput::Invalid("a".into())], true).is_empty());
    }
}
