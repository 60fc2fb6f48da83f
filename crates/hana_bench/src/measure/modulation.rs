use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hana_engine::playout::BatcherSettings;
use hana_network::{BatchStream, DirectLink, Node};
use hana_protocol::id::role;
use hana_protocol::message::{LaneTraffic, NodeInfo};
use hana_protocol::wire::Lane;
use zenoh::{Session, Wait};

use crate::baseline::messages::{bytes_of, frame_of, numbered};
use crate::baseline::session::{BaselineSession, publisher};
use crate::error::BenchError;
use crate::figure::{FigureComparison, Rate, Report};
use crate::fixture::numbered::value_of;
use crate::fixture::test_host::{TestHost, free_port, join};
use crate::limits::REPLY_TIMEOUT;
use crate::worker::arrival_log::now_ns;
use crate::worker::bench_worker::BenchWorker;
use crate::worker::receive_counter::ReceiveCount;
use crate::worker::role::WorkerRole;

/// The number of parameters of each visualization.
const PARAMETERS: usize = 64;
/// The interval between two samples.
const SAMPLE: Duration = Duration::from_millis(1);
/// The number of samples in a batch of [`BatcherSettings::default`] at this rate.
const IN_FRAME: u64 = 4;
/// The longest continuous measurement of one side before the other side is measured.
const TURN: Duration = Duration::from_secs(10);
/// How long the last messages may be in transit.
const LAST: Duration = Duration::from_millis(500);

/// Measures modulation: the share of lost values, and the number of stale values shown.
///
/// Each of `visualizations` visualizations has 64 parameters, which are set a thousand times a second.
///
/// # Errors
///
/// Fails if a daemon already runs on this machine, a part of the bench cannot be started, or no message arrives.
pub(crate) fn modulation(
    visualizations: usize,
    seconds: u64,
    ended: &AtomicBool,
) -> Result<Report, BenchError> {
    let hosts = TestHost::mesh(1)?;
    let [host] = &hosts[..] else {
        return Err(BenchError::network("starting a host")("there is none"));
    };
    let whole = Duration::from_secs(seconds.max(1));
    let turns = u32::try_from(whole.as_secs().div_ceil(TURN.as_secs())).unwrap_or(1).max(1);
    let each = whole / turns;
    let mut ours = HanaModulation::start(host, visualizations)?;
    let mut reference = RawLinks::start(visualizations)?;
    let (mut hana_rounds, mut baseline_rounds, mut stale) = (vec![], vec![], 0);
    for round in 0..turns {
        for turn in 0..2 {
            if (turn == 0) == round.is_multiple_of(2) {
                let (measured, round_stale) = ours.measure(each, ended)?;
                hana_rounds.push(measured);
                stale += round_stale;
            } else {
                baseline_rounds.push(reference.measure(each, ended)?);
            }
        }
    }
    let first = FigureComparison::of(
        "modulation",
        "values of 64 parameters each, a thousand times a second, received by visualizations over direct links in batches",
        Rate { stale: Some(stale), ..Rate::of(&hana_rounds) },
        "raw links, messages of the same number and size",
        Some(Rate::of(&baseline_rounds)),
    );
    Ok(Report::of("modulation", hana_rounds.len(), first, vec![]))
}

struct HanaModulation {
    played: Vec<BenchWorker>,
    streams: Vec<BatchStream>,
    _links: Vec<DirectLink>,
    app: Node<role::App>,
}

impl HanaModulation {
    fn start(host: &TestHost, visualizations: usize) -> Result<Self, BenchError> {
        let app = join(host.config("player")?)?;
        let mut played = vec![];
        for number in 0..visualizations {
            let name = format!("played-{number}");
            let arguments = [&PARAMETERS.to_string(), "false", "20", &name];
            let visualization =
                BenchWorker::begin(WorkerRole::Visualization, &arguments, |command| {
                    host.launch(command);
                })?;
            played.push(visualization);
        }
        let (mut links, mut streams) = (vec![], vec![]);
        for visualization in &mut played {
            visualization.ready()?;
            let info: NodeInfo = visualization.query("info", REPLY_TIMEOUT)?;
            let link = app
                .open_direct_link(&info)
                .wait(REPLY_TIMEOUT)
                .map_err(BenchError::network("opening a direct link"))?
                .map_err(BenchError::network("opening a direct link"))?;
            let stream = link
                .batch_stream(BatcherSettings::default())
                .map_err(BenchError::system("starting a thread for frames"))?;
            streams.push(stream);
            links.push(link);
        }
        Ok(Self { played, streams, _links: links, app })
    }

    fn counts(&mut self) -> Result<(LaneTraffic, Vec<LaneTraffic>), BenchError> {
        let lanes = self.played.iter_mut().map(|played| played.query("lane", REPLY_TIMEOUT));
        let lanes = lanes.collect::<Result<_, _>>()?;
        Ok((self.app.lane(Lane::UnreliableSequenced), lanes))
    }

    /// Plays for the duration `each` and measures.
    ///
    /// Returns the number of values received, the time taken, the number of values sent, and the number of stale
    /// values shown.
    fn measure(
        &mut self,
        each: Duration,
        ended: &AtomicBool,
    ) -> Result<((u64, Duration, u64), u64), BenchError> {
        // The played value starts again from 0.
        let epoch = now_ns();
        for played in &mut self.played {
            played.query::<u64>("stale", REPLY_TIMEOUT)?;
            played.query::<()>(&format!("epoch {epoch}"), REPLY_TIMEOUT)?;
        }
        let before = self.counts()?;
        let begun = Instant::now();
        let mut samples = 0_u64;
        let mut beat = 0_u32;
        while begun.elapsed() < each {
            if ended.load(Ordering::Relaxed) {
                return Err(BenchError::Interrupted);
            }
            std::thread::sleep((begun + SAMPLE * beat).saturating_duration_since(Instant::now()));
            beat += 1;
            // Each value is the time at which it was set, in milliseconds.
            let value = value_of(now_ns().saturating_sub(epoch) / 1_000_000);
            for stream in &self.streams {
                for place in 0..PARAMETERS {
                    stream.set(place, value).map_err(BenchError::network("playing a frame"))?;
                }
            }
            samples += 1;
        }
        let took = begun.elapsed();
        std::thread::sleep(LAST);
        let after = self.counts()?;
        let streams = self.streams.len() as u64;
        let sent = after.0.sent - before.0.sent;
        let forgotten = after.0.coalesced - before.0.coalesced;
        let missed = |counts: &[LaneTraffic]| counts.iter().map(|lane| lane.missed).sum::<u64>();
        let late = |counts: &[LaneTraffic]| counts.iter().map(|lane| lane.late).sum::<u64>();
        let values = samples * streams * PARAMETERS as u64;
        let frames_lost = missed(&after.1) - missed(&before.1);
        // Late values are counted individually.
        let lost = forgotten * PARAMETERS as u64
            + (late(&after.1) - late(&before.1))
            + u64::try_from(u128::from(values) * u128::from(frames_lost) / u128::from(sent.max(1)))
                .unwrap_or(u64::MAX);
        let mut stale = 0;
        for played in &mut self.played {
            stale += played.query::<u64>("stale", REPLY_TIMEOUT)?;
        }
        Ok(((values.saturating_sub(lost), took, values), stale))
    }
}

struct RawLinks {
    subscribers: Vec<BenchWorker>,
    publishers: Vec<zenoh::pubsub::Publisher<'static>>,
    _sessions: Vec<Session>,
}

impl RawLinks {
    fn start(visualizations: usize) -> Result<Self, BenchError> {
        let (mut subscribers, mut publishers, mut sessions) = (vec![], vec![], vec![]);
        let mut endpoints = vec![];
        for _ in 0..visualizations {
            let endpoint = format!("tcp/127.0.0.1:{}", free_port()?);
            let arguments = ["listen", &endpoint, "raw/frame"];
            subscribers.push(BenchWorker::begin(
                WorkerRole::BaselineSubscriber,
                &arguments,
                |_| (),
            )?);
            endpoints.push(endpoint);
        }
        for (subscriber, endpoint) in subscribers.iter().zip(&endpoints) {
            subscriber.ready()?;
            let session = BaselineSession::Client(endpoint).open()?;
            let lane = Lane::UnreliableSequenced;
            publishers.push(publisher(&session, "raw/frame".into(), lane)?);
            sessions.push(session);
        }
        Ok(Self { subscribers, publishers, _sessions: sessions })
    }

    /// Sends as many messages as hana, of the same size, over plain Zenoh links.
    fn measure(
        &mut self,
        each: Duration,
        ended: &AtomicBool,
    ) -> Result<(u64, Duration, u64), BenchError> {
        for subscriber in &mut self.subscribers {
            subscriber.query::<()>("count", REPLY_TIMEOUT)?;
        }
        let bytes = bytes_of(&frame_of(PARAMETERS, usize::try_from(IN_FRAME).unwrap_or(1)));
        let begun = Instant::now();
        let mut sent = 0;
        let mut beat = 0_u32;
        while begun.elapsed() < each {
            if ended.load(Ordering::Relaxed) {
                return Err(BenchError::Interrupted);
            }
            let period = SAMPLE * u32::try_from(IN_FRAME).unwrap_or(1);
            std::thread::sleep((begun + period * beat).saturating_duration_since(Instant::now()));
            beat += 1;
            for publisher in &self.publishers {
                sent += 1;
                publisher
                    .put(numbered(sent, bytes))
                    .wait()
                    .map_err(BenchError::baseline("putting"))?;
            }
        }
        let took = begun.elapsed();
        std::thread::sleep(LAST);
        let mut came = 0;
        for subscriber in &mut self.subscribers {
            let counts: Vec<ReceiveCount> = subscriber.query("counted", REPLY_TIMEOUT)?;
            came += counts.iter().map(|count| count.came).sum::<u64>();
        }
        let values = PARAMETERS as u64 * IN_FRAME;
        Ok((came * values, took, sent * values))
    }
}
