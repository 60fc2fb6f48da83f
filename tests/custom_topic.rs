//! scratch
#![allow(clippy::all)]
use hana_tests::Lab;
use hana_tests::show::*;
use std::time::Duration;
#[test]
fn scratch() {
    let lab = Lab::new("s").unwrap();
    let show = Show::of(&lab, &["h1", "h2"]);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    start(h1, h2, "pulse");
    std::thread::sleep(Duration::from_secs(1));
    let mut c = h1.command("hana");
    c.args(["ping","pulse"]).env("HANA_LOG","warn,zenoh::net::runtime::orchestrator=debug,zenoh_link_tcp=debug,zenoh_transport::unicast=debug");
    println!("{}", h1.run_within(Duration::from_secs(20), c));
    println!("{}", h2.run(["ss", "-ltnp"]));
    println!("{}", h1.run(["ip", "-6", "route"]));
}
