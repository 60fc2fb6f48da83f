//! The parameters of an app that has vanished keep their values or fade to their defaults, as the visualization has
//! chosen.

use std::time::Duration;

use hana_lab::show::{Lines, Show, figure, hana, node, nodes, spawn_hana, start};
use hana_lab::{Host, Lab, Signal, eventually};

/// The time limit for steps without a promised time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(30);

/// A catalogue with two visualizations.
///
/// `fault_injection` fades to its defaults when its controller is lost, and `pulse` keeps its values.
const CATALOGUE: &str = r#"
[visualizations.fault_injection]
program = "fault_injection"

[visualizations.pulse]
program = "pulse"
"#;

fn zoom(host: &Host, id: &str) -> Option<f64> {
    node(&nodes(host), id)?["parameters"]["zoom"].as_f64()
}

/// Plays zoom 0.5 on both visualizations by OSC until both have it.
fn play(from: &Host, show: &Host) {
    // The message has an address and a type, each padded with zeros to a multiple of four, and 0.5 as a float.
    let send = |address: &str| {
        format!(r"printf '{address}\0\0,f\0\0\077\0\0\0' > /dev/udp/127.0.0.1/9000; ")
    };
    let both = send("/hana/fault_injection/zoom") + &send(r"/hana/pulse/zoom\0\0");
    eventually(SOON, "both to be played", || {
        from.run(["bash", "-c", &both]);
        let zooms = ["fault_injection", "pulse"].map(|id| zoom(show, id));
        if zooms == [Some(0.5); 2] { Ok(()) } else { Err(zooms) }
    });
}

#[test]
fn parameters_of_a_vanished_app_stay_or_fade_slowly() {
    let Some(lab) = Lab::new("vanish") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    for id in ["fault_injection", "pulse"] {
        start(h1, h1, id);
        eventually(SOON, "the visualization to run", || zoom(h1, id).is_some());
    }
    let bridge = spawn_hana(h2, ["bridge", "osc", "--listen", "127.0.0.1:9000"]);
    play(h2, h1);
    let mut looks = Lines::of_messages(h1, &["h1"]);
    bridge.kill(Signal::KILL);
    let zoom_of = |line: &serde_json::Value| {
        let is_look = line["key"] == "hana/fault_injection/look";
        line["value"]["parameters"]["zoom"].as_f64().filter(|_| is_look)
    };
    // The value is reported a few times without a change. The first look with another value is the start of the fade.
    let moves = |line: &serde_json::Value| zoom_of(line).is_some_and(|zoom| zoom < 0.499);
    let (begun, first) = looks.wait_for(SOON, "the start of the fade", moves);
    let (there, _) = looks.wait_for(SOON, "the end of the fade", |line| zoom_of(line) == Some(0.0));
    let way = there.duration_since(begun);
    figure(&format!("it went back to its default within {way:.2?} (it chose 2 s)"));
    assert!(zoom_of(&first).unwrap() > 0.1, "the fade begins slowly: {first}");
    assert!(way > Duration::from_secs(1), "{way:?}");
    assert_eq!(zoom(h1, "pulse"), Some(0.5), "the other one keeps the played value");
    assert_eq!(zoom(h1, "fault_injection"), Some(0.0));
    // After that, the visualization can be played again.
    hana(h1, ["set", "fault_injection", "zoom=0.25"]).ok();
    // The current value is published ten times a second.
    eventually(SOON, "the new value", || {
        let shown = zoom(h1, "fault_injection");
        if shown == Some(0.25) { Ok(()) } else { Err(shown) }
    });
}

#[test]
fn app_whose_daemon_crashed_keeps_its_parameters() {
    let Some(lab) = Lab::new("not-vanished") else { return };
    let mut show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    for id in ["fault_injection", "pulse"] {
        start(show.host("h1"), show.host("h1"), id);
        eventually(SOON, "the visualization to run", || zoom(show.host("h1"), id).is_some());
    }
    let bridge = spawn_hana(show.host("h2"), ["bridge", "osc", "--listen", "127.0.0.1:9000"]);
    play(show.host("h2"), show.host("h1"));
    let daemon = show.daemon("h2");
    daemon.kill(Signal::KILL);
    daemon.wait(SOON);
    // After five seconds, the visualization is on the mesh without its daemon. After ten, its values would have
    // faded.
    let seen_again = std::time::Instant::now() + Duration::from_secs(12);
    while std::time::Instant::now() < seen_again {
        assert_eq!(zoom(show.host("h1"), "fault_injection"), Some(0.5));
    }
    drop(bridge);
}
