//! Tests that the foreign programs work with each other on the hosts of a lab.
#![cfg(target_os = "linux")]
// The `zenoh` program replaces `{key} {value}`.
#![allow(clippy::literal_string_with_formatting_args)]

use std::process::Command;
use std::time::Duration;

use hana_lab::{Host, Lab, Running, eventually, foreign};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn zenoh_cli_sends_messagepack_and_prints_json() {
    let Some(lab) = Lab::new("zenoh") else { return };
    let (h1, h2) = (lab.host("h1"), lab.host("h2"));
    let subscriber = subscribed(&h1, "hana/**");
    h2.run_within(
        SOON,
        zenoh(&h2, &["put", "-k", "hana/x/modulation/zoom", "--encoder", "hana", "-v", "0.5"]),
    )
    .ok();
    h2.run_within(
        SOON,
        zenoh(&h2, &["put", "-k", "hana/x/topic/t", "--encoder", "hana", "-v", r#"{"a":[1,"ü"]}"#]),
    )
    .ok();
    h2.run_within(SOON, zenoh(&h2, &["put", "-k", "hana/x/control", "-v", "no map"])).ok();
    let wanted = "hana/x/modulation/zoom {\"value\": 0.5}\nhana/x/topic/t {\"a\": [1, \"ü\"]}\nhana/x/control \"no map\"\n";
    eventually(SOON, "three messages", || {
        let seen = subscriber.stdout();
        if seen.ends_with(wanted) { Ok(()) } else { Err(seen) }
    });
}

/// Starts a subscriber, and waits until the network has received its subscription.
fn subscribed(host: &Host, key: &str) -> Running {
    let running = host.spawn(zenoh(
        host,
        &["subscribe", "-k", key, "--decoder", "hana", "--line", "{key} {value}"],
    ));
    // The subscriber prints nothing when it starts; the first message that it receives shows that it is ready.
    eventually(SOON, "the subscriber to receive", || {
        host.run_within(SOON, zenoh(host, &["put", "-k", "hana/ready", "-v", "1"])).ok();
        if running.stdout().contains("hana/ready 1\n") { Ok(()) } else { Err(running.stderr()) }
    });
    running
}

fn zenoh(host: &Host, words: &[&str]) -> Command {
    let mut command = host.command(foreign::zenoh());
    command.args(words);
    command
}
