//! A visualization is suspended for five seconds while it is played a thousand times a second.
//!
//! After it resumes, it must never present a value older than the current ones. The played value is a ramp, so that
//! each value encodes its time.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::float_cmp, missing_docs)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hana_engine::playout::{BatcherSettings, ModulationReceiver};
use hana_lab::eventually;
use hana_network::{DirectLink, DirectLinkTransport, NetworkSettings, Node, NodeConfig, Publisher};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{Modulation, NodeInfo};
use hana_protocol::parameter::{Parameter, ParameterName};
use rustix::process::{Pid, Signal};

const SOON: Duration = Duration::from_secs(20);
const STOPPED: Duration = Duration::from_secs(5);
const PARAMETERS: usize = 8;
/// The additional age that a value may have on a busy machine, in seconds.
const MARGIN: f64 = 0.05;

/// Returns the seconds since the full hour.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Duration::from_nanos_u128(since.as_nanos() % 3_600_000_000_000).as_secs_f64()
}

/// Returns the value of the ramp, which climbs from -1 to 1 within each minute.
#[allow(clippy::cast_possible_truncation)]
fn ramp(at: f64) -> f32 {
    (at.rem_euclid(60.0) / 30.0 - 1.0) as f32
}

/// Returns the age of a value in seconds.
fn age(value: f32, at: f64) -> f64 {
    (f64::from(value) + 1.0).mul_add(-30.0, at.rem_euclid(60.0)).rem_euclid(60.0)
}

fn names() -> Vec<ParameterName> {
    (0..PARAMETERS).map(|n| ParameterName::new(&format!("p{n}")).unwrap()).collect()
}

fn config(id: &str) -> NodeConfig {
    let config = NodeConfig::from_environment(NodeId::new(id).unwrap()).unwrap();
    let network = NetworkSettings { multicast: false, ..config.network().clone() };
    config.with_network(network)
}

/// Runs the visualization: prints its info, and then its current values every four milliseconds.
#[test]
#[ignore = "it is run by the other tests, as a process of its own"]
fn suspended_visualization() {
    let parameters = names().into_iter().map(|name| Parameter::new(name, 0.0)).collect();
    let config = config("stage").with_parameters(parameters);
    let node = Node::<role::Visualization>::join(config).wait(SOON).unwrap().unwrap();
    println!("info {}", serde_json::to_string(&node.info()).unwrap());
    // The process is ended by the test, or ends after a minute.
    let begun = Instant::now();
    while begun.elapsed() < 3 * SOON {
        // The time is read before the values, because the process may be suspended at any point.
        let at = now();
        let values = node.parameters().values();
        println!("shown {at} {} {}", values[0], values[PARAMETERS - 1]);
        thread::sleep(Duration::from_millis(4));
    }
}

/// The times with the current values of the first and the last parameter.
type Shown = Vec<(f64, [f32; 2])>;

/// A process that runs the visualization. Dropping it ends the process.
struct Stage {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    fn start(transport: DirectLinkTransport, delay_ms: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "suspended_visualization", "--ignored", "--nocapture"])
            .env("HANA_PLAY_LINK", transport.to_string())
            .env("HANA_PLAYOUT_MS", delay_ms.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(vec![]));
        let read = Arc::clone(&lines);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                read.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    /// Returns all lines that the process has printed.
    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn info(&self) -> NodeInfo {
        eventually(SOON, "the visualization to be there", || {
            let info = |line: &String| line.split_once("info ").map(|(_, info)| info.to_owned());
            let info = self.lines().iter().find_map(info);
            info.map(|info| serde_json::from_str(&info).unwrap())
        })
    }

    /// Returns the printed values of the first and the last parameter, with their times.
    fn shown(&self) -> Shown {
        let lines = self.lines();
        let shown = lines.iter().filter_map(|line| {
            let mut words = line.strip_prefix("shown ")?.split(' ');
            let at = words.next()?.parse().ok()?;
            Some((at, [words.next()?.parse().ok()?, words.next()?.parse().ok()?]))
        });
        shown.collect()
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The way in which the visualization is played.
#[derive(Clone, Copy)]
enum PlayedBy {
    Values,
    Frames,
}

type Set = Box<dyn Fn(f32) + Send>;

fn player(link: &DirectLink, way: PlayedBy) -> Set {
    match way {
        PlayedBy::Values => {
            let all: Vec<Publisher<Modulation>> =
                names().into_iter().map(|name| link.modulation(name)).collect();
            Box::new(move |value| {
                for of in &all {
                    of.publish(&Modulation { value }).unwrap();
                }
            })
        },
        PlayedBy::Frames => {
            let stream = link.batch_stream(BatcherSettings::default()).unwrap();
            Box::new(move |value| {
                (0..PARAMETERS).for_each(|place| stream.set(place, value).unwrap());
            })
        },
    }
}

fn assert_nothing_old_shown(way: PlayedBy, transport: DirectLinkTransport, delay_ms: u64) {
    let stage = Stage::start(transport, delay_ms);
    let info = stage.info();
    let over = format!("{transport}/");
    assert!(info.play[0].starts_with(&over), "{:?}", info.play);
    let app = Node::<role::App>::join(config("hands")).wait(SOON).unwrap().unwrap();
    let link = app.open_direct_link(&info).wait(SOON).unwrap().unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let (set, ended_by_player) = (player(&link, way), Arc::clone(&ended));
    let hands = thread::spawn(move || {
        while !ended_by_player.load(Ordering::Acquire) {
            set(ramp(now()));
            thread::sleep(Duration::from_millis(1));
        }
    });
    let limit = ModulationReceiver::STALE.as_secs_f64() + MARGIN;
    let is_played = |since: f64| {
        let shown = stage.shown();
        let newest: Vec<_> = shown.iter().filter(|(at, _)| *at > since).collect();
        newest.len() > 50
            && newest[newest.len() - 50..]
                .iter()
                .all(|(at, values)| values.iter().all(|value| age(*value, *at) < limit))
    };
    eventually(SOON, "the visualization to be played", || is_played(0.0));
    stage.signal(Signal::STOP);
    let stopped = now();
    // This waits for a fixed time, because the duration of the suspension is under test.
    thread::sleep(STOPPED);
    let woken = now();
    stage.signal(Signal::CONT);
    eventually(SOON, "the visualization to be played again", || is_played(woken));
    // This waits for late values.
    thread::sleep(Duration::from_secs(1));
    ended.store(true, Ordering::Release);
    hands.join().unwrap();

    let shown = stage.shown();
    let (before, after): (Shown, Shown) = shown.into_iter().partition(|(at, _)| *at < woken);
    assert!(after.len() > 100, "{}", after.len());
    let (mut first_new, mut oldest): (f64, f64) = (0.0, 0.0);
    let delay = Duration::from_millis(delay_ms).as_secs_f64();
    for parameter in 0..2 {
        // The value at the time of the suspension stays until a newer value arrives. It may be newer than the last
        // printed value, because other threads read the values too.
        let printed = before.last().unwrap().1[parameter];
        let (at, first) = (after[0].0, after[0].1[parameter]);
        let was_due = at - age(first, at) + delay < stopped;
        let last = if was_due { first } else { printed };
        let is_new = |of: &(f64, f32)| of.1 != last && of.1 != printed;
        let new: Vec<(f64, f32)> =
            after.iter().map(|(at, values)| (*at, values[parameter])).filter(is_new).collect();
        for (at, value) in &new {
            oldest = oldest.max(age(*value, *at));
        }
        first_new = first_new.max(new[0].0 - woken);
        let ages: Vec<f64> = new.iter().map(|(at, value)| at - age(*value, *at)).collect();
        assert!(ages.is_sorted_by(|a, b| b - a > -0.002), "the values run backwards");
    }
    eprintln!(
        "measured: stopped for 5 s while played over {transport}, {delay_ms} ms behind: the first new value after {:.0} ms, the oldest shown value was {:.0} ms old",
        first_new * 1000.0,
        oldest * 1000.0
    );
    let limit = limit + delay;
    assert!(oldest < limit, "{oldest:.3} s old");
}

#[test]
fn resumed_process_played_by_values_shows_nothing_old() {
    assert_nothing_old_shown(PlayedBy::Values, DirectLinkTransport::Tcp, 0);
}

#[test]
fn resumed_process_played_by_batches_shows_nothing_old() {
    assert_nothing_old_shown(PlayedBy::Frames, DirectLinkTransport::Tcp, 0);
}

#[test]
fn resumed_process_with_playout_delay_shows_nothing_old() {
    assert_nothing_old_shown(PlayedBy::Frames, DirectLinkTransport::Tcp, 20);
}

#[test]
fn resumed_process_played_over_udp_shows_nothing_old() {
    assert_nothing_old_shown(PlayedBy::Frames, DirectLinkTransport::Udp, 0);
}
