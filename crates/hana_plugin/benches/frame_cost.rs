//! The cost of the plugin's systems in a frame of a visualization whose 64 parameters all move.
//!
//! A Bevy app with the plugin and an app without it run in turns. Both have an empty system in each schedule that is
//! never empty in a Bevy program: input before `Update`, transforms and cameras after it, the frame count at the end.
//! `cargo bench -p hana_plugin --bench frame_cost`; `-- --json` prints JSON.
#![allow(clippy::expect_used, clippy::print_stdout)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use bevy_app::{App, First, Last, PostUpdate, PreUpdate};
use bevy_ecs::prelude::*;
use bevy_ecs::schedule::{ScheduleLabel, SingleThreadedExecutor};
use bevy_reflect::Reflect;
use hana_engine::playout::{BatcherSettings, JitterBufferSettings};
use hana_network::{Node, NodeConfig};
use hana_plugin::{MeshSession, VisualizationPlugin};
use hana_protocol::id::{NodeId, role};

macro_rules! sky {
    ($($parameter:ident)*) => {
        #[derive(Resource, Reflect, Default)]
        struct Sky { $($parameter: f32,)* }
    };
}
sky! {
    p0 p1 p2 p3 p4 p5 p6 p7 p8 p9 p10 p11 p12 p13 p14 p15 p16 p17 p18 p19 p20 p21 p22 p23 p24
    p25 p26 p27 p28 p29 p30 p31 p32 p33 p34 p35 p36 p37 p38 p39 p40 p41 p42 p43 p44 p45 p46 p47
    p48 p49 p50 p51 p52 p53 p54 p55 p56 p57 p58 p59 p60 p61 p62 p63
}

const SOON: Duration = Duration::from_secs(20);
/// Frame interval: sixty frames a second.
const FRAME: Duration = Duration::from_micros(16_667);
/// Frames in a round: a quarter of a minute.
const FRAMES: usize = 900;

fn main() {
    // `cargo test` also runs this benchmark, only to check that it runs.
    let is_short = env::args().any(|argument| argument == "--test") || cfg!(debug_assertions);
    if env::var_os("HANA_SHOW").is_none() {
        alone();
        return;
    }
    measure(if is_short { 60 } else { FRAMES });
}

/// Starts this program again, in a separate show without other nodes.
fn alone() {
    let files = tempfile::tempdir().expect("a temporary directory can be made");
    fs::write(files.path().join("hanad.toml"), "multicast = false\n").expect("it can be written");
    let status = Command::new(env::current_exe().expect("this program has a place"))
        .args(env::args().skip(1))
        .env("HANA_CONFIG", files.path())
        .env("HANA_SHOW", format!("frame-cost-{}", std::process::id()))
        .status()
        .expect("this program can be started again");
    assert!(status.success(), "{status}");
}

fn measure(frames: usize) {
    let playout = JitterBufferSettings {
        delay: Duration::from_millis(20),
        ..JitterBufferSettings::default()
    };
    let mut ours = App::new();
    ours.add_plugins(VisualizationPlugin::<Sky>::new("sky").playout(playout));
    let mut bare = App::new();
    bare.init_resource::<Sky>();
    for app in [&mut ours, &mut bare] {
        // Bevy's cost of running systems on other threads is not the plugin's.
        for label in [First.intern(), PreUpdate.intern(), PostUpdate.intern(), Last.intern()] {
            app.edit_schedule(label, |schedule| {
                schedule.set_executor(SingleThreadedExecutor::new()).add_systems(|| {});
            });
        }
    }
    let deadline = Instant::now() + SOON;
    let info = loop {
        ours.update();
        if let Some(node) = ours.world().resource::<MeshSession<role::Visualization>>().node() {
            break node.info();
        }
        assert!(Instant::now() < deadline, "it does not join");
        thread::sleep(Duration::from_millis(5));
    };
    let ended = Arc::new(AtomicBool::new(false));
    let playing = play(&info, &ended);
    let (mut of_ours, mut of_bare, mut moved) = (Times::default(), Times::default(), 0_usize);
    let mut last = 0.0_f32;
    for frame in 0..frames + 60 {
        let begun = Instant::now();
        let is_first = frame % 2 == 0;
        let times = if is_first {
            let ours = time(&mut ours);
            (ours, time(&mut bare))
        } else {
            let bare = time(&mut bare);
            (time(&mut ours), bare)
        };
        // In the first second, buffers grow to their final size.
        if frame >= 60 {
            of_ours.add(is_first, times.0);
            of_bare.add(!is_first, times.1);
            let now = ours.world().resource::<Sky>().p63;
            moved += usize::from(last.to_bits() != now.to_bits());
            last = now;
        }
        thread::sleep(FRAME.saturating_sub(begun.elapsed()));
    }
    ended.store(true, Ordering::Release);
    playing.join().expect("who plays does not fail");
    assert!(moved * 10 > frames * 8, "it hardly moved: {moved} of {frames}");
    say(frames, of_ours, of_bare);
}

fn time(app: &mut App) -> Duration {
    let begun = Instant::now();
    app.update();
    begun.elapsed()
}

/// Moves all parameters a thousand times a second, over a direct link.
fn play(
    info: &hana_protocol::message::NodeInfo,
    ended: &Arc<AtomicBool>,
) -> thread::JoinHandle<()> {
    let hands = NodeId::new("hands").expect("it is an id");
    let hands = NodeConfig::from_environment(hands).expect("the settings can be read");
    let hands = Node::<role::App>::join(hands).wait(SOON).expect("in time").expect("it joins");
    let link = hands.open_direct_link(info).wait(SOON).expect("in time").expect("it is reached");
    let stream = link.batch_stream(BatcherSettings::default()).expect("a thread can be started");
    let ended = Arc::clone(ended);
    thread::spawn(move || {
        let (_hands, _link, begun) = (hands, link, Instant::now());
        while !ended.load(Ordering::Acquire) {
            for place in 0..64_u8 {
                let value = begun.elapsed().as_secs_f32().mul_add(3.0, f32::from(place)).sin();
                stream.set(place.into(), value).expect("the parameter takes it");
            }
            thread::sleep(Duration::from_millis(1));
        }
    })
}

/// The frame times of one app, separate for the turns in which it ran first and second.
///
/// The app that runs first finds colder caches and takes 50 % longer, so a common median would be meaningless.
#[derive(Default)]
struct Times {
    first: Vec<Duration>,
    second: Vec<Duration>,
}

impl Times {
    fn add(&mut self, is_first: bool, time: Duration) {
        if is_first { &mut self.first } else { &mut self.second }.push(time);
    }

    /// Returns the mean of the percentile `share` of both lists, in microseconds.
    fn percentile(&mut self, share: usize) -> f64 {
        let of = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times.get(times.len() * share / 100).map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        f64::midpoint(of(&mut self.first), of(&mut self.second))
    }
}

fn say(frames: usize, ours: Times, bare: Times) {
    let [(ours_half, ours_most), (bare_half, bare_most)] =
        [ours, bare].map(|mut of| (of.percentile(50), of.percentile(99)));
    let (half, most) = (ours_half - bare_half, ours_most - bare_most);
    if env::args().any(|argument| argument == "--json") {
        println!(
            r#"{{"bench": "frame", "ours": {{"p50_us": {half:.1}, "p99_us": {most:.1}}}, "with": {{"p50_us": {ours_half:.1}, "p99_us": {ours_most:.1}}}, "without": {{"p50_us": {bare_half:.1}, "p99_us": {bare_most:.1}}}, "optimised": {}}}"#,
            !cfg!(debug_assertions)
        );
        return;
    }
    println!("frame: {frames} frames, 64 parameters moving, p50 (p99)");
    println!("    with the plugin     {ours_half:.1} us ({ours_most:.1})");
    println!("    without             {bare_half:.1} us ({bare_most:.1})");
    println!("    what it costs       {half:.1} us ({most:.1})");
}
