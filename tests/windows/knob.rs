//! `knob`, a small controller as a user of hana would write it, in a window. Its keys move parameters on another
//! host.

use std::time::Duration;

use hana_lab::show::{Show, is, node, nodes};
use hana_lab::{Host, Image, Key, Lab, Person, Screen, eventually, show};

/// The time limit for immediate effects, on a machine where other programs render in software.
const SOON: Duration = Duration::from_secs(20);
/// The time limit for a program that draws to show its first picture.
const OPENING: Duration = Duration::from_mins(1);

#[test]
fn arrow_key_in_the_window_plays_a_parameter_on_another_host() {
    let Some(lab) = Lab::new("knob") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    let screen = Screen::new(1280, 720);
    let mut command = h1.command("knob");
    command.env("DISPLAY", screen.display());
    let _knob = h1.spawn(command);
    eventually(OPENING, "the window", || screen.windows().iter().any(|w| w.title == "knob"));
    // There is one line, which lists the keys.
    eventually(OPENING, "a line of text", || lines_of_text(&screen.screenshot()) == 1);

    let (pulse, _) = show::start(h1, h2, "pulse");
    eventually(SOON, "the visualization to run", || {
        let nodes = nodes(h1);
        if is(&nodes, &pulse, "running") { Ok(()) } else { Err(nodes) }
    });
    eventually(SOON, "a second line, about the visualization on the other host", || {
        let lines = lines_of_text(&screen.screenshot());
        if lines == 2 { Ok(()) } else { Err(lines) }
    });

    let person = Person::at(&screen);
    person.choose("knob");
    // A window takes a moment to get the keyboard focus, and earlier key presses are lost.
    eventually(SOON, "the key to turn the first parameter up", || {
        person.press(Key::Right);
        let turned = turned_past(h2, &pulse, |hue| hue > 0.3);
        if turned.is_err() {
            person.release(Key::Right);
        }
        turned
    });
    person.release(Key::Right);
    person.press(Key::Left);
    eventually(SOON, "the other key to turn it down", || hue(h2, &pulse) < -0.3);
    person.release(Key::Left);
    let others = ["intensity", "speed", "zoom"];
    let now = nodes(h2);
    let parameters = node(&now, &pulse).map(|node| node["parameters"].clone()).unwrap_or_default();
    let wanted = [0.5, 0.3, 0.0];
    for (name, wanted) in others.into_iter().zip(wanted) {
        let value = parameters[name].as_f64().unwrap_or(f64::NAN);
        assert!((value - wanted).abs() < 1e-6, "{name} was not turned: {parameters}");
    }
}

/// Waits until `is_past` accepts the value, for about as long as a person would hold a key.
fn turned_past(host: &Host, id: &str, is_past: impl Fn(f64) -> bool) -> Result<(), f64> {
    let begun = std::time::Instant::now();
    loop {
        let hue = hue(host, id);
        if is_past(hue) {
            return Ok(());
        }
        if begun.elapsed() > Duration::from_secs(3) {
            return Err(hue);
        }
    }
}

/// Returns the value of the first parameter by name.
fn hue(host: &Host, id: &str) -> f64 {
    let nodes = nodes(host);
    node(&nodes, id).and_then(|node| node["parameters"]["hue"].as_f64()).unwrap_or(f64::NAN)
}

/// Counts the bands of rows with pixels brighter than the background.
fn lines_of_text(picture: &Image) -> usize {
    let has_text = |y: &usize| picture.row(*y).iter().any(|pixel| pixel[0] > 200);
    let rows: Vec<bool> = (0..picture.height()).map(|y| has_text(&y)).collect();
    let begins = rows.windows(2).filter(|pair| !pair[0] && pair[1]).count();
    begins + usize::from(rows[0])
}
