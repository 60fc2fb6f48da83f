use std::collections::VecDeque;
use std::time::Duration;

use hana_protocol::id::NodeId;
use hana_protocol::message::LogLine;

use crate::sync::pending::Pending;
use crate::transport::inbound::subscription::Subscription;
use crate::transport::received::Received;

/// The last log lines of a node: the lines that its daemon has stored, followed by new lines.
pub struct LogTail {
    node: NodeId,
    stored: Option<Pending<Vec<Received<LogLine>>>>,
    new_lines: Subscription<Received<LogLine>>,
    tail: Tail,
}

/// The time limit for the daemon to reply with the stored lines.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

impl LogTail {
    pub(crate) fn new(
        node: &NodeId,
        new_lines: Subscription<Received<LogLine>>,
        stored: Pending<Vec<Received<LogLine>>>,
        capacity: usize,
    ) -> Self {
        Self {
            node: node.clone(),
            stored: Some(stored),
            new_lines,
            tail: Tail { lines: VecDeque::new(), capacity },
        }
    }

    /// Returns the node whose log this is.
    #[must_use]
    pub const fn node(&self) -> &NodeId {
        &self.node
    }

    /// Returns the lines received so far, the newest last. Does not block.
    pub fn lines(&mut self) -> &[LogLine] {
        if let Some(stored) = self.stored.as_ref().and_then(Pending::try_recv) {
            self.stored = None;
            self.tail.prepend(stored.into_iter().map(|received| received.message).collect());
        }
        while let Some(received) = self.new_lines.try_recv() {
            self.tail.add(received.message);
        }
        self.tail.lines.make_contiguous()
    }
}

/// At most `capacity` lines, in the order in which they were written.
struct Tail {
    lines: VecDeque<LogLine>,
    capacity: usize,
}

impl Tail {
    /// Inserts the stored lines before the lines received since the query. The two may overlap.
    fn prepend(&mut self, mut stored: Vec<LogLine>) {
        stored.sort_by_key(|line| line.number);
        let newest = stored.last().map(|line| line.number);
        self.lines.retain(|line| newest.is_none_or(|newest| line.number > newest));
        for line in stored.into_iter().rev() {
            self.lines.push_front(line);
        }
        self.bound();
    }

    fn add(&mut self, line: LogLine) {
        // A new instance of the node numbers its lines from 0.
        if line.number == 0 {
            self.lines.clear();
        }
        self.lines.push_back(line);
        self.bound();
    }

    fn bound(&mut self) {
        let surplus = self.lines.len().saturating_sub(self.capacity);
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
    fn stored_and_new_lines_appear_once_in_order() {
        let mut tail = Tail { lines: VecDeque::new(), capacity: 4 };
        tail.add(line(3));
        tail.add(line(4));
        tail.prepend(vec![line(2), line(1), line(3)]);
        assert_eq!(numbers(&tail), [1, 2, 3, 4]);
        tail.add(line(5));
        assert_eq!(numbers(&tail), [2, 3, 4, 5]);
    }

    #[test]
    fn new_instance_starts_an_empty_log() {
        let mut tail = Tail { lines: VecDeque::new(), capacity: 4 };
        tail.prepend(vec![line(8), line(9)]);
        tail.add(line(0));
        tail.add(line(1));
        assert_eq!(numbers(&tail), [0, 1]);
    }
}
