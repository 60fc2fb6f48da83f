//! A sender that is independent of hana plays `ripples` by OSC.
//!
//! It sends from the third host through `hana bridge osc` to a window on the second host, where the picture is
//! measured.

use std::time::Duration;

use hana_lab::show::{figure, node, nodes};
use hana_lab::{Image, Lab, Running, Stage, eventually, foreign, show};
use serde_json::{Value, json};

/// The time limit for immediate effects, on a machine where other programs render in software.
const SOON: Duration = Duration::from_secs(15);

/// The largest accepted relative deviation of a measured value from the one that `ripples` promises for its
/// parameters.
const TOLERANCE: f64 = 0.05;

/// Messages that cannot be played, as arguments of `osc_send.py`, and words that the errors must contain.
const REFUSED: [(&str, &[&str]); 23] = [
    // The data is not OSC.
    ("--raw 00ff", &["2 bytes", "not OSC"]),
    ("--raw 68656c6c6f", &["5 bytes", "not OSC"]),
    ("--raw", &["0 bytes", "not OSC"]),
    // The message is `/hana/ripples/zoom ,f`, cut off within its number.
    ("--raw 2f68616e612f726970706c65732f7a6f6f6d00002c6600003f00", &["26 bytes", "not OSC"]),
    // The first bundle ends within its time tag, and the second is shorter than its message.
    ("--raw 2362756e646c65000000", &["10 bytes", "not OSC"]),
    ("--raw 2362756e646c6500000000000000000100000040", &["20 bytes", "not OSC"]),
    // The argument has an unknown type.
    ("--raw 2f68616e612f726970706c65732f7a6f6f6d00002c580000", &["24 bytes", "not OSC"]),
    // The node is unknown, is not a visualization, or has no such parameter.
    ("/hana/nobody/zoom 0.5", &["'nobody'", "ripples"]),
    ("/hana/h2/zoom 0.5", &["'h2'", "ripples"]),
    ("/hana/ripples/zooom 0.5", &["'zooom'", "zoom"]),
    // The address has another form.
    ("/ripples/zoom 0.5", &["'/ripples/zoom'", "/hana/<visualization>/<parameter>"]),
    ("/hana/ripples 0.5", &["'/hana/ripples'", "/hana/<visualization>/<parameter>"]),
    ("/hana/ripples/zoom/more 0.5", &["'/hana/ripples/zoom/more'", "<parameter>"]),
    ("/hana/Ripples/zoom 0.5", &["'/hana/Ripples/zoom'", "<visualization>"]),
    // There is not exactly one number.
    ("/hana/ripples/zoom loud", &["'/hana/ripples/zoom'", "text", "number"]),
    ("/hana/ripples/zoom", &["'/hana/ripples/zoom'", "0 values", "one number"]),
    ("/hana/ripples/zoom 0.5 0.5", &["'/hana/ripples/zoom'", "2 values", "one number"]),
    // The number is not accepted.
    ("/hana/ripples/zoom nan", &["/hana/ripples/zoom", "finite number"]),
    ("/hana/ripples/zoom inf", &["/hana/ripples/zoom", "finite number"]),
    ("/hana/ripples/zoom -inf", &["/hana/ripples/zoom", "finite number"]),
    ("/hana/ripples/zoom 1.001", &["/hana/ripples/zoom", "1.001", "-1", "1"]),
    ("/hana/ripples/hue -3", &["/hana/ripples/hue", "-3", "-1", "1"]),
    ("/hana/ripples/hue i:2", &["/hana/ripples/hue", "2", "-1", "1"]),
];

#[test]
fn osc_from_a_third_host_changes_the_window_as_documented() {
    let Some(lab) = Lab::new("osc") else { return };
    let played = Played::new(&lab);

    // Integers count as numbers. At speed 0 the picture stands still.
    played.send("/hana/ripples/speed i:0");
    let first = played.await_picture(&json!({ "speed": 0.0 }));
    let spacing = first.ring_spacing().unwrap();
    assert_close("the rings at zoom 0, in pixels", spacing, 30.0);

    // This counts the frames of a second, without any input.
    let a_second = played.fps();
    played.stage.wait_for_frames(&played.stage.h1, "ripples", a_second);
    assert_eq!(played.stage.screen.screenshot(), first, "a picture without input");

    let mut before = first.clone();
    for (hue, turn) in [(0.6, 108.0), (-0.2, -144.0), (0.5, 126.0)] {
        played.send(&format!("/hana/ripples/hue {hue}"));
        let picture = played.await_picture(&json!({ "speed": 0.0, "hue": hue }));
        let turned = picture.mean_hue().unwrap() - before.mean_hue().unwrap();
        assert_close("the turn of the hue, in degrees", same_way_round(turned, turn), turn);
        assert_close("the rings, in pixels", picture.ring_spacing().unwrap(), 30.0);
        before = picture;
    }

    for (zoom, wanted) in [("0.5", 42.43), ("i:1", 60.0), ("-0.5", 21.21)] {
        played.send(&format!("/hana/ripples/zoom {zoom}"));
        let value: f64 = zoom.trim_start_matches("i:").parse().unwrap();
        let picture = played.await_picture(&json!({ "speed": 0.0, "hue": 0.5, "zoom": value }));
        let spacing = picture.ring_spacing().unwrap();
        assert_close(&format!("the rings at zoom {zoom}, in pixels"), spacing, wanted);
    }

    // Two messages in a bundle restore the first picture, pixel by pixel.
    played.send_bundle();
    assert_eq!(played.await_picture(&json!({ "speed": 0.0, "hue": 0.0, "zoom": 0.0 })), first);
    assert_eq!(played.bridge.stderr(), "", "no errors");
}

#[test]
fn unplayable_osc_is_one_error_and_leaves_the_window_unchanged() {
    let Some(lab) = Lab::new("bad-osc") else { return };
    let played = Played::new(&lab);
    played.send("/hana/ripples/speed 0\n/hana/ripples/zoom 0.25\n/hana/ripples/hue -0.25");
    let wanted = json!({ "speed": 0.0, "zoom": 0.25, "hue": -0.25 });
    let before = played.await_picture(&wanted);
    let parameters = played.parameters();

    for (index, (line, words)) in REFUSED.iter().enumerate() {
        played.send(line);
        let error = eventually(SOON, &format!("an error for `{line}`"), || {
            let errors = played.errors();
            errors.get(index).cloned().ok_or(errors)
        });
        assert!(
            words.iter().all(|word| error.contains(word)),
            "the error for `{line}` has not all of {words:?}: {error}"
        );
        assert_eq!(played.parameters(), parameters, "after `{line}`");
    }

    // The bridge handles messages one after another, so the effect of this message comes after those of all others.
    played.send("/hana/ripples/intensity 0.75");
    let other = json!({ "speed": 0.0, "zoom": 0.25, "hue": -0.25, "intensity": 0.75 });
    assert_ne!(played.await_picture(&other), before);
    played.send("/hana/ripples/intensity 0.5");
    let back = json!({ "speed": 0.0, "zoom": 0.25, "hue": -0.25, "intensity": 0.5 });
    assert_eq!(played.await_picture(&back), before);
    let errors = played.errors();
    assert_eq!(errors.len(), REFUSED.len(), "one line for each: {errors:#?}");
}

/// Sends two messages of python-osc in one bundle.
const BUNDLE: &str = "
import sys
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.udp_client import UDPClient
bundle = OscBundleBuilder(IMMEDIATELY)
for parameter in ('hue', 'zoom'):
    message = OscMessageBuilder('/hana/ripples/' + parameter)
    message.add_arg(0.0)
    bundle.add_content(message.build())
UDPClient(sys.argv[1], int(sys.argv[2])).send(bundle.build())
";

/// `ripples` in a window on the second host, and a bridge on the third.
struct Played {
    bridge: Running,
    stage: Stage,
}

impl Played {
    #[track_caller]
    fn new(lab: &Lab) -> Self {
        let stage = Stage::new(lab);
        let opened = stage.open("ripples");
        assert_eq!(opened.id, "ripples");
        let bridge = show::spawn_hana(&stage.h3, ["bridge", "osc", "--listen", "127.0.0.1:9000"]);
        eventually(SOON, "the bridge to listen", || {
            if bridge.stdout().contains("127.0.0.1:9000") { Ok(()) } else { Err(bridge.stderr()) }
        });
        Self { bridge, stage }
    }

    /// Sends messages from the third host: each line is an address and values, as arguments of `osc_send.py`.
    #[track_caller]
    fn send(&self, lines: &str) {
        for line in lines.lines() {
            let mut command = self.stage.h3.command(foreign::python());
            command.arg(foreign::script("osc_send.py")).args(["127.0.0.1", "9000"]);
            command.args(line.split(' '));
            self.stage.h3.run_within(SOON, command).ok();
        }
    }

    #[track_caller]
    fn send_bundle(&self) {
        let mut command = self.stage.h3.command(foreign::python());
        command.args(["-c", BUNDLE, "127.0.0.1", "9000"]);
        self.stage.h3.run_within(SOON, command).ok();
    }

    /// Returns the errors that the bridge has printed about received messages.
    fn errors(&self) -> Vec<String> {
        let printed = self.bridge.stderr();
        let whole = printed.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        // The line about playing over the mesh reports the path, not a message.
        whole.filter(|line| !line.contains("is played over the mesh")).map(String::from).collect()
    }

    /// Returns the parameter values as another host lists them.
    #[track_caller]
    fn parameters(&self) -> Value {
        eventually(SOON, "the parameters", || {
            let nodes = nodes(&self.stage.h1);
            let parameters = node(&nodes, "ripples").map(|node| node["parameters"].clone());
            let is_known = |values: &Value| values.as_object().is_some_and(|all| !all.is_empty());
            parameters.filter(is_known).ok_or(nodes)
        })
    }

    #[track_caller]
    fn fps(&self) -> u64 {
        let nodes = nodes(&self.stage.h1);
        let fps = node(&nodes, "ripples").and_then(|node| node["fps"].as_f64()).unwrap();
        format!("{:.0}", fps.ceil()).parse().unwrap()
    }

    /// Waits until the parameters have these values and the picture stands still, and returns the picture.
    #[track_caller]
    fn await_picture(&self, wanted: &Value) -> Image {
        eventually(SOON, &format!("{wanted}"), || {
            let now = self.parameters();
            let is_there = |(name, value): (&String, &Value)| {
                let away = now[name].as_f64().unwrap_or(f64::NAN) - value.as_f64().unwrap();
                away.abs() < 1e-6
            };
            if wanted.as_object().unwrap().iter().all(is_there) {
                Ok(())
            } else {
                Err((now, self.bridge.stderr()))
            }
        });
        self.stage.still_picture("ripples")
    }
}

/// Returns the angle that is equivalent to `angle` and nearest to `wanted`.
fn same_way_round(angle: f64, wanted: f64) -> f64 {
    wanted + (angle - wanted + 180.0).rem_euclid(360.0) - 180.0
}

#[track_caller]
fn assert_close(what: &str, found: f64, wanted: f64) {
    let error = (found - wanted).abs() / wanted.abs();
    figure(&format!("{what}: {found:.2}, predicted {wanted:.2}, error {:.2} %", 100.0 * error));
    assert!(error <= TOLERANCE, "{what}: {found:.2}, predicted {wanted:.2}");
}
