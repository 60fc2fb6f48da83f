//! `hana-app`, the operator's window. It reports failures, and its keys fix them.

use std::time::Duration;

use hana_lab::show::{Show, hana, node, nodes, start};
use hana_lab::{Host, Key, Lab, Person, Running, Screen, Signal, eventually, project_root};
use serde_json::Value;

/// The time limit for immediate effects, on a machine where other programs render in software.
const SOON: Duration = Duration::from_secs(20);
/// The time limit for a program that draws to show its first picture.
const OPENING: Duration = Duration::from_mins(1);

/// The colours of a running visualization (`WELL`) and of a failed one (`TROUBLE`) in the window.
const WELL: [u8; 3] = [82, 204, 143];
const TROUBLE: [u8; 3] = [255, 107, 110];
const TOAST: [u8; 3] = [71, 23, 28];

const CATALOGUE: &str = r#"
[visualizations.beat]
program = "pulse"

[visualizations.pulse]
program = "pulse"
policy  = "manual"
"#;

/// The colour of a slider's track up to its value.
const PLAYED: [u8; 3] = [102, 168, 255];

/// A window on a screen, and the person who uses it.
struct AppWindow {
    screen: Screen,
    person: Person,
    _app: Running,
}

impl AppWindow {
    fn open(host: &Host) -> Self {
        let screen = Screen::new(1280, 720);
        let mut command = host.command("hana-app");
        command.env("DISPLAY", screen.display());
        let app = host.spawn(command);
        eventually(OPENING, "the window", || {
            let windows = screen.windows();
            if windows.iter().any(|window| window.title == "hana") { Ok(()) } else { Err(windows) }
        });
        let person = Person::at(&screen);
        person.choose("hana");
        Self { screen, person, _app: app }
    }

    /// Counts the pixels of this colour.
    fn count(&self, colour: [u8; 3]) -> usize {
        let picture = self.screen.screenshot();
        let is_near = |pixel: &[u8; 3]| {
            pixel.iter().zip(colour).all(|(part, wanted)| part.abs_diff(wanted) <= 3)
        };
        (0..picture.height())
            .map(|y| picture.row(y).iter().filter(|pixel| is_near(pixel)).count())
            .sum()
    }

    /// Finds the lowest slider: its row on the screen, and the columns of its left end and of its value.
    fn lowest_slider(&self) -> Option<(i16, i16, i16)> {
        let picture = self.screen.screenshot();
        let columns = |y: &usize| -> Vec<usize> {
            let row = picture.row(*y).iter().enumerate();
            row.filter(|(_, pixel)| **pixel == PLAYED).map(|(x, _)| x).collect()
        };
        let y = (0..picture.height()).rev().find(|y| columns(y).len() > 20)?;
        let found = columns(&y);
        let as_place = |place: usize| i16::try_from(place).ok();
        Some((as_place(y - 8)?, as_place(*found.first()?)?, as_place(*found.last()?)?))
    }

    /// Lists the sliders that show a value, from top to bottom: the filled column and the middle row of each.
    fn sliders(&self) -> Vec<(i16, i16)> {
        let picture = self.screen.screenshot();
        let filled = |y: usize| -> Vec<usize> {
            let row = picture.row(y).iter().enumerate();
            row.filter(|(_, pixel)| **pixel == PLAYED).map(|(x, _)| x).collect()
        };
        let has = |y: usize| filled(y).len() > 10;
        let tops = (1..picture.height()).filter(|y| has(*y) && !has(*y - 1));
        tops.filter_map(|top| {
            let middle = top + 8;
            let x = *filled(middle).get(2)?;
            Some((i16::try_from(x).ok()?, i16::try_from(middle).ok()?))
        })
        .collect()
    }

    /// Presses keys until they take effect, since a window takes a moment to get the keyboard focus.
    #[track_caller]
    fn press_until(&self, keys: &[Key], what: &str, mut done: impl FnMut() -> bool) {
        let mut presses = 0;
        eventually(SOON, what, || {
            if presses % 100 == 0 {
                for key in keys {
                    self.person.press(*key);
                    self.person.release(*key);
                }
            }
            presses += 1;
            done()
        });
    }

    /// Saves a screenshot for the documentation if `HANA_PICTURES` is set, for example `HANA_PICTURES=docs`.
    fn picture(&self, name: &str) {
        if let Some(pictures) = std::env::var_os("HANA_PICTURES") {
            let path = project_root().join(pictures).join(name);
            self.screen.screenshot().save_png(path);
        }
    }
}

#[track_caller]
fn wait_for(host: &Host, id: &str, what: &str, is_expected: impl Fn(&Value) -> bool) -> Value {
    eventually(SOON, what, || {
        let nodes = nodes(host);
        node(&nodes, id).filter(|node| is_expected(node)).cloned().ok_or(nodes)
    })
}

fn pid(node: &Value) -> i32 {
    node["pid"].as_i64().unwrap().try_into().unwrap()
}

fn zoom(node: &Value) -> f64 {
    (node["parameters"]["zoom"].as_f64().unwrap_or(f64::NAN) * 1000.0).round() / 1000.0
}

#[test]
fn crash_and_freeze_show_in_the_window_and_a_key_restores_look() {
    let Some(lab) = Lab::new("app") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    let (_, beat) = start(h1, h1, "beat");
    let (_, pulse) = start(h1, h1, "pulse");
    for id in ["beat", "pulse"] {
        wait_for(h1, id, "the visualization to run", |node| node["state"] == "running");
    }
    hana(h1, ["set", "beat", "zoom=0.625", "hue=-0.25"]).ok();
    hana(h1, ["set", "pulse", "zoom=-0.375"]).ok();
    let desk = AppWindow::open(h2);
    eventually(OPENING, "the running visualizations to be shown", || desk.count(WELL) > 300);
    assert_eq!(desk.count(TROUBLE), 0, "no failure is shown yet");
    desk.picture("app.png");

    // After a freeze, a toast appears, and R restarts the visualization with its look.
    h1.kill(Signal::STOP, beat);
    eventually(SOON, "a toast", || desk.count(TOAST) > 10_000 && desk.count(TROUBLE) > 300);
    desk.picture("app_freeze.png");
    let mut again = None;
    desk.press_until(&[Key::R], "a new instance with the same look", || {
        let nodes = nodes(h1);
        again = node(&nodes, "beat")
            .filter(|node| node["state"] == "running" && pid(node) != beat && zoom(node) == 0.625)
            .map(pid);
        again.is_some()
    });
    eventually(SOON, "the toast to disappear", || {
        desk.count(TOAST) == 0 && desk.count(TROUBLE) == 0
    });

    // After a crash that stays down, a toast appears again, and the same key restarts the visualization.
    h1.kill(Signal::KILL, pulse);
    wait_for(h1, "pulse", "the crash to be reported", |node| node["state"] == "crashed");
    eventually(SOON, "a toast", || desk.count(TOAST) > 10_000);
    desk.picture("app_crash.png");
    desk.press_until(&[Key::R], "the visualization to run with the same look", || {
        let nodes = nodes(h1);
        node(&nodes, "pulse").is_some_and(|node| node["state"] == "running" && zoom(node) == -0.375)
    });
    eventually(SOON, "the toast to disappear", || desk.count(TOAST) == 0);

    // After a crash, a program that is restarted automatically needs no key.
    h1.kill(Signal::KILL, again.unwrap());
    wait_for(h1, "beat", "the visualization to run again", |node| {
        node["state"] == "running" && node["restarts"] == 1 && zoom(node) == 0.625
    });
}

#[test]
fn click_switches_toggle_and_choice_and_colour_is_shown() {
    let Some(lab) = Lab::new("app-kinds") else { return };
    let show = Show::with_catalogue(&lab, &["h1"], CATALOGUE);
    let h1 = show.host("h1");
    let stage = Screen::new(640, 360);
    let mut command = h1.command("events");
    command.env("DISPLAY", stage.display());
    let _notice = h1.spawn(command);
    let parameter = |name: &str| {
        let nodes = nodes(h1);
        node(&nodes, "events").map_or(f64::NAN, |of| of["parameters"][name].as_f64().unwrap())
    };
    wait_for(h1, "events", "the visualization to run", |node| node["state"] == "running");
    hana(h1, ["set", "events", "tint=#ff8800", "course=to_and_fro", "speed=50"]).ok();
    let desk = AppWindow::open(h1);
    // The sliders are in the order of the names: course, hue, lit, speed, and red and green of the colour.
    let sliders = eventually(OPENING, "six sliders that show a value", || {
        let sliders = desk.sliders();
        if sliders.len() == 6 { Ok(sliders) } else { Err(sliders) }
    });
    eventually(SOON, "the colour", || desk.count([255, 136, 0]) > 1000);
    desk.picture("app_kinds.png");

    let click = |(x, y): (i16, i16)| desk.person.drag((x, y), (x, y));
    for wanted in [2.0, 0.0, 1.0] {
        // The filled part follows the choice. The track is as wide as those of the other sliders.
        click((sliders[1].0, sliders[0].1));
        eventually(SOON, "the next choice", || parameter("course") == wanted);
        eventually(SOON, "the window to follow", || desk.sliders().len() == 6);
    }
    click(sliders[2]);
    eventually(SOON, "the toggle to be off", || parameter("lit") == 0.0);
    eventually(SOON, "the window to follow", || desk.sliders().len() == 5);
    click(sliders[2]);
    eventually(SOON, "the toggle to be on", || parameter("lit") == 1.0);
}

#[test]
fn window_asks_before_a_stop_and_blacks_out_all_at_once() {
    let Some(lab) = Lab::new("app-asks") else { return };
    let show = Show::with_catalogue(&lab, &["h1"], CATALOGUE);
    let h1 = show.host("h1");
    let (_, beat) = start(h1, h1, "beat");
    start(h1, h1, "pulse");
    let desk = AppWindow::open(h1);
    eventually(OPENING, "the running visualizations to be shown", || desk.count(WELL) > 300);

    desk.person.press(Key::Shift);
    desk.press_until(&[Key::B], "both to be blacked out", || {
        let nodes = nodes(h1);
        ["beat", "pulse"]
            .iter()
            .all(|id| node(&nodes, id).is_some_and(|node| node["override"] == "blackout"))
    });
    desk.press_until(&[Key::U], "both to be resumed", || {
        let nodes = nodes(h1);
        ["beat", "pulse"]
            .iter()
            .all(|id| node(&nodes, id).is_some_and(|node| node["override"].is_null()))
    });
    desk.person.release(Key::Shift);

    // The lowest slider is that of the last parameter by name, at the middle of its range. It is dragged to the left.
    let (y, left, value) = eventually(SOON, "sliders", || desk.lowest_slider());
    desk.person.drag((value, y), (left + (value - left) / 2, y));
    wait_for(h1, "beat", "zoom to be half-way down", |node| (zoom(node) + 0.5).abs() < 0.1);

    // The first visualization is selected until an operator selects another.
    for key in [Key::S, Key::N] {
        desk.person.press(key);
        desk.person.release(key);
    }
    desk.press_until(&[Key::S, Key::Y], "the visualization to be stopped", || {
        let nodes = nodes(h1);
        node(&nodes, "beat").is_some_and(|node| node["state"] == "stopped")
    });
    let left = h1.processes().into_iter().filter(|process| process.pid == beat).count();
    assert_eq!(left, 0, "the process has ended");
}
