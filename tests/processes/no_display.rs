//! `ripples` on a machine without a display. The reason is reported in the places where an operator looks.

use std::process::Command;
use std::time::Duration;

use hana_lab::show::{hana, node, nodes, start_daemon_with};
use hana_lab::{Host, Lab, Running, eventually};

/// The time limit for steps without a promised time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(30);

/// Starts a daemon on a separate host. `configure` sets the environment for its programs.
fn daemon(lab: &Lab, configure: impl FnOnce(&mut Command)) -> (Host, Running) {
    let host = lab.host("h1");
    let daemon = start_daemon_with(&host, |command| {
        command.env_remove("HANA_HEADLESS").env_remove("WAYLAND_SOCKET");
        configure(command);
    });
    (host, daemon)
}

/// Waits until `ripples` has this state with a reason that contains these words.
fn wait_for_reason(host: &Host, state: &str, words: &[&str]) {
    eventually(SOON, &format!("'ripples' to be {state} because of {words:?}"), || {
        let listed = nodes(host);
        let it = node(&listed, "ripples").cloned();
        let is_it = it.as_ref().is_some_and(|it| {
            let reason = it["reason"].as_str().unwrap_or_default();
            it["state"] == state && words.iter().all(|word| reason.contains(word))
        });
        if is_it { Ok(()) } else { Err(it) }
    });
}

#[test]
fn ripples_without_a_display_runs_and_is_listed_as_headless() {
    let Some(lab) = Lab::new("headless") else { return };
    let (host, _daemon) = daemon(&lab, |_| {});
    let started = hana(&host, ["start", "ripples"]).ok().stdout;
    wait_for_reason(&host, "running", &["headless", "DISPLAY is not set"]);
    // On a busy machine, the start may take longer than `hana start` waits.
    let is_reported = started.contains("headless") && started.contains("DISPLAY");
    assert!(is_reported || started.contains("starting"), "{started}");
    let list = hana(&host, ["nodes"]).ok().stdout;
    assert!(list.contains("headless"), "{list}");
}

#[test]
fn wayland_session_without_xwayland_is_named_in_the_reason() {
    let Some(lab) = Lab::new("wayland") else { return };
    let (host, _daemon) = daemon(&lab, |command| {
        command.env("WAYLAND_DISPLAY", "wayland-7");
    });
    hana(&host, ["start", "ripples"]).ok();
    wait_for_reason(&host, "running", &["headless", "wayland-7", "Xwayland"]);
}

#[test]
fn unreachable_display_is_the_reason_of_the_crash() {
    let Some(lab) = Lab::new("no-x") else { return };
    let (host, _daemon) = daemon(&lab, |command| {
        command.env("DISPLAY", ":77");
    });
    hana(&host, ["start", "ripples"]).ok();
    wait_for_reason(&host, "crash_loop", &["exit code 1", "the display ':77' cannot be reached"]);
}
