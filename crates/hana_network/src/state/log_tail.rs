use std::collections::VecDeque;
use std::time::Duration;

use hana_protocol::id::NodeId;
use hana_protocol::message::LogLine;

use crate::rpc::pending::Pending;
use crate::transport::inbound::Received;
use crate::transport::subscription::Subscription;

/// The last lines that a node wrote: those that its daemon keeps, followed by new ones.
pub struct LogTail {
    of: NodeId,
    kept: Option<Pending<Vec<Received<LogLine>>>>,
    coming: Subscription<Received<LogLine>>,
    tail: Tail,
}

/// Time limit for a daemon to reply with the lines that it keeps.
pub(crate) const ASK: Duration = Duration::from_secs(2);

impl LogTail {
    pub(crate) fn new(
        of: &NodeId,
        coming: Subscription<Received<LogLine>>,
        kept: Pending<Vec<Received<LogLine>>>,
        most: usize,
    ) -> Self {
        Self {
            of: of.clone(),
            kept: Some(kept),
            coming,
            tail: Tail { lines: VecDeque::new(), most },
        }
    }

    /// Returns the node that wrote these lines.
    #[must_use]
    pub const fn of(&self) -> &NodeId {
        &self.of
    }

    /// Returns the lines known so far, newest last. Does not block.
    pub fn lines(&mut self) -> &[LogLine] {
        if let Some(kept) = self.kept.as_ref().and_then(Pending::take) {
            self.kept = None;
            self.tail.begin_with(kept.into_iter().map(|received| received.message).collect());
        }
        while let Some(received) = self.coming.try_recv() {
            self.tail.add(received.message);
        }
        self.tail.lines.make_contiguous()
    }
}

/// At most `most` lines, in the order in which they were written.
struct Tail {
    lines: VecDeque<LogLine>,
    most: usize,
}

impl Tail {
    /// Inserts the stored lines before the ones received since the query; the two may overlap.
    fn begin_with(&mut self, mut kept: Vec<LogLine>) {
        kept.sort_by_key(|line| line.number);
        let newest = kept.last().map(|line| line.number);
        self.lines.retain(|line| newest.is_none_or(|newest| line.number > newest));
        for line in kept.into_iter().rev() {
            self.lines.push_front(line);
        }
        self.bound();
    }

    fn add(&mut self, line: LogLine) {
        // A new instance counts from 0.
        if line.number == 0 {
            self.lines.clear();
        }
        self.lines.push_back(line);
        self.bound();
    }

    fn bound(&mut self) {
        let surplus = self.lines.len().saturating_sub(self.most);
        self.lines.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use hana_protocol::message::Stream;

    use super::*;

    fn line(number: u64) -> LogLine {
        LogLine { number, text: number.to_string(), stream: Stream::Output }
    }

    fn numbers(tail: &Tail) -> Vec<u64> {
        tail.lines.iter().map(|line| line.number).collect()
    }

    #[test]
    fn what_was_kept_and_what_comes_is_told_once_and_in_order() {
        let mut tail = Tail { lines: VecDeque::new(), most: 4 };
        tail.add(line(3));
        tail.add(line(4));
        tail.begin_with(vec![line(2), line(1), line(3)]);
        assert_eq!(numbers(&tail), [1, 2, 3, 4]);
        tail.add(line(5));
        assert_eq!(numbers(&tail), [2, 3, 4, 5]);
    }

    #[test]
    fn a_new_run_begins_anew() {
        let mut tail = Tail { lines: VecDeque::new(), most: 4 };
        tail.begin_with(vec![line(8), line(9)]);
        tail.add(line(0));
        tail.add(line(1));
        assert_eq!(numbers(&tail), [0, 1]);
    }
}
