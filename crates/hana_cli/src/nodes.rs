use std::io::IsTerminal;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use hana_network::MeshWatch;
use hana_network::NetworkSettings;
use hana_network::unix_ms;

use crate::arguments::NodesArguments;
use crate::mesh;
use crate::table;

/// Everybody who is well says so within a tenth of a second, and then we look no longer. Who has not said
/// how it is after 0.7 s is unresponsive, and this is a little more.
const LOOK: Duration = Duration::from_millis(800);
/// How often a list that goes on is drawn anew.
const REDRAW: Duration = Duration::from_millis(250);
/// The least time from one line of JSON to the next.
const BETWEEN_LINES: Duration = Duration::from_millis(20);

pub(crate) fn run(arguments: &NodesArguments, json: bool) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let mut watch = node.watch_mesh();
    watch.wait_until_complete(LOOK);
    if arguments.watch {
        return go_on(&mut watch, json);
    }
    let views = watch.roster().views(unix_ms());
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, &views)?;
        writeln!(out)?;
    } else if views.is_empty() {
        writeln!(out, "{}", nobody(node.network()))?;
    } else {
        if let Some(show) = &node.network().show {
            writeln!(out, "show '{show}'")?;
        }
        writeln!(out, "{}", table::of_nodes(&views))?;
    }
    Ok(())
}

/// Why the list may be empty.
fn nobody(network: &NetworkSettings) -> String {
    let show = network.show.as_ref().map_or_else(
        || "nobody is on the mesh (of the show without a name)".to_owned(),
        |show| format!("nobody is on the mesh of the show '{show}'"),
    );
    let secret = if network.secret.is_some() { "" } else { ", or have a secret" };
    format!(
        "{show}; start a daemon with `hanad`, or try `hana demo`. Daemons that run may be of another show (HANA_SHOW){secret}"
    )
}

/// A table that is drawn over itself, or a JSON line whenever somebody changes.
fn go_on(watch: &mut MeshWatch, json: bool) -> anyhow::Result<()> {
    let mut drawn = 0;
    loop {
        let mut out = std::io::stdout().lock();
        let views = watch.roster().views(unix_ms());
        if json {
            serde_json::to_writer(&mut out, &views)?;
            writeln!(out)?;
        } else {
            drawn = draw_over(&mut out, &table::of_nodes(&views), drawn)?;
        }
        out.flush()?;
        drop(out);
        if json {
            // Figures change with every beat; a line is worth a change of state. What changes within a moment is
            // one line, so that a mesh full of changes does not keep us busy with printing.
            let printed = Instant::now();
            while watch.wait(REDRAW).is_empty() {}
            std::thread::sleep(BETWEEN_LINES.saturating_sub(printed.elapsed()));
            watch.poll();
        } else {
            let until = Instant::now() + REDRAW;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                watch.wait(left);
            }
        }
    }
}

/// Draws `text` where the `drawn` lines before it stand, at a terminal; else below them. How many lines
/// stand there now.
pub(crate) fn draw_over(out: &mut impl Write, text: &str, drawn: usize) -> std::io::Result<usize> {
    if std::io::stdout().is_terminal() {
        if drawn > 0 {
            write!(out, "\x1b[{drawn}A")?;
        }
        for line in text.lines() {
            writeln!(out, "\x1b[2K{line}")?;
        }
        write!(out, "\x1b[J")?;
    } else {
        writeln!(out, "{text}\n")?;
    }
    Ok(text.lines().count())
}
