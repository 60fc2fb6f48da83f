//! `hana top` as an operator uses it: in a terminal, with keys, and on a different host from the failures.

use std::time::Duration;

use hana_lab::show::{Show, hana, node, nodes, start};
use hana_lab::{Host, Lab, Signal, Terminal, eventually, project_root};
use serde_json::Value;

/// The time limit for steps without a promised time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(20);

const SIZE: (u16, u16) = (110, 24);

/// A catalogue with a program that stays down after a crash, and one that is restarted.
const CATALOGUE: &str = r#"
[visualizations.pulse]
program = "pulse"
policy  = "manual"

[visualizations.beat]
program = "pulse"
"#;

const UP: &str = "\x1b[A";
const DOWN: &str = "\x1b[B";

fn top(host: &Host) -> Terminal {
    Terminal::with(host, SIZE, "hana", ["top"])
}

/// Returns the line about a node in the list.
fn row<'a>(screen: &'a str, node: &str) -> Option<&'a str> {
    screen.lines().find(|line| line.split_whitespace().next() == Some(node))
}

/// Waits until the line about a node contains all these words, and returns it.
#[track_caller]
fn wait_for_row(terminal: &Terminal, node: &str, words: &[&str]) -> String {
    terminal.wait_for(SOON, &format!("the line of {node} to have {words:?}"), |screen| {
        row(screen, node).is_some_and(|line| words.iter().all(|word| line.contains(word)))
    })
}

/// Moves up or down until the screen shows the details of the node.
#[track_caller]
fn select(terminal: &Terminal, node: &str) {
    loop {
        let screen = terminal.text();
        let selected = details(&screen).unwrap_or_default();
        if selected == node {
            return;
        }
        let line = |node: &str| {
            screen.lines().position(|line| line.split_whitespace().next() == Some(node))
        };
        terminal.type_in(if line(node) < line(&selected) { UP } else { DOWN });
        terminal.wait_for(SOON, &format!("a step from {selected} to {node}"), |screen| {
            details(screen).as_ref() != Some(&selected)
        });
    }
}

/// Returns the title of the details, which is the selected node.
fn details(screen: &str) -> Option<String> {
    let line = screen.lines().rev().find(|line| line.contains("───"))?;
    Some(line.trim_matches(['─', ' ']).into())
}

/// Waits until the mesh lists the node as expected, independently of the screen.
#[track_caller]
fn wait_for_node(host: &Host, id: &str, what: &str, is_expected: impl Fn(&Value) -> bool) -> Value {
    eventually(SOON, what, || {
        let nodes = nodes(host);
        node(&nodes, id).filter(|node| is_expected(node)).cloned().ok_or(nodes)
    })
}

fn pid(node: &Value) -> i32 {
    node["pid"].as_i64().unwrap().try_into().unwrap()
}

#[test]
fn crash_and_freeze_show_their_cause_and_a_key_fixes_them() {
    let Some(lab) = Lab::new("top") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    let (_, beat) = start(h2, h1, "beat");
    let (_, pulse) = start(h2, h1, "pulse");
    let terminal = top(h2);
    wait_for_row(&terminal, "beat", &["● running"]);
    wait_for_row(&terminal, "pulse", &["● running", "60", "ms"]);
    terminal.wait_for(SOON, "no alert", |screen| screen.contains("all is well"));

    // The visualization freezes, which raises an alert at the top, with advice.
    h1.kill(Signal::STOP, beat);
    wait_for_row(&terminal, "beat", &["‖ unresponsive"]);
    let screen = terminal.wait_for(SOON, "an alert", |screen| {
        screen.contains("1 in trouble") && screen.contains("beat is unresponsive")
    });
    let (of_beat, of_pulse) = (screen.find("\n  beat"), screen.find("\n  pulse"));
    assert!(of_beat < of_pulse, "failures come first:\n{screen}");
    // One key restarts a frozen visualization, without a confirmation.
    select(&terminal, "beat");
    terminal.wait_for(SOON, "the explanation", |screen| screen.contains("Restart it: its look"));
    terminal.type_in("r");
    let again = wait_for_node(h1, "beat", "a new instance", |node| {
        node["state"] == "running" && node["pid"] != beat
    });
    wait_for_row(&terminal, "beat", &["● running"]);
    terminal.wait_for(SOON, "the report of the restart", |screen| {
        screen.contains("restart beat: done")
    });

    // After a crash, a program that is restarted automatically is reported for a while.
    h1.kill(Signal::KILL, pid(&again));
    terminal.wait_for(SOON, "the report of the crash", |screen| {
        screen.contains("beat crashed and restarted automatically")
    });
    wait_for_row(&terminal, "beat", &["● running", "1x"]);

    // A crashed visualization that stays down shows the reason until a restart.
    h1.kill(Signal::SEGV, pulse);
    eventually(SOON, "the process to be gone", || {
        // The first such signal from another process may only remove the program's own handler.
        let gone = !h1.processes().iter().any(|process| process.pid == pulse);
        if !gone {
            h1.kill(Signal::SEGV, pulse);
        }
        gone
    });
    wait_for_row(&terminal, "pulse", &["✖ crashed", "SIGSEGV"]);
    terminal.wait_for(SOON, "an alert", |screen| screen.contains("pulse crashed: ended by"));
    select(&terminal, "pulse");
    terminal.wait_for(SOON, "the explanation", |screen| {
        screen.contains("not restarted") && screen.contains("bar at")
    });
    if let Some(pictures) = std::env::var_os("HANA_PICTURES") {
        // This updates the picture in the documentation:
        // `HANA_PICTURES=docs cargo nextest run -E 'binary(cli) & test(top::)'`.
        terminal.save_svg(project_root().join(pictures).join("top.svg"));
    }
    terminal.type_in("r");
    wait_for_row(&terminal, "pulse", &["● running"]);
    terminal.wait_for(SOON, "no alert", |screen| screen.contains("all is well"));
}

#[test]
fn stop_of_a_running_visualization_needs_confirmation() {
    let Some(lab) = Lab::new("top-asks") else { return };
    let show = Show::with_catalogue(&lab, &["h1"], CATALOGUE);
    let h1 = show.host("h1");
    let (_, beat) = start(h1, h1, "beat");
    let terminal = top(h1);
    wait_for_row(&terminal, "beat", &["● running"]);
    select(&terminal, "beat");

    terminal.type_in("s");
    terminal.wait_for(SOON, "the question", |screen| screen.contains("stop beat? It is running."));
    terminal.type_in("n");
    terminal.wait_for(SOON, "the cancellation", |screen| screen.contains("cancelled"));
    let still =
        wait_for_node(h1, "beat", "the visualization to run", |node| node["state"] == "running");
    assert_eq!(pid(&still), beat);

    // Freeze and blackout can be undone with a key, so they need no confirmation.
    terminal.type_in("b");
    wait_for_row(&terminal, "beat", &["[blackout]"]);
    wait_for_node(h1, "beat", "the blackout", |node| node["override"] == "blackout");
    terminal.type_in("u");
    wait_for_node(h1, "beat", "the end of the blackout", |node| node["override"].is_null());
    terminal.wait_for(SOON, "the end of the mark in the list", |screen| {
        !row(screen, "beat").unwrap_or_default().contains('[')
    });

    terminal.type_in("s");
    terminal.wait_for(SOON, "the question", |screen| screen.contains("stop beat? It is running."));
    terminal.type_in("y");
    wait_for_node(h1, "beat", "the visualization to be stopped", |node| node["state"] == "stopped");
    wait_for_row(&terminal, "beat", &["○ stopped"]);
}

#[test]
fn acknowledged_alarm_is_hidden_until_the_state_changes() {
    let Some(lab) = Lab::new("top-ignores") else { return };
    let show = Show::with_catalogue(&lab, &["h1"], CATALOGUE);
    let h1 = show.host("h1");
    let (_, beat) = start(h1, h1, "beat");
    let terminal = top(h1);
    wait_for_row(&terminal, "beat", &["● running"]);
    h1.kill(Signal::STOP, beat);
    terminal.wait_for(SOON, "an alert", |screen| screen.contains("beat is unresponsive"));
    select(&terminal, "beat");
    terminal.type_in("i");
    wait_for_row(&terminal, "beat", &["‖ unresponsive", "[ignored]"]);
    terminal.wait_for(SOON, "no alert", |screen| {
        screen.contains("all is well") && !screen.contains("beat is unresponsive")
    });
    // The visualization responds again, which ends the acknowledgement.
    h1.kill(Signal::CONT, beat);
    let screen = wait_for_row(&terminal, "beat", &["● running"]);
    assert!(!screen.contains("[ignored]"), "{screen}");
}

#[test]
fn log_opens_with_a_key_and_any_size_is_drawn() {
    let Some(lab) = Lab::new("top-log") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    start(h1, h1, "beat");
    let terminal = top(h2);
    wait_for_row(&terminal, "beat", &["● running"]);
    select(&terminal, "beat");
    hana(h2, ["freeze", "beat"]).ok();
    terminal.wait_for(SOON, "the last lines of the log", |screen| screen.contains("freeze"));
    terminal.type_in("l");
    terminal.wait_for(SOON, "the log", |screen| {
        screen.contains("log of beat") && row(screen, "beat").is_none()
    });
    hana(h2, ["resume", "beat"]).ok();
    terminal.wait_for(SOON, "the newest line", |screen| screen.contains("resumed"));
    terminal.type_in("l");
    wait_for_row(&terminal, "beat", &["● running"]);

    for (columns, rows) in [(80, 24), (40, 10), (20, 6), (200, 60)] {
        terminal.resize(columns, rows);
        terminal.wait_for(SOON, &format!("{columns} columns, {rows} rows"), |screen| {
            screen.lines().next().is_some_and(|line| line.contains("hana top"))
                && (rows < 10 || row(screen, "beat").is_some())
        });
    }
    terminal.type_in("/zzz\r");
    terminal.wait_for(SOON, "an empty list", |screen| row(screen, "beat").is_none());
    terminal.type_in("\x1b");
    wait_for_row(&terminal, "beat", &["● running"]);
}

#[test]
fn dead_daemon_is_shown_on_its_host() {
    let Some(lab) = Lab::new("top-daemon") else { return };
    let mut show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    start(show.host("h1"), show.host("h1"), "beat");
    let terminal = top(show.host("h2"));
    wait_for_row(&terminal, "beat", &["● running"]);
    let daemon = show.daemon("h1");
    daemon.kill(Signal::KILL);
    daemon.wait(SOON);
    wait_for_row(&terminal, "h1", &["unreachable", "daemon"]);
    terminal.wait_for(SOON, "an alert", |screen| screen.contains("h1 is unreachable"));
    // The visualization keeps playing.
    wait_for_row(&terminal, "beat", &["● running"]);
    *show.daemon("h1") = hana_lab::show::start_daemon_with(show.host("h1"), |command| {
        command.env("HANA_CONFIG", lab.directory().join("config"));
    });
    wait_for_row(&terminal, "h1", &["● running"]);
    terminal.wait_for(SOON, "no alert", |screen| screen.contains("all is well"));
}

#[test]
fn terminal_is_restored_on_exit() {
    let Some(lab) = Lab::new("top-ends") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    for (how, code) in [("q", Some(0)), ("\x03", Some(0)), ("SIGTERM", Some(0))] {
        let mut terminal = top(h1);
        assert!(!terminal.is_taken() || terminal.is_raw());
        wait_for_row(&terminal, "h1", &["● running"]);
        assert!(terminal.is_taken() && terminal.is_raw());
        if how == "SIGTERM" {
            terminal.kill(Signal::TERM);
        } else {
            terminal.type_in(how);
        }
        assert_eq!(terminal.wait(SOON).code(), code, "{how:?}: {terminal:?}");
        eventually(SOON, "the shell's screen", || !terminal.is_taken() && !terminal.is_raw());
    }
    // Without a terminal, `hana top` names the command to use instead.
    let output = hana(h1, ["top"]);
    assert_ne!(output.code(), Some(0));
    assert!(output.stderr.contains("hana nodes --watch"), "{output}");
}

#[test]
fn closed_terminal_ends_top_within_seconds() {
    let Some(lab) = Lab::new("top-closed") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    // The program ends on SIGHUP. In a separate session, it gets no signal and ends too.
    for line in [["hana", "top"].as_slice(), &["setsid", "-w", "hana", "top"]] {
        let mut terminal = Terminal::with(h1, SIZE, line[0], &line[1..]);
        wait_for_row(&terminal, "h1", &["● running"]);
        terminal.close();
        eventually(Duration::from_secs(5), "the end of `hana top`", || {
            let left = h1.processes();
            if left.iter().any(|left| left.command.contains("hana top")) {
                Err(left)
            } else {
                Ok(())
            }
        });
    }
}

#[test]
fn suspended_screen_is_redrawn_when_continued() {
    let Some(lab) = Lab::new("top-stopped") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    let terminal = Terminal::with(h1, SIZE, "bash", ["--norc", "--noprofile", "-i"]);
    terminal.type_in("hana top\r");
    wait_for_row(&terminal, "h1", &["● running"]);
    for _ in 0..2 {
        terminal.type_in("\x1a");
        terminal.wait_for(SOON, "the shell", |screen| screen.contains("Stopped"));
        assert!(!terminal.is_taken());
        terminal.type_in("fg\r");
        wait_for_row(&terminal, "h1", &["● running"]);
        assert!(terminal.is_taken() && terminal.is_raw());
    }
    terminal.type_in("q");
    eventually(SOON, "the shell's screen", || !terminal.is_taken());
}
