//! A controller plays a sine for 64 parameters over a UDP direct link with loss, delay and jitter.
//!
//! The sine has a thousand samples per second. The visualization must present it sixty times per second with a fixed
//! delay. For comparison, a second visualization presents the same values without playout.
#![allow(clippy::unwrap_used, missing_docs)]

use std::f64::consts::TAU;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hana_engine::playout::{BatcherSettings, JitterBufferSettings};
use hana_lab::{UdpRelay, UdpRelaySettings, project_root};
use hana_network::{
    BatchStream, DirectLink, DirectLinkTransport, NetworkSettings, Node, NodeConfig,
};
use hana_protocol::id::{NodeId, role};
use hana_protocol::parameter::{Parameter, ParameterName};

const SOON: Duration = Duration::from_secs(20);
/// The maximum error of the presented sine, as a share of the amplitude.
const WANTED: f64 = 0.01;
const PARAMETERS: u16 = 64;
/// The playout delay, which exceeds the wait for a batch (4.5 ms), the network's jitter (5 ms), and the pauses of a
/// busy machine.
const DELAY: Duration = Duration::from_millis(20);
/// The duration of a round. Other tests can only make a round worse, so one good round is enough.
const LENGTH: Duration = Duration::from_secs(4);
const ROUNDS: usize = 6;
const FRAME: Duration = Duration::from_micros(16_667);

/// Returns the played value at a time in Unix microseconds: two periods per second, a little later for each parameter.
fn sine(at_us: f64, parameter: u16) -> f64 {
    TAU.mul_add(2.0 * at_us / 1e6, TAU * f64::from(parameter) / f64::from(PARAMETERS)).sin()
}

#[allow(clippy::cast_precision_loss)]
fn now_us() -> f64 {
    // The time within the hour is enough, and leaves precision for fractions of a microsecond.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (since.as_micros() % 3_600_000_000) as f64
}

/// Without multicast, each test has a network of its own, where nodes find only configured addresses.
fn network(play_link: DirectLinkTransport) -> NetworkSettings {
    NetworkSettings { multicast: false, play_link, ..NetworkSettings::default() }
}

fn config(id: &str) -> NodeConfig {
    NodeConfig::from_environment(NodeId::new(id).unwrap())
        .unwrap()
        .with_network(network(DirectLinkTransport::Udp))
}

/// A visualization on a bad network, and the stream that plays it.
struct Played {
    visualization: Node<role::Visualization>,
    relay: UdpRelay,
    _link: DirectLink,
    stream: BatchStream,
}

impl Played {
    fn new(id: &str, app: &Node<role::App>, delay: Duration) -> Self {
        let parameters = (0..PARAMETERS)
            .map(|n| Parameter::new(ParameterName::new(&format!("p{n}")).unwrap(), 0.0))
            .collect();
        let playout = JitterBufferSettings { delay, ..JitterBufferSettings::default() };
        let config = config(id).with_parameters(parameters).with_playout(playout);
        let visualization = Node::<role::Visualization>::join(config).wait(SOON).unwrap().unwrap();
        let mut info = visualization.info();
        let direct = info.play.iter().find_map(|at| at.strip_prefix("udp/127.0.0.1:")).unwrap();
        let port: u16 = direct.parse().unwrap();
        let settings = UdpRelaySettings {
            seed: 7,
            loss: 0.01,
            delay: Duration::from_millis(1),
            jitter: Duration::from_millis(5),
            ..UdpRelaySettings::default()
        };
        // The link opens while the network is good, because opening it over a bad network is not under test.
        let relay = UdpRelay::new(([127, 0, 0, 1], port).into(), UdpRelaySettings::default());
        info.play = vec![format!("udp/{}", relay.address())];
        let link = app.open_direct_link(&info).wait(SOON).unwrap().unwrap();
        let stream = link.batch_stream(BatcherSettings::default()).unwrap();
        relay.set(settings);
        Self { visualization, relay, _link: link, stream }
    }
}

/// The presented values of one parameter, with their times.
struct Curve(Vec<(f64, f64)>);

impl Curve {
    /// Returns the root mean square distance from the sine with this delay, as a share of the sine's amplitude.
    #[allow(clippy::cast_precision_loss)]
    fn error(&self, later_us: f64) -> f64 {
        let squares = self.0.iter().map(|(at, value)| (value - sine(at - later_us, 0)).powi(2));
        (squares.sum::<f64>() / self.0.len() as f64).sqrt()
    }

    /// Returns the delay in microseconds with the smallest error, and that error.
    fn fit(&self) -> (f64, f64) {
        let errors = (0..1000).map(|n| {
            let later = f64::from(n) * 50.0;
            (later, self.error(later))
        });
        errors.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
    }
}

/// The presented values of both visualizations over some seconds, with their distances from the played sine.
struct Round {
    curves: [Curve; 2],
    fits: [(f64, f64); 2],
}

fn look_at(played: &[Played; 2]) -> Round {
    let mut curves = [Curve(vec![]), Curve(vec![])];
    let begun = Instant::now();
    for frame in 0_u32.. {
        let next = begun + FRAME * frame;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        if begun.elapsed() > LENGTH {
            break;
        }
        for (curve, of) in curves.iter_mut().zip(played) {
            let (before, value) = (now_us(), of.visualization.parameters().values()[0]);
            // If the process was interrupted between the two readings, the time of the value is unknown.
            if now_us() - before < 500.0 {
                curve.0.push((before, value.into()));
            }
        }
    }
    let fits = curves.each_ref().map(Curve::fit);
    Round { curves, fits }
}

#[test]
fn sine_over_a_bad_network_is_shown_intact_one_delay_later() {
    let app = Node::<role::App>::join(config("hands")).wait(SOON).unwrap().unwrap();
    let played = [Played::new("played", &app, DELAY), Played::new("raw", &app, Duration::ZERO)];
    let ended = Arc::new(AtomicBool::new(false));
    let (streams, is_over) = (played.each_ref().map(|of| of.stream.clone()), Arc::clone(&ended));
    let writer = thread::spawn(move || {
        let begun = Instant::now();
        for tick in 0_u32.. {
            if is_over.load(Ordering::Acquire) {
                return;
            }
            for stream in &streams {
                for parameter in 0..PARAMETERS {
                    #[allow(clippy::cast_possible_truncation)]
                    let value = sine(now_us(), parameter) as f32;
                    stream.set(parameter.into(), value).unwrap();
                }
            }
            let next = begun + Duration::from_millis(1) * tick;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    });
    let deadline = Instant::now() + SOON;
    while played.iter().any(|of| of.visualization.parameters().values()[1] == 0.0) {
        assert!(Instant::now() < deadline, "no value arrives");
        thread::sleep(FRAME);
    }
    let mut round = look_at(&played);
    for _ in 1..ROUNDS {
        if round.fits[0].1 < WANTED {
            break;
        }
        round = look_at(&played);
    }
    ended.store(true, Ordering::Release);
    writer.join().unwrap();
    let lost = played[0].relay.counts();
    assert!(lost.taken > 500 && lost.lost > 0, "{lost:?}");
    let [(later, error), (raw_later, raw_error)] = round.fits;
    eprintln!(
        "measured: a sine of 64 parameters at 1 kHz over UDP with 1 % loss and 5 ms of jitter: {:.2} % off, {:.1} ms later; without playout {:.2} % off, {:.1} ms later on average",
        error * 100.0,
        later / 1000.0,
        raw_error * 100.0,
        raw_later / 1000.0
    );
    draw(&round);
    assert!(error < WANTED, "{error}");
    assert!(raw_error > 2.0 * error, "the delay helps: {raw_error} without, {error} with");
    let delay_us = DELAY.as_secs_f64() * 1e6;
    assert!((delay_us..delay_us + 8000.0).contains(&later), "{later} us later");
}

/// Draws half a second of the curves, and the distance of each from the sine.
///
/// Saves the picture for the documentation if `HANA_PICTURES=docs` is set.
fn draw(round: &Round) {
    const SPAN: f64 = 500_000.0;
    let Round { curves: [played, raw], fits } = round;
    let begin = played.0[played.0.len() / 2].0;
    let x = |at: f64| ((at - begin) / SPAN).mul_add(760.0, 80.0);
    let seen = |curve: &Curve| -> Vec<(f64, f64)> {
        let in_sight = |(at, _): &&(f64, f64)| (begin..begin + SPAN).contains(at);
        curve.0.iter().filter(in_sight).copied().collect()
    };
    let line = |points: &[(f64, f64)], y: &dyn Fn(f64) -> f64| {
        points.iter().fold(String::new(), |mut all, (at, value)| {
            write!(all, "{:.1},{:.1} ", x(*at), y(*value)).unwrap();
            all
        })
    };
    let mut svg = String::from(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 560" font-family="sans-serif" font-size="13" fill="#333">
<rect width="860" height="560" fill="#fff"/>
<text x="80" y="24" font-size="15">A sine, 64 parameters at 1 kHz, over UDP with 1 % loss and 5 ms of jitter, shown 60 times a second</text>
"##,
    );
    let value = |value: f64| value.mul_add(-110.0, 165.0);
    let error = |off: f64| (off * 100.0).mul_add(-12.0, 430.0);
    for (text, y) in [("1", value(1.0)), ("0", value(0.0)), ("-1", value(-1.0))] {
        writeln!(
            svg,
            r##"<path d="M80 {y}H840" stroke="#ddd"/><text x="50" y="{}">{text}</text>"##,
            y + 4.0
        )
        .unwrap();
    }
    for percent in [-6.0, -3.0, 0.0, 3.0, 6.0] {
        let y = error(percent / 100.0);
        writeln!(
            svg,
            r##"<path d="M80 {y}H840" stroke="#ddd"/><text x="36" y="{}">{percent} %</text>"##,
            y + 4.0
        )
        .unwrap();
    }
    let names = ["played 20 ms behind", "without playout"];
    for (place, ((curve, (later, rms)), colour)) in
        [played, raw].into_iter().zip(*fits).zip(["#0a7d4f", "#d1481f"]).enumerate()
    {
        let points = seen(curve);
        let off: Vec<(f64, f64)> =
            points.iter().map(|(at, value)| (*at, value - sine(at - later, 0))).collect();
        let style = format!(r#"fill="none" stroke="{colour}" stroke-width="2""#);
        writeln!(svg, r#"<polyline points="{}" {style}/>"#, line(&points, &value)).unwrap();
        writeln!(svg, r#"<polyline points="{}" {style}/>"#, line(&off, &error)).unwrap();
        let y = 305 + 18 * place;
        writeln!(
            svg,
            r#"<text x="80" y="{y}" fill="{colour}">{}: {:.2} % off (RMS) the sine {:.1} ms before</text>"#,
            names[place],
            rms * 100.0,
            later / 1000.0
        )
        .unwrap();
    }
    svg += "<text x=\"80\" y=\"545\">above: the value that is shown; below: how far it is from the sine; half a second</text>\n</svg>\n";
    let directory = std::env::var_os("HANA_PICTURES").map_or_else(
        || PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
        |pictures| project_root().join(pictures).join("lanes"),
    );
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("played_curve.svg"), svg).unwrap();
}
