//! Changes that wait for a beat, and parameters that move with it.
// 2^53 microseconds are 285 years.

use std::cell::Cell;
use std::time::Duration;

use hana_lab::show::{Lines, Show, figure, hana, node, nodes, start};
use hana_lab::{Host, Lab, Screen, Signal, eventually};
use serde_json::Value;

/// The time limit for steps without a promised time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(20);
/// The time limit from the launch of a program that renders in software to its first frames.
const OPENING: Duration = Duration::from_mins(1);
/// The tempo, at which a bar of four beats takes a second.
const BPM: f64 = 240.0;
const US_PER_BEAT: f64 = 60e6 / BPM;

fn wait_for(
    host: &Host,
    id: &str,
    what: &str,
    mut is_expected: impl FnMut(&Value) -> bool,
) -> Value {
    eventually(SOON, what, || {
        let nodes = nodes(host);
        match node(&nodes, id) {
            Some(node) if is_expected(node) => Ok(node.clone()),
            _ => Err(nodes),
        }
    })
}

/// A catalogue with `beat_flash` at two frame rates, which apply with and without a window.
const FLASHES: &str = r#"
[visualizations.flash-60]
program = "beat_flash"
env     = { HANA_FPS = "60" }

[visualizations.flash-30]
program = "beat_flash"
env     = { HANA_FPS = "30" }

[visualizations.pulse]
program = "pulse"
"#;

/// A change that a program presented.
///
/// It contains the time at which the frame was handed to the screen, in microseconds of the machine's clock, the beat
/// at that time, the longest gap between two recent frames, and the spread of their delays.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at_us: f64,
    beat: f64,
    gap_us: f64,
    spread_us: f64,
}

/// Reads the changes from the log of `beat_flash`.
fn seen(host: &Host, id: &str) -> Vec<Seen> {
    // On a busy machine, the query may fail. The caller repeats it.
    let log = hana(host, ["logs", id]).stdout;
    let of = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1)?.parse::<f64>().ok()
        };
        Some(Seen {
            at_us: after("at_us")?,
            beat: after("beat")?,
            gap_us: after("gap_us")?,
            spread_us: after("spread_us")?,
        })
    };
    log.lines().filter_map(of).collect()
}

/// Returns the current beat on a host.
fn beat_now(host: &Host) -> f64 {
    hana(host, ["tempo", "--json"]).ok().json()["beat"].as_f64().unwrap()
}

/// Waits until all hosts count the same beats.
fn wait_for_one_beat(show: &Show) {
    let first = &show.hosts()[0];
    hana(first, ["tempo", &BPM.to_string()]).ok();
    eventually(SOON, "one tempo and one count of beats on all hosts", || {
        let seen: Vec<(f64, Value)> = show
            .hosts()
            .iter()
            .map(|host| {
                let timeline = hana(host, ["tempo", "--json"]).ok().json();
                (timeline["beat"].as_f64().unwrap(), timeline)
            })
            .collect();
        // The hosts are queried one after another, each in less than a second.
        let is_one = seen.iter().all(|(_, timeline)| timeline["bpm"].as_f64() == Some(BPM))
            && seen.is_sorted_by(|(one, _), (next, _)| one < next && next - one < 8.0);
        if is_one { Ok(()) } else { Err(seen) }
    });
}

/// A flashing program on a host, and the bars of its scheduled changes.
struct Flashing<'a> {
    host: &'a Host,
    id: String,
    frame_us: f64,
    bars: Vec<f64>,
}

/// A change on a bar, with its delay after the bar, and the time of the bar by the clock that all hosts share.
struct Judged {
    bar: f64,
    after_us: f64,
    bar_us: f64,
}

impl<'a> Flashing<'a> {
    fn start(host: &'a Host, program: &str, fps: f64) -> Self {
        let id = format!("{program}-{}", host.name());
        hana(host, ["start", program, "--id", &id]).ok();
        Self { host, id, frame_us: 1e6 / fps, bars: vec![] }
    }

    /// Schedules a change on a bar. Returns whether it waits for the bar; a change that is too late is applied at
    /// once.
    fn change(&mut self, lit: &str, bar: f64) -> bool {
        let at = format!("beat:{bar}");
        let reply = hana(self.host, ["set", &self.id, lit, "--at", &at, "--json"]).ok().json();
        self.bars.push(bar);
        reply["waits_for"].as_f64() == Some(bar)
    }

    /// Returns the changes that were scheduled in time and during which the machine kept up with its frames.
    ///
    /// Fails if one of them was presented more than a frame away from its bar.
    fn judge(&self, in_time: &[f64]) -> Vec<Judged> {
        let seen = eventually(SOON * 2, "all changes to be seen", || {
            let seen = seen(self.host, &self.id);
            if seen.len() >= self.bars.len() { Ok(seen) } else { Err(seen) }
        });
        assert_eq!(seen.len(), self.bars.len(), "each one once: {seen:?}");
        let mut judged = vec![];
        for (seen, bar) in seen.iter().zip(&self.bars) {
            let kept_up = seen.gap_us < self.frame_us * 1.5 && seen.spread_us < self.frame_us / 2.0;
            if !kept_up || !in_time.contains(bar) {
                continue;
            }
            let after_us = (seen.beat - bar) * US_PER_BEAT;
            assert!(
                after_us.abs() <= self.frame_us,
                "{}: bar {bar} was shown {after_us:.0} us after it, with frames of {:.0} us: {seen:?}",
                self.id,
                self.frame_us
            );
            judged.push(Judged { bar: *bar, after_us, bar_us: seen.at_us - after_us });
        }
        judged
    }
}

/// Makes `beat_flash` change on the same bars on all hosts, and checks when each change was presented.
///
/// Stops after `rounds` rounds, or as soon as there are `enough` changes during which the machine was not otherwise
/// busy. Returns whether there were enough.
fn flash_on_bars(show: &Show, programs: &[(&str, f64)], enough: usize, rounds: usize) -> bool {
    let mut all: Vec<Flashing> = programs
        .iter()
        .flat_map(|(name, fps)| show.hosts().iter().map(|host| Flashing::start(host, name, *fps)))
        .collect();
    for flashing in &all {
        eventually(OPENING, "the visualization to draw", || {
            let nodes = nodes(flashing.host);
            let frame = node(&nodes, &flashing.id).and_then(|node| node["frame"].as_u64());
            if frame.is_some_and(|frame| frame > 60) { Ok(()) } else { Err(nodes) }
        });
    }
    // The bar is far enough ahead for all commands to arrive; on a busy machine, it is moved further ahead.
    let mut ahead = 24.0;
    let mut in_time = vec![];
    let mut was_enough = false;
    for _ in 0..rounds {
        let bar = ((beat_now(&show.hosts()[0]) + ahead) / 4.0).ceil() * 4.0;
        let waits = all.iter_mut().fold(true, |waits, flashing| {
            let on = flashing.change("lit=1", bar);
            flashing.change("lit=0", bar + 4.0) && on && waits
        });
        if waits {
            in_time.extend([bar, bar + 4.0]);
        } else {
            ahead *= 2.0;
        }
        let judged: Vec<Vec<Judged>> = all.iter().map(|of| of.judge(&in_time)).collect();
        was_enough = judged.iter().all(|of| of.len() >= enough);
        if was_enough {
            report(show, programs, &judged);
            break;
        }
    }
    for flashing in &all {
        hana(flashing.host, ["stop", &flashing.id]).ok();
    }
    was_enough
}

/// Prints the measured times, and checks that the bars were at the same time on all hosts.
fn report(show: &Show, programs: &[(&str, f64)], judged: &[Vec<Judged>]) {
    for ((_, fps), of_hosts) in programs.iter().zip(judged.chunks(show.hosts().len())) {
        let mut off: Vec<f64> = of_hosts.iter().flatten().map(|of| of.after_us / 1e3).collect();
        off.sort_by(f64::total_cmp);
        let mut apart = 0.0_f64;
        for one in of_hosts.iter().flatten() {
            let same = of_hosts.iter().flatten().filter(|other| other.bar == one.bar);
            apart = same.fold(apart, |apart, other| apart.max((other.bar_us - one.bar_us).abs()));
        }
        figure(&format!(
            "{} flashes on a bar at {fps} fps on {} hosts: shown from {:+.1} to {:+.1} ms after it, in the middle {:+.1} ms; the hosts' bars at most {:.2} ms apart",
            off.len(),
            of_hosts.len(),
            off[0],
            off[off.len() - 1],
            off[off.len() / 2],
            apart / 1e3
        ));
        assert!(apart < 1e6 / fps, "the hosts' bars are {apart:.0} us apart");
    }
}

/// Starts four hosts that count the same beats; the first `windows` of them have a screen.
fn four_hosts(lab: &Lab, windows: usize, screen: Option<&Screen>) -> Show {
    let directory = lab.directory().join("config");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("visualizations.toml"), FLASHES).unwrap();
    let host = Cell::new(0);
    let show = Show::start(lab, &["h1", "h2", "h3", "h4"], |command| {
        command.env("HANA_CONFIG", &directory);
        match screen.filter(|_| host.get() < windows) {
            Some(screen) => command.env("DISPLAY", screen.display()),
            None => command.env("HANA_HEADLESS", "1"),
        };
        host.set(host.get() + 1);
    });
    wait_for_one_beat(&show);
    show
}

#[test]
fn flash_on_a_bar_is_shown_within_a_frame_on_four_hosts() {
    let Some(lab) = Lab::new("beat_flash") else { return };
    let show = four_hosts(&lab, 0, None);
    let programs = [("flash-60", 60.0), ("flash-30", 30.0)];
    assert!(flash_on_bars(&show, &programs, 3, 8), "the machine was too busy to be judged");
}

/// Only one of the four hosts has a window, since rendering in software by an unoptimized program takes more than
/// half of a core.
#[test]
fn flash_on_a_bar_is_shown_within_a_frame_in_a_window() {
    let Some(lab) = Lab::new("flash-window") else { return };
    let screen = Screen::new(640, 360);
    let show = four_hosts(&lab, 1, Some(&screen));
    for (program, fps) in [("flash-30", 30.0), ("flash-60", 60.0)] {
        if !flash_on_bars(&show, &[(program, fps)], 2, 3) {
            figure(&format!("a window at {fps} fps: this machine was too busy to be judged"));
        }
    }
}

#[test]
fn late_change_is_applied_at_once_and_counted() {
    let Some(lab) = Lab::new("too-late") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    start(h1, h1, "pulse");
    wait_for(h2, "pulse", "the visualization to run", |node| node["state"] == "running");
    let printed =
        hana(h2, ["set", "pulse", "zoom=0.5", "hue=-0.5", "--at", "beat:-100"]).ok().stdout;
    assert_eq!(
        printed.trim(),
        "'pulse' has zoom +0.5, hue -0.5: at once, since beat -100 had passed"
    );
    wait_for(h2, "pulse", "the change to be applied and counted", |pulse| {
        pulse["parameters"]["zoom"] == 0.5
            && pulse["parameters"]["hue"] == -0.5
            && pulse["counters"]["overdue"] == 1
    });
    let list = hana(h2, ["nodes"]).ok().stdout;
    assert!(list.contains("changes too late for their beat: 1"), "{list}");
    // The change waits for the next bar.
    let printed = hana(h2, ["set", "pulse", "zoom=-0.5", "--at", "next-bar", "--json"]).ok().json();
    let beat = printed["waits_for"].as_f64().unwrap();
    wait_for(h2, "pulse", "the bar", |pulse| pulse["parameters"]["zoom"] == -0.5);
    assert!(beat_now(h1) >= beat, "before its bar");
    let list = wait_for(h2, "pulse", "the visualization to be listed", |_| true);
    assert_eq!(list["counters"]["overdue"], 1);
}

#[test]
fn invalid_modulator_is_refused_with_the_right_syntax() {
    let Some(lab) = Lab::new("modulators") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    start(h1, h1, "pulse");
    wait_for(h1, "pulse", "the visualization to run", |node| node["state"] == "running");
    let printed = hana(h1, ["set", "pulse", "zoom=lfo:sine:1bar", "hue=0.25"]).ok().stdout;
    assert_eq!(printed.trim(), "'pulse' has zoom lfo:sine:1bar, hue +0.25");
    wait_for(h1, "pulse", "the modulator to be listed", |_| {
        hana(h1, ["nodes"]).ok().stdout.contains("zoom lfo:sine:1bar")
    });
    for (word, error) in [
        ("zoom=lfo:sin:1bar", "waves are sine, triangle, saw, square, sample-and-hold"),
        ("zoom=lfo:sine:0bars", "'period' is"),
        ("zoom=env:1beat:speed=1", "there are at, attack, decay"),
        ("gone=lfo:sine", "there is no parameter 'gone'; there are zoom"),
    ] {
        let failed = hana(h1, ["set", "pulse", word]);
        assert_eq!(failed.code(), Some(1), "{failed:?}");
        assert!(failed.stderr.contains(error), "{}", failed.stderr);
    }
    let wrong = hana(h1, ["set", "pulse", "zoom=0", "--at", "bar"]);
    assert_eq!(wrong.code(), Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("next-bar, or a beat such as beat:128"), "{}", wrong.stderr);
    // Setting a value stops the modulator.
    hana(h1, ["set", "pulse", "zoom=0.125"]).ok();
    wait_for(h1, "pulse", "the parameter to stand still", |pulse| {
        pulse["parameters"]["zoom"] == 0.125
    });
    assert!(!hana(h1, ["nodes"]).ok().stdout.contains("lfo:"));
}

/// A saw over eight bars, whose value determines the position to less than a millisecond.
const SAW: &str = "zoom=lfo:saw:8bars";
const SAW_US: f64 = 32.0 * US_PER_BEAT;

/// Returns the phase of the saw in several looks, in microseconds, relative to the time of each look.
fn phases(lines: &mut Lines, id: &str, looks: usize) -> Vec<f64> {
    let key = format!("hana/{id}/look");
    let mut phases = vec![];
    let mut last = 0;
    while phases.len() < looks {
        let (_, line) = lines.wait_for(SOON, "a look with a modulator", |line| {
            line["key"] == key.as_str()
                && line["value"]["modulators"]["zoom"].is_object()
                && line["at"].as_i64().is_some_and(|at| at > last)
        });
        last = line["at"].as_i64().unwrap();
        let height = line["value"]["parameters"]["zoom"].as_f64().unwrap();
        phases.push(f64::midpoint(height, 1.0).mul_add(SAW_US, -(last as f64)).rem_euclid(SAW_US));
    }
    phases
}

/// Returns the distance of two phases, across the end of the saw if that is shorter.
fn apart(one: f64, other: f64) -> f64 {
    let apart = (one - other).rem_euclid(SAW_US);
    apart.min(SAW_US - apart)
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// Returns the phase that is closest to all others, and the median distance of the phases from it.
fn middle(phases: &[f64]) -> (f64, f64) {
    let spread = |from: f64| median(phases.iter().map(|phase| apart(*phase, from)).collect());
    phases.iter().map(|phase| (*phase, spread(*phase))).min_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

#[test]
fn modulator_has_the_same_phase_on_two_hosts_and_after_a_crash() {
    let Some(lab) = Lab::new("same-place") else { return };
    let show = Show::of(&lab, &["h1", "h2"]);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    wait_for_one_beat(&show);
    let mut pid = 0;
    for host in [h1, h2] {
        let id = format!("pulse-{}", host.name());
        let started = hana(host, ["start", "pulse", "--id", &id, "--json"]).ok().json();
        pid = started["pid"].as_i64().unwrap();
        wait_for(h1, &id, "the visualization to run", |node| node["state"] == "running");
        hana(h1, ["set", &id, SAW]).ok();
    }
    let mut lines = Lines::of_messages(h1, &["h1"]);
    let (one, spread) = middle(&phases(&mut lines, "pulse-h1", 20));
    let (other, _) = middle(&phases(&mut lines, "pulse-h2", 20));
    h2.kill(Signal::KILL, pid.try_into().unwrap());
    wait_for(h1, "pulse-h2", "a new instance", |node| {
        node["state"] == "running" && node["pid"].as_i64().is_some_and(|now| now != pid)
    });
    let (again, _) = middle(&phases(&mut lines, "pulse-h2", 20));
    figure(&format!(
        "a modulator on two hosts is {:.2} ms apart, and {:.2} ms off after a crash; the median error of a look is {:.2} ms",
        apart(one, other) / 1e3,
        apart(other, again) / 1e3,
        spread / 1e3
    ));
    // The limit is one frame. An unrelated phase would be anywhere in the eight seconds.
    assert!(apart(one, other) < 1e6 / 60.0);
    assert!(apart(other, again) < 1e6 / 60.0);
}

#[test]
fn start_at_the_next_bar_waits_for_it() {
    let Some(lab) = Lab::new("start-at") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    let before = beat_now(h1);
    let started = hana(h1, ["start", "pulse", "--at", "next-bar", "--json"]).ok().json();
    assert_eq!(started["node"], "pulse");
    assert!((beat_now(h1) / 4.0).floor() > (before / 4.0).floor(), "before its bar");
    wait_for(h1, "pulse", "the visualization to run", |node| node["state"] == "running");
    // A start that is impossible is refused at once, not at its beat.
    let refused = hana(h1, ["start", "gone", "--at", "beat:100000"]);
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("gone"), "{}", refused.stderr);
}
