//! The connection of a Bevy program to the mesh, in a real window.
//!
//! Each event is caused in a realistic way. The tests check the event, the notice on screen, and that the frame rate
//! is not affected.

use std::process::Command;
use std::time::{Duration, Instant};

use hana_lab::show::{Lines, figure, hana, is, node, nodes, start_daemon};
use hana_lab::{Host, Image, Key, Lab, Person, Screen, Signal, eventually, foreign, project_root};
use serde_json::Value;

/// The time limit for immediate effects, on a machine where other programs render in software.
const SOON: Duration = Duration::from_secs(20);
/// The time limit for a program that draws to show its first picture.
const OPENING: Duration = Duration::from_mins(1);
/// The longest accepted frame time on a machine on which several programs render in software.
///
/// Waiting for the network would take longer.
const LONGEST_FRAME: Duration = Duration::from_millis(400);

/// The program `events` in a window on a separate screen, and the person who uses it.
struct Seat {
    screen: Screen,
    person: Person,
    lines: Lines,
}

impl Seat {
    fn open(host: &Host, configure: impl FnOnce(&mut Command)) -> Self {
        let screen = Screen::new(640, 360);
        let mut command = host.command("events");
        command.env("DISPLAY", screen.display());
        configure(&mut command);
        let lines = Lines::of(host.spawn(command));
        eventually(OPENING, "the window", || screen.windows().iter().any(|w| w.title == "events"));
        let person = Person::at(&screen);
        person.choose("events");
        Self { screen, person, lines }
    }

    #[track_caller]
    fn event(&mut self, event: &str, is_expected: impl Fn(&Value) -> bool) -> (Instant, Value) {
        let (at, line) = self.lines.wait_for(SOON, &format!("the event {event}"), |line| {
            line["event"] == event && is_expected(&line["of"])
        });
        (at, line["of"].clone())
    }

    #[track_caller]
    fn connected(&mut self, attach_mode: &str) -> Instant {
        self.event("connected", |of| of["attach_mode"] == attach_mode && of["node"] == "events").0
    }

    /// Presses a key until the program reacts, since a window takes a moment to get the keyboard focus.
    #[track_caller]
    fn press_until(&self, key: Key, what: &str, mut done: impl FnMut(&str) -> bool) {
        let before = self.lines.running().stdout().len();
        let mut looks = 0;
        eventually(SOON, what, || {
            if looks % 200 == 0 {
                self.person.press(key);
                self.person.release(key);
            }
            looks += 1;
            done(&self.lines.running().stdout()[before..])
        });
    }

    /// Waits until a notice is visible. If `HANA_PICTURES` is set, for example `HANA_PICTURES=docs`, saves a
    /// screenshot for the documentation.
    #[track_caller]
    fn await_notice(&self, picture: &str) {
        eventually(SOON, "a notice at the bottom left", || notice(&self.screen.screenshot()));
        if let Some(pictures) = std::env::var_os("HANA_PICTURES") {
            self.screen.screenshot().save_png(project_root().join(pictures).join(picture));
        }
    }

    #[track_caller]
    fn await_no_notice(&self) {
        eventually(SOON, "the notice to disappear", || !notice(&self.screen.screenshot()));
    }

    /// Returns the number of `frames` lines so far, the number of frames and the longest frame time.
    ///
    /// The first `skip` lines are left out of the last two.
    fn frames(&self, skip: usize) -> (usize, u64, Duration) {
        let text = self.lines.running().stdout();
        let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
        let reports: Vec<Value> = whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|line: &Value| line["event"] == "frames")
            .collect();
        let of = |line: &Value, what: &str| line["of"][what].as_u64().unwrap();
        let count = reports.iter().skip(skip).map(|line| of(line, "count")).sum();
        let longest = reports.iter().skip(skip).map(|line| of(line, "longest_ms")).max();
        (reports.len(), count, Duration::from_millis(longest.unwrap_or_default()))
    }
}

/// Returns whether there is text at the bottom left: many pixels that are darker than the background, and bright ones
/// among them.
fn notice(picture: &Image) -> bool {
    let corner = picture.crop(8, picture.height() - 32, 200, 24);
    let pixels = || (0..corner.height()).flat_map(|y| corner.row(y).iter());
    let dark = pixels().filter(|pixel| pixel.iter().all(|part| *part < 60)).count();
    let bright = pixels().filter(|pixel| pixel.iter().all(|part| *part > 150)).count();
    dark > 1000 && bright > 100
}

#[track_caller]
fn puts(host: &Host, key: &str, value: &str) {
    let mut command = host.command(foreign::zenoh());
    command.args(["--mode", "client", "--connect", "tcp/127.0.0.1:7447"]);
    command.args(["put", "-k", key, "-v", value]);
    host.run_within(Duration::from_secs(30), command).ok();
}

#[test]
fn killed_daemon_raises_event_and_notice_and_delays_no_frame() {
    let Some(lab) = Lab::new("daemon-lost") else { return };
    let h1 = lab.host("h1");
    let mut daemon = start_daemon(&h1);
    let mut seat = Seat::open(&h1, |_| {});
    seat.connected("ViaDaemon");
    eventually(SOON, "the visualization to run", || is(&nodes(&h1), "events", "running"));
    seat.await_no_notice();
    // The first frames compile shaders.
    seat.event("frames", |of| of["longest_ms"].as_u64().is_some_and(|longest| longest < 100));

    let (so_far, ..) = seat.frames(0);
    let killed = Instant::now();
    daemon.kill(Signal::KILL);
    let (lost, _) = seat.event("daemon_lost", |_| true);
    figure(&format!(
        "a Bevy program has the event {} ms after its daemon was killed (target: 100)",
        lost.duration_since(killed).as_millis()
    ));
    seat.await_notice("notice.png");
    let without = seat.connected("Peer");
    figure(&format!(
        "it is on the mesh without its daemon {} ms after that",
        without.duration_since(lost).as_millis()
    ));
    seat.await_no_notice();

    daemon.wait(SOON);
    let _again = start_daemon(&h1);
    seat.connected("ViaDaemon");
    eventually(SOON, "the visualization to run", || is(&nodes(&h1), "events", "running"));
    let (_, frames, longest) = seat.frames(so_far);
    figure(&format!(
        "{frames} frames meanwhile, {:.0} a second, the longest {} ms",
        f64::from(u32::try_from(frames).unwrap()) / killed.elapsed().as_secs_f64(),
        longest.as_millis()
    ));
    assert!(longest < LONGEST_FRAME, "no frame waits for the network: {longest:?}");

    // Its parameters can still be played, and key presses make it leave and join again.
    hana(&h1, ["set", "events", "hue=0.5"]).ok();
    seat.press_until(Key::L, "the program to leave", |said| said.contains("\"by\":\"LocalLeave\""));
    seat.event("disconnected", |of| of["by"] == "LocalLeave");
    seat.press_until(Key::J, "the program to join again", |said| said.contains("\"connected\""));
    seat.connected("ViaDaemon");
    eventually(SOON, "the visualization to be played again", || {
        let played = hana(&h1, ["set", "events", "hue=-0.5"]);
        if played.status.success() { Ok(()) } else { Err(played) }
    });
    seat.await_no_notice();
}

#[test]
fn bad_messages_raise_events_with_key_sender_and_field() {
    let Some(lab) = Lab::new("message-events") else { return };
    let h1 = lab.host("h1");
    let _daemon = start_daemon(&h1);
    let mut seat = Seat::open(&h1, |_| {});
    seat.connected("ViaDaemon");
    eventually(SOON, "the visualization to run", || is(&nodes(&h1), "events", "running"));

    // A foreign program publishes garbage, and a field of the wrong type.
    puts(&h1, "hana/guest/topic/knock", "garbage");
    let (_, of) = seat.event("decode_failed", |_| true);
    assert_eq!(of["key"], "hana/guest/topic/knock");
    assert_eq!(
        (&of["message"], &of["field"], &of["sender"]),
        (&"Knock".into(), &Value::Null, &Value::Null)
    );
    seat.await_notice("notice_message.png");
    puts(&h1, "hana/guest/topic/knock", r#"{"number": "many"}"#);
    let (_, of) = seat.event("decode_failed", |of| of["field"] == "number");
    assert_eq!(of["key"], "hana/guest/topic/knock");
    puts(&h1, "hana/events/modulation/hue", "7.5");
    let (_, of) = seat.event("message_refused", |_| true);
    assert_eq!(of["key"], "hana/events/modulation/hue");
    assert!(of["problem"].as_str().unwrap().contains("'hue' takes values from -1 to 1"), "{of}");
    puts(&h1, "hana/guest/topic/knock", r#"{"number": 7}"#);
    seat.event("knock", |of| of["number"] == 7);

    // This program has another version of the message type.
    let _thrower = h1.spawn(h1.command("spark_thrower"));
    let (_, of) = seat.event("peer_incompatible", |_| true);
    assert_eq!(of["sender"], "spark-thrower");
    assert!(of["text"].as_str().unwrap().contains("reads energy as a text"), "{of}");
    seat.await_notice("notice_incompatible.png");

    // The program sends more than the network accepts.
    seat.press_until(Key::F, "the flood to be sent", |said| said.contains("\"flood\""));
    let (_, of) = seat.event("queue_full", |_| true);
    assert_eq!(of["key"], "hana/events/topic/knock");
    assert!(of["count"].as_u64().unwrap() >= 1, "{of}");

    // The program gets more than it reads: while it hangs, more messages arrive than its inbox can hold.
    let flood = |host: &Host| {
        let mut command = host.command(foreign::python());
        command.arg(foreign::script("knocks.py")).args(["tcp/127.0.0.1:7447", "6000"]);
        host.spawn(command)
    };
    let knocks = flood(&h1);
    eventually(SOON, "the flooding program to be connected", || knocks.stdout().contains("ready"));
    seat.press_until(Key::H, "the program to hang", |said| said.contains("\"hang\""));
    h1.kill(Signal::USR1, knocks.pid());
    let (_, of) = seat.event("message_dropped", |of| {
        of["queue"] == "inbox" && of["key"] == "hana/guest/topic/knock"
    });
    assert!(of["count"].as_u64().unwrap() > 100, "{of}");
    seat.event("knock", |of| of["number"] == 5999);
    seat.await_notice("notice_dropped.png");
    seat.await_no_notice();
}

#[test]
fn taken_id_raises_an_event_and_notice_with_its_owner() {
    let Some(lab) = Lab::new("id-taken") else { return };
    let h1 = lab.host("h1");
    let _daemon = start_daemon(&h1);
    let mut command = h1.command("pulse");
    command.env("HANA_NODE", "events");
    let mut first = h1.spawn(command);
    eventually(SOON, "the first to run", || is(&nodes(&h1), "events", "running"));

    let mut seat = Seat::open(&h1, |_| {});
    let (_, of) = seat.event("join_failed", |_| true);
    assert_eq!(of["tries_again"], false);
    assert!(of["reason"].as_str().unwrap().contains("HANA_NODE"), "{of}");
    let (_, of) = seat.event("id_taken", |_| true);
    assert_eq!(of["node"], "events");
    assert_eq!((&of["holder"][0], &of["holder"][1]), (&"h1".into(), &first.pid().into()));
    seat.await_notice("notice_id_taken.png");
    let (_, frames, _) = seat.frames(0);
    assert!(frames > 0, "the program draws");

    first.kill(Signal::TERM);
    first.wait(SOON);
    seat.press_until(Key::J, "the program to join", |said| said.contains("\"connected\""));
    seat.connected("ViaDaemon");
    seat.await_no_notice();
}

#[test]
fn program_started_without_network_draws_and_joins_later() {
    let Some(lab) = Lab::new("no-network") else { return };
    let ip = |host: &Host, words: &str| {
        host.run(std::iter::once("ip").chain(words.split_whitespace())).ok();
    };
    let (h1, h2) = (lab.host("h1"), lab.host("h2"));
    let _daemon = start_daemon(&h2);
    // The host does not even have a loopback interface.
    ip(&h1, "link set eth0 down");
    ip(&h1, "address flush dev eth0");
    ip(&h1, "link set lo down");
    let mut seat = Seat::open(&h1, |_| {});
    seat.await_notice("notice_no_network.png");
    let (_, frames, _) = seat.frames(0);
    assert!(frames > 0, "the program draws");

    ip(&h1, "link set lo up");
    ip(&h1, "link set eth0 up");
    ip(&h1, &format!("address add {}/24 broadcast + dev eth0", h1.address()));
    ip(&h1, "route add 224.0.0.0/4 dev eth0");
    let there = Instant::now();
    let connected = seat.connected("Peer");
    let mut app = Lines::of_nodes(&h2);
    let (seen, _) = app.wait_for_nodes(SOON, "the visualization to be listed", |nodes| {
        is(nodes, "events", "running")
    });
    figure(&format!(
        "a program started without network is on the mesh {} ms after there is one, and listed after {} ms",
        connected.saturating_duration_since(there).as_millis(),
        seen.saturating_duration_since(there).as_millis()
    ));
    hana(&h2, ["set", "events", "hue=0.5"]).ok();
    seat.await_no_notice();

    // The network is lost again.
    h1.unplug();
    seat.event("disconnected", |of| of["by"] == "NoNetwork");
    seat.await_notice("notice_unplugged.png");
    h1.plug();
    seat.connected("Peer");
    seat.await_no_notice();
}

/// Counts the pixels of the screen with this colour.
fn count(screen: &Screen, colour: [u8; 3]) -> usize {
    let picture = screen.screenshot();
    let is_near = |pixel: &&[u8; 3]| pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 2);
    (0..picture.height()).map(|y| picture.row(y).iter().filter(is_near).count()).sum()
}

#[test]
fn toggle_choice_and_colour_set_by_word_show_in_the_window() {
    let Some(lab) = Lab::new("kinds") else { return };
    let h1 = lab.host("h1");
    let _daemon = start_daemon(&h1);
    let mut seat = Seat::open(&h1, |_| {});
    seat.connected("ViaDaemon");
    eventually(SOON, "the visualization to run", || is(&nodes(&h1), "events", "running"));
    eventually(SOON, "a white bar", || count(&seat.screen, [255, 255, 255]) > 2000);

    let output = hana(&h1, ["set", "events", "tint=#ff8800", "course=still", "speed=60"]).ok();
    assert!(output.stdout.contains("tint #ff8800, course still, speed +60"), "{output}");
    eventually(SOON, "an orange bar", || count(&seat.screen, [255, 136, 0]) > 2000);
    let table = eventually(SOON, "the words in the list", || {
        let table = hana(&h1, ["nodes"]).ok().stdout;
        if table.contains("course still") { Ok(table) } else { Err(table) }
    });
    assert!(table.contains("lit on") && table.contains("tint #ff8800"), "{table}");
    // The JSON output contains numbers.
    let listed = nodes(&h1);
    let parameters = &node(&listed, "events").unwrap()["parameters"];
    assert_eq!((&parameters["course"], &parameters["tint-r"]), (&2.0.into(), &1.0.into()));

    hana(&h1, ["set", "events", "lit=off"]).ok();
    eventually(SOON, "no bar", || count(&seat.screen, [255, 136, 0]) == 0);
    // A foreign controller plays other numbers, for which the nearest choice applies.
    puts(&h1, "hana/events/modulation/lit", "0.8");
    puts(&h1, "hana/events/modulation/tint-g", "1");
    eventually(SOON, "a yellow bar", || count(&seat.screen, [255, 255, 0]) > 2000);

    for (word, error) in [
        ("course=sideways", "'course' is one of along, to_and_fro, still, not 'sideways'"),
        ("course=3", "'course' takes 0 (along), 1 (to_and_fro), 2 (still), not 3"),
        ("lit=perhaps", "'lit' is on or off, not 'perhaps'"),
        ("tint=orange", "'tint' is a colour such as #ff8800, not 'orange'"),
        ("speed=fast", "'speed' is a number from 0 to 100, not 'fast'"),
        ("tnt=on", "there are hue, speed, lit, course, tint"),
    ] {
        let refused = hana(&h1, ["set", "events", word]);
        assert_eq!(refused.code(), Some(1), "{refused}");
        assert!(refused.stderr.contains(error), "{refused}");
    }
    let now = nodes(&h1);
    assert_eq!(
        node(&now, "events").unwrap()["parameters"]["course"],
        2.0,
        "the value is unchanged"
    );
}

#[test]
fn with_notices_off_the_window_never_shows_a_notice() {
    let Some(lab) = Lab::new("no-notices") else { return };
    let h1 = lab.host("h1");
    let daemon = start_daemon(&h1);
    let mut seat = Seat::open(&h1, |command| {
        command.env("HANA_NOTICES", "off");
    });
    seat.connected("ViaDaemon");
    daemon.kill(Signal::KILL);
    seat.event("daemon_lost", |_| true);
    let begun = Instant::now();
    while !seat.lines.running().stdout().contains(r#""Peer""#) {
        assert!(!notice(&seat.screen.screenshot()), "a notice");
        assert!(begun.elapsed() < SOON, "the program does not go on without its daemon");
    }
}
