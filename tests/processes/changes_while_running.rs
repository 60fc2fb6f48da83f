//! Names, files and programs change while a show runs. The show continues, and the daemon applies the changes.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hana_lab::show::{Show, hana, is, node, nodes, spawn_hana, start};
use hana_lab::{Host, Lab, Running, Signal, eventually};
use serde_json::Value;

/// The time limit for steps without a promised time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(40);

const PULSE: &str = "[visualizations.pulse]\nprogram = \"pulse\"\n";

/// Sets the hostname.
///
/// Commands on this host find no host in their environment, like those of an operator at the machine.
fn set_hostname(host: &Host, name: &str) {
    host.run(["hostname", name]).ok();
}

fn catalogue_of(lab: &Lab) -> PathBuf {
    lab.directory().join("config/visualizations.toml")
}

/// Replaces the file with a new one, as an editor does.
fn edit(lab: &Lab, text: &str) {
    let draft = lab.directory().join("config/draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, catalogue_of(lab)).unwrap();
}

fn pid_of(host: &Host, id: &str) -> Option<i64> {
    node(&nodes(host), id).and_then(|node| node["pid"].as_i64())
}

fn zoom_of(host: &Host) -> Option<f64> {
    node(&nodes(host), "pulse").and_then(|node| node["parameters"]["zoom"].as_f64())
}

fn await_stderr(daemon: &Running, words: &str) {
    eventually(SOON, words, || {
        let stderr = daemon.stderr();
        if stderr.contains(words) { Ok(()) } else { Err(stderr) }
    });
}

fn count_in_stderr(daemon: &Running, words: &str) -> usize {
    daemon.stderr().matches(words).count()
}

#[test]
fn changed_hostname_keeps_the_host_id() {
    let Some(lab) = Lab::new("hostname") else { return };
    let mut show = Show::with_catalogue(&lab, &["h1"], PULSE);
    let h1 = show.host("h1").clone();
    let (_, pulse) = start(&h1, &h1, "pulse");
    set_hostname(&h1, "beta");

    // A visualization started by hand and a command both find the running daemon.
    let second = hana(&h1, ["start", "pulse", "--json"]).ok().json();
    assert_eq!(second["node"], "pulse-2", "{second}");
    let mut by_hand = h1.command("pulse");
    by_hand.env("HANA_NODE", "by-hand");
    let _by_hand = h1.spawn(by_hand);
    eventually(SOON, "all nodes to be on one host", || {
        let listed = nodes(&h1);
        let hosts: Vec<&Value> = listed.iter().map(|node| &node["host"]).collect();
        let is_there = node(&listed, "by-hand").is_some();
        if is_there && hosts.iter().all(|host| **host == "h1") { Ok(()) } else { Err(listed) }
    });

    show.daemon("h1").kill(Signal::KILL);
    show.daemon("h1").wait(SOON);
    let mut again = h1.command("hanad");
    again.env("HANA_CONFIG", lab.directory().join("config"));
    let again = h1.spawn(again);
    await_stderr(&again, "'h1' is on the mesh");
    await_stderr(&again, "the hostname is 'beta'");
    eventually(SOON, "the visualization to be adopted", || {
        is(&nodes(&h1), "pulse", "running") && pid_of(&h1, "pulse") == Some(pulse.into())
    });
    hana(&h1, ["restart", "pulse"]).ok();
}

#[test]
fn host_option_renames_the_host_permanently() {
    let Some(lab) = Lab::new("rename") else { return };
    let h1 = lab.host("h1");
    let daemon = |arguments: &[&str]| {
        let mut command = h1.command("hanad");
        command.args(arguments);
        h1.spawn(command)
    };
    for (arguments, expected) in
        [(&[][..], "'h1' is on"), (&["--host", "stage"], "'stage' is on"), (&[], "'stage' is on")]
    {
        let mut daemon = daemon(arguments);
        await_stderr(&daemon, expected);
        daemon.kill(Signal::TERM);
        daemon.wait(SOON);
    }
}

#[test]
fn ready_descriptor_gets_one_line_once_the_daemon_answers() {
    let Some(lab) = Lab::new("ready-fd") else { return };
    let h1 = lab.host("h1");
    // `cat` ends only once no process has the write end of the pipe open.
    let script = "{ hanad --ready-fd 3 3>&1 1>&2 & } | { cat; hana nodes; }";
    let output = h1.run(["sh", "-c", script]).ok();
    let nodes = output.stdout.strip_prefix("READY\n").unwrap_or_else(|| panic!("{output}"));
    assert!(nodes.contains("h1"), "{output}");

    for (descriptor, reason) in
        [("987", "cannot write to descriptor 987: it is not open"), ("1", "1 is not in 3..")]
    {
        let refused = h1.run(["hanad", "--ready-fd", descriptor]);
        assert!(!refused.status.success() && refused.stderr.contains(reason), "{refused}");
    }
}

#[test]
fn check_prints_each_fault_with_its_place() {
    let Some(lab) = Lab::new("check") else { return };
    let h1 = lab.host("h1");
    let directory = lab.directory().join("checked");
    fs::create_dir(&directory).unwrap();
    let path = directory.to_str().unwrap();
    fs::write(directory.join("hanad.toml"), "multicast = \"maybe\"\n").unwrap();
    let faulty = format!("{PULSE}polcy = 1\n[visualizations.wall]\n");
    fs::write(directory.join("visualizations.toml"), faulty).unwrap();
    let checked = h1.run(["hanad", "--check", "--config", path]);
    assert_eq!(checked.code(), Some(1), "{checked}");
    let places = [
        "hanad.toml:1: ",
        "visualizations.toml:3: visualizations.pulse.polcy: ",
        "visualizations.toml:4: visualizations.wall: ",
    ];
    assert_eq!(checked.stdout.lines().count(), places.len(), "{checked}");
    for (line, place) in checked.stdout.lines().zip(places) {
        assert!(line.starts_with("error: ") && line.contains(place), "{checked}");
    }

    fs::write(directory.join("hanad.toml"), "multicast = false\n").unwrap();
    let working = "[visualizations.script]\nprogram = \"sh\"\nmesh = false\n";
    fs::write(directory.join("visualizations.toml"), working).unwrap();
    let checked = h1.run(["hanad", "--check", "--config", path]).ok();
    assert!(checked.stdout.starts_with("no faults: "), "{checked}");
}

#[test]
fn edited_catalogue_is_reloaded_without_interruption() {
    let Some(lab) = Lab::new("catalogue") else { return };
    let mut show = Show::with_catalogue(&lab, &["h1"], PULSE);
    let h1 = show.host("h1").clone();
    let (_, pulse) = start(&h1, &h1, "pulse");
    let pulse = i64::from(pulse);

    // The start works at once, before the daemon's periodic check of the file.
    edit(&lab, &format!("{PULSE}[visualizations.extra]\nprogram = \"pulse\"\n"));
    hana(&h1, ["start", "extra"]).ok();
    await_stderr(show.daemon("h1"), "catalogue reloaded; added: extra");

    // A catalogue that cannot be used is reported once, with the line of the fault, and changes nothing.
    edit(&lab, &format!("{PULSE}polcy = \"show\"\n"));
    await_stderr(show.daemon("h1"), "visualizations.toml:3: visualizations.pulse.polcy");
    let refused = hana(&h1, ["reload"]);
    assert!(refused.code() == Some(1) && refused.stderr.contains(".toml:3"), "{refused}");
    let unknown = hana(&h1, ["start", "nothing"]);
    assert!(unknown.stderr.contains("has no 'nothing'"), "{unknown}");
    assert!(unknown.stderr.contains(".toml:3"), "{unknown}");
    assert_eq!(
        count_in_stderr(
            show.daemon("h1"),
            "cannot reload the catalogue, so the previous one stays in force"
        ),
        1
    );
    hana(&h1, ["start", "extra"]).ok();

    // A visualization that is no longer in the catalogue keeps running, and is restarted after a crash.
    edit(&lab, "[visualizations.other]\nprogram = \"pulse\"\n");
    await_stderr(show.daemon("h1"), "added: other; removed: extra, pulse");
    assert_eq!(pid_of(&h1, "pulse"), Some(pulse));
    h1.kill(Signal::KILL, i32::try_from(pulse).unwrap());
    eventually(SOON, "the visualization to run again", || {
        is(&nodes(&h1), "pulse", "running") && pid_of(&h1, "pulse") != Some(pulse)
    });
    assert_eq!(hana(&h1, ["start", "pulse"]).code(), Some(1));

    // SIGHUP and SIGUSR1 do not end the daemon.
    let pulse = pid_of(&h1, "pulse");
    edit(&lab, &format!("{PULSE}policy = \"manual\"\n"));
    show.daemon("h1").kill(Signal::HUP);
    await_stderr(show.daemon("h1"), "added: pulse; removed: other");
    show.daemon("h1").kill(Signal::USR1);
    await_stderr(show.daemon("h1"), "SIGUSR1");
    assert_eq!(pid_of(&h1, "pulse"), pulse);
    // The policy of the new catalogue applies.
    h1.kill(Signal::KILL, i32::try_from(pulse.unwrap()).unwrap());
    eventually(SOON, "the visualization to stay down", || is(&nodes(&h1), "pulse", "crashed"));
}

#[test]
fn updated_daemon_takes_over_running_visualizations() {
    let Some(lab) = Lab::new("replace") else { return };
    let mut show = Show::with_catalogue(&lab, &["h1", "h2"], PULSE);
    let (h1, h2) = (show.host("h1").clone(), show.host("h2").clone());
    let (_, pulse) = start(&h2, &h1, "pulse");
    let pulse = Some(i64::from(pulse));
    eventually(SOON, "the visualization to run", || is(&nodes(&h2), "pulse", "running"));
    hana(&h2, ["set", "pulse", "zoom=0.25"]).ok();
    eventually(SOON, "the value to be shown", || zoom_of(&h2) == Some(0.25));
    let events = spawn_hana(&h2, ["watch", "hana/*/event", "--json"]);

    // The daemon is replaced within its own process.
    show.daemon("h1").kill(Signal::USR2);
    eventually(SOON, "the daemon to be on the mesh again", || {
        count_in_stderr(show.daemon("h1"), "'h1' is on the mesh") == 2
    });
    assert_eq!(show.daemon("h1").try_wait(), None);
    eventually(SOON, "the visualization to be supervised", || is(&nodes(&h2), "pulse", "running"));
    assert_eq!((pid_of(&h2, "pulse"), zoom_of(&h2)), (pulse, Some(0.25)));

    // The daemon is replaced by another program, which may be installed in any directory.
    let mut other = h1.command("hanad");
    other.env("HANA_CONFIG", lab.directory().join("config")).arg("--replace");
    let other = h1.spawn(other);
    await_stderr(&other, "'h1' is on the mesh");
    assert!(show.daemon("h1").wait(SOON).success());
    eventually(SOON, "the visualization to be supervised", || is(&nodes(&h2), "pulse", "running"));
    assert_eq!((pid_of(&h2, "pulse"), zoom_of(&h2)), (pulse, Some(0.25)));
    let printed = events.stdout();
    for kind in ["crashed", "restarted", "host_lost", "node_lost", "closed"] {
        assert!(!printed.contains(&format!("\"kind\":\"{kind}\"")), "{printed}");
    }

    // The new daemon has the complete state of the old one, so a restart keeps the look.
    hana(&h2, ["restart", "pulse"]).ok();
    eventually(SOON, "the visualization to run with its look", || zoom_of(&h2) == Some(0.25));
    assert_ne!(pid_of(&h2, "pulse"), pulse);
}

#[test]
fn file_that_cannot_run_is_refused_with_the_reason() {
    let Some(lab) = Lab::new("faulty") else { return };
    let config = lab.directory().join("config");
    fs::create_dir_all(config.join("directory")).unwrap();
    let script = |name: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        fs::write(config.join(name), text).unwrap();
        fs::set_permissions(config.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    script("plain", "#!/bin/sh\n", 0o644);
    script("orphan", "#!/no/interpreter\n", 0o755);
    script("empty", "", 0o755);
    let faults = [
        ("directory", "is a directory"),
        ("plain", "is not executable"),
        ("orphan", "is a script for /no/interpreter, which is missing"),
        ("empty", "is empty"),
    ];
    let entries =
        faults.map(|(name, _)| format!("[visualizations.{name}]\nprogram = \"./{name}\"\n"));
    let catalogue = entries.concat();
    let mut show = Show::with_catalogue(&lab, &["h1"], &catalogue);
    let h1 = show.host("h1").clone();
    for (name, fault) in faults {
        await_stderr(show.daemon("h1"), fault);
        let refused = hana(&h1, ["start", name]);
        assert!(refused.code() == Some(1) && refused.stderr.contains(fault), "{refused}");
    }
}
