use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::baseline::gateways::BaselineGateways;
use crate::error::BenchError;
use crate::figure::{FigureComparison, Report, TimeFigures};
use crate::fixture::test_host::TestHost;
use crate::worker::arrival_log::now_ns;
use crate::worker::bench_worker::BenchWorker;
use crate::worker::role::WorkerRole;

/// The time limit for all nodes to see each other. A slower mesh counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures discovery: the time until all nodes see the nodes that join.
///
/// There are `nodes` nodes in total on `hosts` hosts, and `rounds` rounds. The nodes of a host share one process,
/// both for hana and for the reference's clients: starting a hundred processes on two cores would measure process
/// startup.
///
/// # Errors
///
/// Fails if a daemon already runs on this machine, a part of the bench cannot be started, or a node does not see the
/// others in time.
pub(crate) fn discovery(
    hosts: usize,
    nodes: usize,
    rounds: usize,
    ended: &AtomicBool,
) -> Result<Report, BenchError> {
    let hosts = hosts.max(1);
    let on_each = nodes.div_ceil(hosts).max(1);
    let count = on_each.to_string();
    let (mut all, mut one) = (Pair::default(), Pair::default());
    let mesh = TestHost::mesh(hosts)?;
    let raw_mesh = BaselineGateways::start(hosts)?;
    let begin = |is_ours: bool, place: usize, count: &str, name: &str| {
        if is_ours {
            let host = mesh.get(place).ok_or_else(|| {
                BenchError::network("starting hosts")("there are fewer than were started")
            })?;
            BenchWorker::begin(WorkerRole::Watchers, &[count, name], |command| host.settle(command))
        } else {
            let arguments = [count, name, raw_mesh.endpoint(place)];
            BenchWorker::begin(WorkerRole::BaselineWatchers, &arguments, |_| ())
        }
    };
    for is_ours in [true, false] {
        all.of(is_ours).crowds = (0..hosts)
            .map(|place| begin(is_ours, place, &count, &format!("h{place}")))
            .collect::<Result<_, _>>()?;
        one.of(is_ours).crowds = vec![begin(is_ours, 0, "1", "late")?];
        for crowd in all.of(is_ours).crowds.iter().chain(&one.of(is_ours).crowds) {
            crowd.ready()?;
        }
    }
    for round in 0..rounds.max(1) {
        for turn in 0..2 {
            if ended.load(Ordering::Relaxed) {
                return Err(BenchError::Interrupted);
            }
            let is_ours = (turn == 0) == round.is_multiple_of(2);
            // Hana's nodes see the daemons too; a plain gateway has no token.
            let there = on_each * hosts + if is_ours { hosts } else { 0 };
            let joined = now_ns();
            tell(&mut all.of(is_ours).crowds, &format!("join {round}"))?;
            let seen = await_seen(&mut all.of(is_ours).crowds, there)?;
            all.of(is_ours).samples.push(Duration::from_nanos(seen.saturating_sub(joined)));
            let joined = now_ns();
            tell(&mut one.of(is_ours).crowds, &format!("join {round}"))?;
            let seen = await_seen(&mut all.of(is_ours).crowds, there + 1)?
                .max(await_seen(&mut one.of(is_ours).crowds, there + 1)?);
            one.of(is_ours).samples.push(Duration::from_nanos(seen.saturating_sub(joined)));
            tell(&mut one.of(is_ours).crowds, "leave")?;
            tell(&mut all.of(is_ours).crowds, "leave")?;
        }
    }
    let first = FigureComparison::of(
        "all see all",
        "from the command to join until the last node sees all others and all daemons",
        TimeFigures::of(all.ours.samples),
        "raw clients behind gateways",
        Some(TimeFigures::of(all.raw.samples)),
    );
    let joins = FigureComparison::of(
        "one joins",
        "from the command to join until all nodes see one more, and it sees all of them",
        TimeFigures::of(one.ours.samples),
        "a raw client",
        Some(TimeFigures::of(one.raw.samples)),
    );
    Ok(Report::of("discovery", rounds, first, vec![joins]))
}

#[derive(Default)]
struct Side {
    crowds: Vec<BenchWorker>,
    samples: Vec<Duration>,
}

#[derive(Default)]
struct Pair {
    ours: Side,
    raw: Side,
}

impl Pair {
    const fn of(&mut self, is_ours: bool) -> &mut Side {
        if is_ours { &mut self.ours } else { &mut self.raw }
    }
}

fn tell(crowds: &mut [BenchWorker], word: &str) -> Result<(), BenchError> {
    for crowd in &mut *crowds {
        crowd.send(word)?;
    }
    for crowd in crowds {
        crowd.reply::<()>(word, PATIENCE)?;
    }
    Ok(())
}

/// Returns the time at which the last node saw `count` nodes.
fn await_seen(crowds: &mut [BenchWorker], count: usize) -> Result<u64, BenchError> {
    let word = format!("seen {count}");
    for crowd in &mut *crowds {
        crowd.send(&word)?;
    }
    let mut last = 0;
    for crowd in crowds {
        let seen: Option<u64> = crowd.reply(&word, PATIENCE)?;
        let seen = seen.ok_or_else(|| BenchError::NotWithin {
            awaited: format!("all nodes to see {count}"),
            seen: "fewer".into(),
            waited: PATIENCE,
        })?;
        last = last.max(seen);
    }
    Ok(last)
}
