use hana_console::short_duration;
use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::Counters;

/// Formats the list of nodes for people: one line for each node, with columns as wide as their contents.
pub(crate) fn node_table(views: &[NodeView]) -> String {
    let mut rows =
        vec![["NODE", "ROLE", "HOST", "STATE", "PID", "UP", "FPS", "FRAME", ""].map(String::from)];
    let mut views: Vec<&NodeView> = views.iter().collect();
    views.sort_by_key(|view| (view.host.clone(), view.role != Role::Daemon, view.node.clone()));
    rows.extend(views.into_iter().map(row));
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..9).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            // Numbers are aligned to the right.
            if matches!(column, 4 | 6 | 7) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Maximum number of play sessions listed one by one.
const SESSIONS: usize = 2;

fn row(view: &NodeView) -> [String; 9] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let playing = view.playing.iter().map(|(name, word)| format!("{name} {word}"));
    let mut remarks: Vec<String> = vec![];
    if !view.reason.is_empty() {
        remarks.push(view.reason.clone());
    }
    if view.restarts > 0 {
        let times =
            if view.restarts == 1 { "once".into() } else { format!("{} times", view.restarts) };
        remarks.push(format!("restarted {times}"));
    }
    if view.lost_messages() > 0 {
        let what: Vec<String> = view.troubles_in_words().take(2).collect();
        remarks.push(format!("messages lost: {}; {}", view.lost_messages(), what.join(", ")));
    }
    remarks.extend(view.counters.as_ref().and_then(|counters| trouble(&view.node, counters)));
    if let Some(overdue) = view.counters.as_ref().map(|of| of.overdue).filter(|of| *of > 0) {
        remarks.push(format!("changes too late for their beat: {overdue}"));
    }
    remarks.extend(view.note.iter().map(|note| format!("\u{201c}{note}\u{201d}")));
    remarks.extend(playing);
    let owners = view.owners_in_words();
    if !owners.is_empty() {
        remarks.push(format!("({owners})"));
    }
    let sessions = view.sessions_in_words(SESSIONS);
    if !sessions.is_empty() {
        remarks.push(sessions);
    }
    [
        view.node.to_string(),
        view.role.to_string(),
        or_dash(view.host.as_ref().map(ToString::to_string)),
        view.state.to_string(),
        or_dash(view.pid.map(|pid| pid.to_string())),
        if view.pid.is_some() { short_duration(view.uptime_s) } else { "-".into() },
        or_dash(view.fps.map(|fps| format!("{fps:.0}"))),
        or_dash(view.frame.map(|frame| frame.to_string())),
        remarks.join("  "),
    ]
}

/// Describes the problems with received messages, and the command that prints the details.
fn trouble(node: &NodeId, counters: &Counters) -> Option<String> {
    let named = [
        (counters.malformed, "malformed"),
        (counters.limited, "rate-limited"),
        (counters.impersonated, "impersonated"),
        (counters.held, "owned by others"),
        (counters.input_lost, "lost before they were read"),
    ];
    let counts: Vec<String> = named
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let counts = counts.join(", ");
    (!counts.is_empty())
        .then(|| format!("messages refused: {counts} (`hana watch hana/{node}/event`)"))
}
