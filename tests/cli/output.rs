//! Output that cannot be written: a full disk, a reader that has closed the pipe or does not read, a terminal of any
//! size.

use std::time::Duration;

use hana_lab::show::{Show, hana, node, nodes, start};
use hana_lab::{Host, Lab, Output, Running, Terminal, eventually, show};

const SOON: Duration = Duration::from_secs(20);

/// Shell code that opens a full pipe that no process reads, as descriptor 3.
const STALLED: &str = "mkfifo $TMPDIR/$$; exec 3<>$TMPDIR/$$; head -c 65536 /dev/zero >&3; ";

fn bash(host: &Host, words: &str) -> Output {
    host.run(["bash", "-c", words])
}

/// Starts a program with its output connected as in a shell.
fn bash_goes_on(host: &Host, words: &str) -> Running {
    let mut command = host.command("bash");
    command.args(["-c", words]);
    host.spawn(command)
}

/// Sends an OSC message with the number 0.5.
fn osc(host: &Host, port: u16, address: &str) {
    let padding = "\\0".repeat(4 - address.len() % 4);
    let datagram = format!("{address}{padding},f\\0\\0\\x3f\\0\\0\\0");
    bash(host, &format!("printf '{datagram}' > /dev/udp/127.0.0.1/{port}")).ok();
}

#[test]
fn closed_pipe_ends_a_command_silently() {
    let Some(lab) = Lab::new("head") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    start(h1, h1, "pulse");
    for pipeline in [
        "hana nodes | true",
        "hana nodes --json | head -c 5",
        "hana nodes --watch | head -1",
        "hana nodes --watch --json | head -1",
        "hana watch --json | head -1",
        "hana watch --json 'hana/*/nothing' | true",
        "hana logs h1 | head -1",
        "hana logs h1 --json --follow | head -1",
        "hana tempo | true",
        "hana ping h1 --count 10000 | true",
        "hana --help | true",
    ] {
        let ended = bash(h1, &format!("set -o pipefail; {pipeline} > /dev/null"));
        assert!(matches!(ended.code(), Some(0 | 141)) && ended.stderr.is_empty(), "{ended}");
    }
}

#[test]
fn full_disk_fails_a_command_with_one_line() {
    let Some(lab) = Lab::new("full") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    for words in ["nodes", "nodes --json", "watch", "logs h1", "--version"] {
        let ended = bash(h1, &format!("hana {words} > /dev/full"));
        assert_eq!(ended.code(), Some(1), "{ended}");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert!(matches!(lines[..], [line] if line.contains("standard output")), "{ended}");
    }
    let ended = bash(h1, "hana start nothing-of-that-name 2> /dev/full");
    assert_eq!(ended.code(), Some(1), "{ended}");
}

#[test]
fn bridge_without_output_keeps_playing() {
    let Some(lab) = Lab::new("mute") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    start(h1, h1, "pulse");
    let cases = [
        ("zoom", "", "> /dev/full 2> /dev/full"),
        ("hue", "exec > >(exec true) 2>&1; ", ""),
        ("speed", STALLED, ">&3 2>&3"),
    ];
    for (port, (parameter, before, redirected)) in (9000..).zip(cases) {
        let line = format!(
            "{before}exec hana bridge osc --listen 127.0.0.1:{port} --id b{port} {redirected}"
        );
        let _bridge = bash_goes_on(h1, &line);
        eventually(SOON, "the bridge to play after invalid messages", || {
            osc(h1, port, "/nonsense");
            osc(h1, port, &format!("/hana/pulse/{parameter}"));
            let nodes = nodes(h1);
            let value = node(&nodes, "pulse").map(|pulse| pulse["parameters"][parameter].clone());
            if value == Some(0.5.into()) { Ok(()) } else { Err((line.clone(), value)) }
        });
    }
}

#[test]
fn daemon_with_stalled_output_goes_on() {
    let Some(lab) = Lab::new("stall") else { return };
    let h1 = lab.host("h1");
    let _daemon = bash_goes_on(&h1, &format!("{STALLED}exec hanad >&3 2>&3"));
    eventually(SOON, "the daemon to be on the mesh", || show::is(&nodes(&h1), "h1", "running"));
    // Each launch and each stop causes several log lines.
    for _ in 0..2 {
        start(&h1, &h1, "pulse");
        hana(&h1, ["stop", "pulse"]).ok();
    }
}

#[test]
fn visualization_without_output_keeps_drawing() {
    let Some(lab) = Lab::new("blind") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    for (id, redirected) in [
        ("a", "pulse > /dev/full 2>&1"),
        ("b", "pulse > >(exec true) 2>&1"),
        ("c", "message_monitor > /dev/full 2>&1"),
    ] {
        let _running = bash_goes_on(h1, &format!("export HANA_NODE={id}; exec {redirected}"));
        eventually(SOON, "the node to run", || {
            let nodes = nodes(h1);
            node(&nodes, id).filter(|node| node["state"] == "running").cloned().ok_or(nodes)
        });
        if redirected.starts_with("pulse") {
            // The visualization prints a line for each command.
            hana(h1, ["blackout", id]).ok();
            hana(h1, ["resume", id]).ok();
        }
        assert!(show::is(&nodes(h1), id, "running"), "{redirected}");
    }
}

#[test]
fn watched_node_table_fits_a_terminal_of_any_size() {
    let Some(lab) = Lab::new("table") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    for _ in 0..3 {
        start(h1, h1, "pulse");
    }
    let mut terminal = Terminal::with(h1, (200, 40), "hana", ["nodes", "--watch"]);
    let tables = |screen: &str| screen.lines().filter(|line| line.starts_with("NODE")).count();
    for (columns, rows) in [(200, 40), (60, 24), (200, 5), (30, 10), (120, 24)] {
        terminal.resize(columns, rows);
        let is_cut = rows < 6;
        terminal.wait_for(SOON, &format!("a table in {columns} x {rows}"), |screen| {
            tables(screen) == 1 && screen.contains("h1") && screen.contains("... 2 more") == is_cut
        });
        // There is still a single table after several refreshes.
        let until = std::time::Instant::now() + Duration::from_secs(1);
        while std::time::Instant::now() < until {
            let screen = terminal.text();
            assert!(tables(&screen) <= 1, "{screen}");
        }
    }
    terminal.close();
    terminal.wait(SOON);
}
