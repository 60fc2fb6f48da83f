use std::time::Duration;

use anyhow::bail;
use hana_network::Received;
use hana_protocol::contract::Topics;
use hana_protocol::message::LogLine;

use crate::arguments::LogsArguments;
use crate::output::Format;
use crate::{mesh, output};

/// How often the presence of a reader is checked, while no line arrives.
const LOOK: Duration = Duration::from_millis(300);

pub(crate) fn run(arguments: &LogsArguments, format: Format) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let topics = Topics::<LogLine>::log_of(&arguments.node);
    // Subscribes first, so that no line is lost between the stored and the new ones.
    let coming = arguments.follow.then(|| node.subscribe(topics.clone()));
    let mut kept = mesh::query(&node, topics)?;
    if kept.is_empty() && mesh::process_of(&node, &arguments.node)?.is_none() {
        bail!(
            "no daemon has output of '{}'; `hana nodes` lists who is there, and only daemons and what they launched have a log",
            arguments.node
        );
    }
    kept.sort_by_key(|received| received.message.number);
    if let Some(lines) = arguments.lines {
        kept.drain(..kept.len().saturating_sub(lines));
    }
    let mut last = None;
    for received in kept {
        last = Some(place(&received));
        print(&received.message, format)?;
    }
    let Some(coming) = coming else { return Ok(()) };
    loop {
        let Some(received) = coming.recv_timeout(LOOK) else {
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

/// Returns the instance of the daemon that logged the line, and the line's number there.
fn place(received: &Received<LogLine>) -> (Option<u64>, u64) {
    (received.envelope.as_ref().map(|envelope| envelope.instance), received.message.number)
}

fn print(line: &LogLine, format: Format) -> anyhow::Result<()> {
    output::print(format, line, || line.text.clone())
}
