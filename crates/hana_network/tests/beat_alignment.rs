//! The beat is the same on hosts whose clocks are hours apart and drift.
//!
//! The kernel's clock, which the hosts of a lab share, is the reference.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    missing_docs
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;
use std::{env, thread};

use hana_lab::show::{figure, hana, start_daemon_with};
use hana_lab::{Host, Lab, Running, eventually, link, project_root};
use hana_network::{Node, NodeConfig, local_us};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::TimelineSource;

/// The hosts with their clock errors: hours apart, and drifting by up to a hundred parts per million.
///
/// The last host has no daemon.
const HOSTS: [(&str, &str); 5] = [
    ("h1", ""),
    ("h2", "offset_us=3600000000,drift_ppm=100"),
    ("h3", "offset_us=-3600000000,drift_ppm=-100"),
    ("h4", "offset_us=7200000000,drift_ppm=40"),
    ("h5", "offset_us=12345678,drift_ppm=-60"),
];
/// The host without a daemon.
const WITHOUT_DAEMON: &str = "h5";
/// The interval at which each host prints its beat, in microseconds.
const EVERY_US: i64 = 10_000;
/// The duration of the measurement; every core is busy during half of it. `HANA_STEADY_S` overrides it.
const LENGTH: Duration = Duration::from_mins(1);
/// The duration of the measurement with Link.
const LENGTH_WITH_LINK: Duration = Duration::from_secs(30);
/// The maximum time for which the machine is kept busy.
const BUSY: Duration = Duration::from_mins(1);
/// The maximum accepted distance between the beats of two hosts, in microseconds, at the 99th percentile.
const WANTED_US: f64 = 1000.0;

fn kernel_us() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[test]
#[ignore = "it is run by the other test, as a process on a host of its own"]
fn probe_prints_its_beat() {
    // This is a visualization because it receives its own messages and the timeline of its host.
    let config = NodeConfig::from_environment(NodeId::new("probe").unwrap()).unwrap();
    let node =
        Node::<role::Visualization>::join(config).wait(Duration::from_secs(20)).unwrap().unwrap();
    let timeline = node.timeline();
    while timeline.now().is_none() {
        thread::sleep(Duration::from_millis(5));
    }
    let mut next = (kernel_us() / EVERY_US + 2) * EVERY_US;
    while !node.is_shutdown_requested() {
        let left = u64::try_from(next - kernel_us()).unwrap_or(0);
        thread::sleep(Duration::from_micros(left));
        let before = kernel_us();
        let here = local_us();
        let (now, said) = (timeline.at(here).unwrap(), timeline.last_published().unwrap());
        let taken = kernel_us() - before;
        // If the process was interrupted between the two readings, the time of the beat is unknown.
        if taken < 100 {
            // The beat is converted to a time that is the same on all hosts, however late this process woke up.
            let beat = now.beat_at(here) - (before - next) as f64 / now.us_per_beat();
            println!("{next} {beat:.9} {} {}", said.error_us.unwrap_or(0), said.source);
        }
        next = (kernel_us() / EVERY_US + 1) * EVERY_US;
    }
}

/// The beat that a host printed and the bound of its error, by the time of the kernel's clock.
type PrintedBeats = BTreeMap<i64, (f64, f64)>;

fn clock_of(host: &Host) -> &'static str {
    HOSTS.iter().find(|(name, _)| *name == host.name()).unwrap().1
}

fn probe(host: &Host) -> Running {
    let mut command = host.command(env::current_exe().unwrap());
    command
        .args(["--exact", "probe_prints_its_beat", "--ignored", "--nocapture"])
        .env("HANA_CLOCK", clock_of(host))
        .env("HANA_NODE", format!("probe-{}", host.name()));
    host.spawn(command)
}

fn lines(probe: &Running) -> Vec<Vec<String>> {
    let text = probe.stdout();
    // The last line may be incomplete.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let words = |line: &str| line.split(' ').map(ToString::to_string).collect::<Vec<_>>();
    whole
        .lines()
        .map(words)
        .filter(|words| words.len() == 4 && words[0].parse::<i64>().is_ok())
        .collect()
}

fn printed_beats(probe: &Running, from: i64) -> PrintedBeats {
    lines(probe)
        .iter()
        .map(|words| {
            (words[0].parse().unwrap(), (words[1].parse().unwrap(), words[2].parse().unwrap()))
        })
        .filter(|(at, _)| *at >= from)
        .collect()
}

/// Returns the distance of each host from the first one, in microseconds.
///
/// Contains each time at which all hosts printed a beat.
fn offs(all: &[PrintedBeats], us_per_beat: f64, from: i64, until: i64) -> Vec<(i64, Vec<f64>)> {
    all[0]
        .range(from..until)
        .filter_map(|(at, (beat, _))| {
            let of = |said: &PrintedBeats| Some((said.get(at)?.0 - beat) * us_per_beat);
            Some((*at, all[1..].iter().map(of).collect::<Option<Vec<f64>>>()?))
        })
        .collect()
}

/// Returns the largest distance between any two hosts at each time, sorted in ascending order.
fn spreads(offs: &[(i64, Vec<f64>)]) -> Vec<f64> {
    let spread = |offs: &Vec<f64>| {
        let with_first = || offs.iter().copied().chain([0.0]);
        with_first().fold(f64::MIN, f64::max) - with_first().fold(f64::MAX, f64::min)
    };
    let mut all: Vec<f64> = offs.iter().map(|(_, offs)| spread(offs)).collect();
    all.sort_by(f64::total_cmp);
    all
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

#[test]
fn five_hosts_have_one_beat_within_a_millisecond_at_any_clock() {
    let Some(lab) = Lab::new("beat") else { return };
    measure(&lab, TimelineSource::Mesh, LENGTH);
}

#[test]
fn five_hosts_with_four_on_link_have_one_beat_in_a_millisecond() {
    if !link::is_built() {
        return;
    }
    let Some(lab) = Lab::new("beat-by-link") else { return };
    measure(&lab, TimelineSource::Link, LENGTH_WITH_LINK);
}

fn measure(lab: &Lab, source: TimelineSource, length: Duration) {
    let hosts: Vec<Host> = HOSTS.iter().map(|(name, _)| lab.host(name)).collect();
    let link = if source == TimelineSource::Link { "on" } else { "off" };
    let _daemons: Vec<Running> = hosts
        .iter()
        .filter(|host| host.name() != WITHOUT_DAEMON)
        .map(|host| {
            start_daemon_with(host, |command| {
                command.env("HANA_CLOCK", clock_of(host)).env("HANA_LINK", link);
            })
        })
        .collect();
    hana(&hosts[0], ["tempo", "133"]).ok();
    let probes: Vec<Running> = hosts.iter().map(probe).collect();
    for (host, probe) in hosts.iter().zip(&probes).skip(1) {
        let wanted = if host.name() == WITHOUT_DAEMON { TimelineSource::Mesh } else { source };
        eventually(Duration::from_secs(30), "the probe to follow the others", || {
            let lines = lines(probe);
            let last = lines.last().map(|words| (words[2].clone(), words[3].clone()));
            match &last {
                Some((error, source))
                    if source == wanted.as_str() && (error != "0" || source == "link") =>
                {
                    Ok(())
                },
                _ => Err(last),
            }
        });
    }
    // The initial slewing is not under test.
    thread::sleep(Duration::from_secs(4));
    let configured = env::var("HANA_STEADY_S").ok().and_then(|seconds| seconds.parse().ok());
    let length = configured.map_or(length, Duration::from_secs);
    let begun = kernel_us();
    let busy = BUSY.min(length / 2);
    thread::sleep(length.saturating_sub(busy));
    let loaded = kernel_us();
    let cores = thread::available_parallelism().unwrap().get();
    let load: Vec<Running> = (0..cores * 2)
        .map(|number| {
            let host = &hosts[number % hosts.len()];
            let mut command = host.command("sh");
            command.args(["-c", "while :; do :; done"]);
            host.spawn(command)
        })
        .collect();
    thread::sleep(busy);
    let ended = kernel_us();
    drop(load);
    let all: Vec<PrintedBeats> = probes.iter().map(|probe| printed_beats(probe, begun)).collect();
    let us_per_beat = 60e6 / 133.0;
    let mut worst: f64 = 0.0;
    for (name, from, until) in
        [("nothing else to do", begun, loaded), ("every core busy twice over", loaded, ended)]
    {
        let offs = offs(&all, us_per_beat, from, until);
        let spreads = spreads(&offs);
        assert!(spreads.len() > 100, "{} moments", spreads.len());
        let outside: usize = (1..all.len())
            .map(|host| {
                let is_outside = |(at, off): &(i64, Vec<f64>)| {
                    // The tolerance of 50 µs is for the reading itself.
                    let bound = all[host][at].1;
                    bound > 0.0 && off[host - 1].abs() > bound + 50.0
                };
                offs.iter().filter(|off| is_outside(off)).count()
            })
            .sum();
        let bound: f64 = all[1..]
            .iter()
            .flat_map(|said| said.range(from..until).map(|(_, (_, error))| *error))
            .fold(0.0, f64::max);
        figure(&format!(
            "the beats of five hosts, clocks hours apart and drifting, by {source}, {name}: apart by {:.0} us p50, {:.0} us p99, {:.0} us at most, in {} moments; outside of the published bound ({bound:.0} us at most) {outside} times",
            percentile(&spreads, 50),
            percentile(&spreads, 99),
            spreads[spreads.len() - 1],
            spreads.len(),
        ));
        worst = worst.max(percentile(&spreads, 99));
    }
    draw(
        &format!("beat_alignment_by_{source}"),
        &offs(&all, us_per_beat, begun, ended),
        begun,
        loaded,
        ended,
    );
    assert!(worst < WANTED_US, "{worst} us p99");
}

/// Draws the distance of each host from the first one over time.
///
/// Saves the picture for the documentation if `HANA_PICTURES=docs` is set.
fn draw(name: &str, offs: &[(i64, Vec<f64>)], begun: i64, loaded: i64, ended: i64) {
    const COLOURS: [&str; 4] = ["#0a7d4f", "#d1481f", "#2760c4", "#8a3ab9"];
    let most =
        offs.iter().flat_map(|(_, offs)| offs).fold(100.0_f64, |most, off| most.max(off.abs()));
    let top = (most / 100.0).ceil() * 100.0;
    let x = |at: i64| ((at - begun) as f64 / (ended - begun) as f64).mul_add(740.0, 90.0);
    let y = |off: f64| (off / top).mul_add(-190.0, 250.0);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 500" font-family="sans-serif" font-size="13" fill="#333">
<rect width="860" height="500" fill="#fff"/>
<rect x="{:.1}" y="60" width="{:.1}" height="380" fill="#f3ece2"/>
<text x="90" y="26" font-size="15">How far the beat of each host is off that of h1, by the clock of the kernel ({:.0} s, 133 bpm)</text>
<text x="{:.1}" y="76" text-anchor="end">every core busy twice over</text>
"##,
        x(loaded),
        x(ended) - x(loaded),
        (ended - begun) as f64 / 1e6,
        x(ended) - 8.0,
    );
    for part in [-1.0, -0.5, 0.0, 0.5, 1.0] {
        let (off, at) = (part * top, y(part * top));
        writeln!(
            svg,
            r##"<path d="M90 {at:.1}H830" stroke="#ddd"/><text x="84" y="{:.1}" text-anchor="end">{off:.0} us</text>"##,
            at + 4.0
        )
        .unwrap();
    }
    // For each pixel and host, this draws one point: the largest distance in the pixel.
    for (host, colour) in COLOURS.iter().enumerate() {
        let mut points: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
        for (at, offs) in offs {
            let (pixel, off) = (x(*at) as i64, offs[host]);
            let point = points.entry(pixel).or_insert_with(|| (x(*at), off));
            if off.abs() > point.1.abs() {
                *point = (x(*at), off);
            }
        }
        let line = points.values().fold(String::new(), |mut line, (x, off)| {
            write!(line, "{x:.1},{:.1} ", y(*off)).unwrap();
            line
        });
        let (name, clock) = HOSTS[host + 1];
        let numbers: Vec<f64> =
            clock.split([',', '=']).filter_map(|word| word.parse().ok()).collect();
        let (seconds, ppm) = (numbers[0] / 1e6, numbers[1]);
        let daemon = if name == WITHOUT_DAEMON { ", no daemon" } else { "" };
        writeln!(
            svg,
            r#"<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-opacity="0.8"/>
<text x="{}" y="{}" fill="{colour}">{name}: clock {seconds:+.0} s off, drifting {ppm:+.0} ppm{daemon}</text>"#,
            90 + 380 * (host % 2),
            464 + 20 * (host / 2),
        )
        .unwrap();
    }
    svg += "</svg>\n";
    let directory = env::var_os("HANA_PICTURES").map_or_else(
        || PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
        |pictures| project_root().join(pictures).join("time"),
    );
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(format!("{name}.svg")), svg).unwrap();
}
