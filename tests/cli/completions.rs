//! A shell completes commands, nodes and parameters. Colours appear only on a terminal.

use std::time::{Duration, Instant};

use hana_lab::show::{Show, start};
use hana_lab::{Host, Lab};

/// Returns the completions that bash offers after these words, the last of which is incomplete.
fn completions(host: &Host, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let last = quoted.len() - 1;
    let script = format!(
        "source <(hana completions bash); COMP_WORDS=({}); COMP_CWORD={last}; COMP_TYPE=9; \
         _clap_complete_hana hana {} 2>&1; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        quoted[last],
    );
    let output = host.run(["bash", "-c", &script]).ok();
    output.stdout.lines().filter(|line| !line.is_empty()).map(String::from).collect()
}

#[test]
fn shell_completes_nodes_and_parameters_of_a_running_mesh() {
    let Some(lab) = Lab::new("complete") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    start(h1, h2, "pulse");
    assert_eq!(completions(h1, &["hana", "stop", "p"]), ["pulse"]);
    assert_eq!(completions(h1, &["hana", "ping", "h"]), ["h1", "h2"]);
    assert_eq!(completions(h1, &["hana", "start", "-H", "h2"]), ["h2"]);
    assert_eq!(completions(h1, &["hana", "set", "pulse", "zo"]), ["zoom="]);
    let commands = completions(h1, &["hana", ""]);
    for command in ["nodes", "start", "service", "man"] {
        assert!(commands.iter().any(|offered| offered == command), "{command}: {commands:?}");
    }
}

#[test]
fn shell_completes_commands_in_silence_without_a_daemon() {
    let Some(lab) = Lab::new("complete-alone") else { return };
    let h1 = lab.host("h1");
    let began = Instant::now();
    assert_eq!(completions(&h1, &["hana", "stop", "p"]), [""; 0]);
    // This is the time for two starts of the program, without a search for a mesh.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(completions(&h1, &["hana", "tem"]), ["tempo"]);
}

#[test]
fn colours_appear_on_a_terminal_only_and_never_with_no_color() {
    let Some(lab) = Lab::new("colours") else { return };
    let h1 = lab.host("h1");
    // `script` runs a command in a terminal, and copies what the terminal shows.
    let in_terminal = |variable: &str| {
        let line = format!("{variable} script -qec 'hana --help; hana nods' /dev/null");
        h1.run(["bash", "-c", &line]).stdout
    };
    assert!(in_terminal("TERM=xterm").contains('\x1b'));
    assert!(!in_terminal("TERM=xterm NO_COLOR=1").contains('\x1b'));
    let piped = h1.run(["bash", "-c", "hana --help; hana nods; hana nodes; hana logs x"]);
    assert!(!piped.stdout.contains('\x1b') && !piped.stderr.contains('\x1b'), "{piped}");
}
