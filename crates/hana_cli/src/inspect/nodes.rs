use std::time::{Duration, Instant};

use hana_network::{MeshObserver, NetworkSettings, daemon_is_listening, unix_ms};

use crate::arguments::NodesArguments;
use crate::inspect::live_table::LiveTable;
use crate::inspect::node_table;
use crate::output::Format;
use crate::{mesh, output};

/// How long to wait for health reports.
///
/// Every healthy node reports within a tenth of a second, which ends the wait. A node that has not reported after 0.7
/// s is unresponsive, and this limit is slightly longer.
const HEALTH_TIMEOUT: Duration = Duration::from_millis(800);
/// How often a continuous list is redrawn.
const REDRAW_INTERVAL: Duration = Duration::from_millis(250);
/// Minimum interval between two lines of JSON.
const MIN_LINE_INTERVAL: Duration = Duration::from_millis(20);

pub(crate) fn run(arguments: &NodesArguments, format: Format) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let mut watch = node.watch_mesh();
    watch.wait_until_complete(HEALTH_TIMEOUT);
    if watch.roster().is_empty() && daemon_is_listening() {
        // The daemon itself is a node, so an empty roster means that it has not replied yet.
        watch.wait_until_complete(mesh::QUERY_TIMEOUT);
    }
    if arguments.watch {
        return refresh(&mut watch, format);
    }
    let views = watch.roster().views(unix_ms());
    output::print(format, &views, || {
        if views.is_empty() {
            return explain_empty(node.network());
        }
        let show = node.network().show.as_ref().map(|show| format!("show '{show}'\n"));
        format!("{}{}", show.unwrap_or_default(), node_table::node_table(&views))
    })
}

/// Explains why the list may be empty.
fn explain_empty(network: &NetworkSettings) -> String {
    let show = network.show.as_ref().map_or_else(
        || "the mesh is empty (the show without a name)".to_owned(),
        |show| format!("the mesh of the show '{show}' is empty"),
    );
    let secret = if network.secret.is_some() { "" } else { ", or have a secret" };
    format!(
        "{show}; start a daemon with `hanad`, or try `hana demo`. Running daemons may belong to another show (HANA_SHOW){secret}"
    )
}

/// Redraws the table in place, or prints a JSON line whenever a node changes.
fn refresh(watch: &mut MeshObserver, format: Format) -> anyhow::Result<()> {
    let mut table = LiveTable::new()?;
    loop {
        let views = watch.roster().views(unix_ms());
        if format == Format::Json {
            output::print(format, &views, String::new)?;
            // Measurements change with every health report, so a line is printed only for a change of state. Changes
            // in quick succession share one line, so that a busy mesh does not cause constant printing.
            let printed = Instant::now();
            while watch.wait(REDRAW_INTERVAL).is_empty() {
                output::check_reader()?;
            }
            std::thread::sleep(MIN_LINE_INTERVAL.saturating_sub(printed.elapsed()));
            watch.poll();
        } else {
            output::write(&table.draw(&node_table::node_table(&views), &[]))?;
            let until = Instant::now() + REDRAW_INTERVAL;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                watch.wait(left);
            }
        }
    }
}
