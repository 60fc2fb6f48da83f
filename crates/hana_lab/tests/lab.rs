//! Tests of the harness for several hosts.
#![cfg(target_os = "linux")]
#![allow(clippy::panic, clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hana_lab::{Host, Lab, Running, Screen, Signal, eventually, inhabitants};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn hosts_have_their_own_names_and_reach_each_other() {
    let Some(lab) = Lab::new("names") else { return };
    let (h1, h2) = (lab.host("h1"), lab.host("h2"));
    assert_eq!(h1.run(["hostname"]).ok().stdout, "h1\n");
    assert_eq!(h2.run(["hostname"]).ok().stdout, "h2\n");

    let _echo = probe(&h2, &["echo", "[::]:9000"]);
    assert!(reaches(&h1, &h2));
    assert!(
        h1.run(["lab_probe", "ask", "[::1]:9000"]).code() == Some(1),
        "the echo is on the other host"
    );
    // The link-local address needs neither a router nor time for configuration.
    let addresses = h2.run(["ip", "-json", "-6", "address", "show", "dev", "eth0"]).ok().json();
    let address = addresses[0]["addr_info"][0]["local"].as_str().unwrap().to_owned();
    h1.run(["lab_probe", "ask", &format!("[{address}%2]:9000")]).ok();
}

#[test]
fn multicast_reaches_the_other_host_but_no_other_lab() {
    let (Some(lab), Some(other)) = (Lab::new("multicast"), Lab::new("other")) else { return };
    let (h1, h2, elsewhere) = (lab.host("h1"), lab.host("h2"), other.host("h2"));
    let receiver = probe(&h2, &["hear", "224.0.0.224:7446"]);
    let outsider = probe(&elsewhere, &["hear", "224.0.0.224:7446"]);
    h1.run(["lab_probe", "say", "224.0.0.224:7446", "hello"]).ok();
    eventually(SOON, "the multicast message", || receiver.stdout().contains("hello"));
    assert!(!outsider.stdout().contains("hello"));
}

#[test]
fn cable_can_be_unplugged_and_plugged_in_again() {
    let Some(lab) = Lab::new("cable") else { return };
    let (h1, h2) = (lab.host("h1"), lab.host("h2"));
    let _echo = probe(&h2, &["echo", "[::]:9000"]);
    assert!(reaches(&h1, &h2));
    h2.unplug();
    assert!(!reaches(&h1, &h2));
    h2.plug();
    eventually(SOON, "the host to be reached again", || reaches(&h1, &h2));
}

#[test]
fn partition_separates_its_halves_and_nothing_else() {
    let Some(lab) = Lab::new("split") else { return };
    let (h1, h2, h3, h4) = (lab.host("h1"), lab.host("h2"), lab.host("h3"), lab.host("h4"));
    let _echoes = [&h2, &h3].map(|host| probe(host, &["echo", "[::]:9000"]));
    assert!(reaches(&h1, &h2) && reaches(&h1, &h3));
    lab.partition(&[&h1, &h2], &[&h3, &h4]);
    assert!(reaches(&h1, &h2) && reaches(&h4, &h3));
    assert!(!reaches(&h1, &h3) && !reaches(&h4, &h2));
    lab.heal();
    eventually(SOON, "the halves to reach each other", || reaches(&h1, &h3) && reaches(&h4, &h2));
}

#[test]
fn processes_are_listed_stopped_and_killed_by_pid() {
    let Some(lab) = Lab::new("processes") else { return };
    let host = lab.host("h1");
    let mut sleep = host.command("sleep");
    sleep.arg("100");
    let mut running = host.spawn(sleep);
    let state = || {
        host.processes()
            .iter()
            .find(|process| process.pid == running.pid())
            .map(|process| process.state)
    };
    eventually(SOON, "the process to sleep", || state() == Some('S'));
    host.kill(Signal::STOP, running.pid());
    eventually(SOON, "the process to be stopped", || state() == Some('T'));
    host.kill(Signal::CONT, running.pid());
    eventually(SOON, "the process to continue", || state() == Some('S'));
    running.kill(Signal::TERM);
    assert_eq!(running.wait(SOON).signal(), Some(Signal::TERM.as_raw()));
    assert_eq!(host.processes(), []);

    // This process is suspended when the test drops it.
    let mut sleep = host.command("sleep");
    sleep.arg("100");
    let running = host.spawn(sleep);
    running.kill(Signal::STOP);
    drop(running);
    assert_eq!(host.processes(), []);
}

#[test]
fn orphan_is_listed_and_its_zombie_is_reaped() {
    let Some(lab) = Lab::new("orphan") else { return };
    let host = lab.host("h1");
    host.run(["sh", "-c", "sleep 100 & exit 0"]).ok();
    let orphan = eventually(SOON, "one orphan, which sleeps", || match &*host.processes() {
        [orphan] if orphan.ppid == 1 && orphan.command == "sleep 100" => Ok(orphan.pid),
        others => Err(others.to_vec()),
    });
    host.kill(Signal::KILL, orphan);
    eventually(SOON, "the orphan to be reaped", || host.processes().is_empty());
}

#[test]
fn host_without_power_is_gone_and_the_others_stay() {
    let Some(lab) = Lab::new("power") else { return };
    let (h1, h2, h3) = (lab.host("h1"), lab.host("h2"), lab.host("h3"));
    let _echoes = [&h2, &h3].map(|host| probe(host, &["echo", "[::]:9000"]));
    assert!(reaches(&h1, &h2));
    h2.power_off();
    assert!(!reaches(&h1, &h2) && reaches(&h1, &h3));
    assert_eq!(h2.processes(), []);
    lab.heal();
}

#[test]
#[should_panic(expected = "has not ended within 0.10 s")]
fn program_that_does_not_end_fails_its_test() {
    let Some(lab) = Lab::new("deadline") else { panic!("(skipped) has not ended within 0.10 s") };
    let host = lab.host("h1");
    let mut sleep = host.command("sleep");
    sleep.arg("100");
    let directory = lab.directory().to_owned();
    // The lab keeps the files of a failed test, but this test does not need them.
    let _remove = Remove(&directory);
    let _lab = lab;
    host.run_within(Duration::from_millis(100), sleep);
}

#[test]
fn killed_test_leaves_no_process_namespace_or_file() {
    if Lab::new("probe").is_none() {
        return;
    }
    let mut holder = Command::new(env!("CARGO_BIN_EXE_lab_probe"))
        .arg("hold")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut lines: Vec<String> = lines.take_while(|line| line != "ready").collect();
    let directory = lines.remove(0);
    assert_eq!(lines.len(), 4, "two namespaces each of the switch and of a host: {lines:?}");
    // The processes are bash, unshare, bash and sleep.
    assert!(inhabitants(&lines).len() >= 4 && Path::new(&directory).exists());
    holder.kill().unwrap();
    holder.wait().unwrap();
    // These namespaces exist only as long as their processes, since none of them is mounted.
    eventually(SOON, "everything of the lab to be gone", || match &*inhabitants(&lines) {
        [] if !Path::new(&directory).exists() => Ok(()),
        left => Err((left.to_vec(), Path::new(&directory).exists())),
    });
}

#[test]
fn screen_is_reached_from_a_host_and_shows_a_drawing() {
    let Some(lab) = Lab::new("screen") else { return };
    let host = lab.host("h1");
    let screen = Screen::new(320, 200);
    let before = screen.screenshot();
    assert_eq!((before.width(), before.height(), before.mean_hue()), (320, 200, None));
    assert_eq!(before, screen.screenshot());
    assert_eq!(screen.windows(), []);

    let mut window = host.command("lab_probe");
    window.arg("draw").env("DISPLAY", screen.display());
    let _window = host.spawn(window);
    eventually(SOON, "a green window", || {
        let [window] = &*screen.windows() else { return Err(format!("{:?}", screen.windows())) };
        let (x, y) = (usize::try_from(window.x).unwrap(), usize::try_from(window.y).unwrap());
        let inside = screen.screenshot().crop(x, y, window.width.into(), window.height.into());
        if window.title == "probe" && inside.pixel(5, 5) == [0, 255, 0] {
            Ok(())
        } else {
            Err(format!("{window:?}"))
        }
    });
    assert_eq!(screen.screenshot().mean_hue().map(f64::round), Some(120.0));
}

fn probe(host: &Host, words: &[&str]) -> Running {
    let mut command = host.command("lab_probe");
    command.args(words);
    let running = host.spawn(command);
    eventually(SOON, "the probe to be ready", || running.stdout().starts_with("ready"));
    running
}

/// Returns whether the echo program on port 9000 returns a datagram.
fn reaches(from: &Host, to: &Host) -> bool {
    from.run(["lab_probe", "ask", &format!("{}:9000", to.address())]).status.success()
}

struct Remove<'a>(&'a Path);

impl Drop for Remove<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0);
    }
}
