use std::time::Duration;

use anyhow::bail;
use hana_network::Received;
use hana_protocol::contract::Topics;
use hana_protocol::message::LogLine;

use crate::arguments::LogsArguments;
use crate::output::Format;
use crate::{mesh, output};

/// How often the presence of a reader is checked, while no line arrives.
const READER_CHECK_INTERVAL: Duration = Duration::from_millis(300);

pub(crate) fn run(arguments: &LogsArguments, format: Format) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let topics = Topics::<LogLine>::log_of(&arguments.node);
    // Subscribes first, so that no line is lost between the stored and the new lines.
    let new_lines = arguments.follow.then(|| node.subscribe(topics.clone()));
    let mut stored = mesh::query(&node, topics)?;
    if stored.is_empty() && mesh::process_of(&node, &arguments.node)?.is_none() {
        bail!(
            "there is no log of '{}'; only daemons and the programs they launched have one{}",
            arguments.node,
            mesh::hint(&node, &arguments.node)
                .unwrap_or_else(|| "; `hana nodes` lists all nodes".into())
        );
    }
    stored.sort_by_key(|received| received.message.number);
    if let Some(lines) = arguments.lines {
        stored.drain(..stored.len().saturating_sub(lines));
    }
    let mut last = None;
    for received in stored {
        last = Some(place(&received));
        print(&received.message, format)?;
    }
    let Some(new_lines) = new_lines else { return Ok(()) };
    loop {
        let Some(received) = new_lines.recv_timeout(READER_CHECK_INTERVAL) else {
            output::check_reader()?;
            continue;
        };
        let (daemon, number) = place(&received);
        // A new instance of the node, or of its daemon, starts counting again.
        let known = last.is_some_and(|(of, last)| of == daemon && number <= last && number != 0);
        if !known {
            last = Some((daemon, number));
            print(&received.message, format)?;
        }
    }
}

/// Returns the instance of the daemon that logged the line, and the line's number in the output.
fn place(received: &Received<LogLine>) -> (Option<u64>, u64) {
    (received.envelope.as_ref().map(|envelope| envelope.instance), received.message.number)
}

fn print(line: &LogLine, format: Format) -> anyhow::Result<()> {
    output::print(format, line, || line.text.clone())
}
