//! The promises of each lane, kept by real processes on a bad network.
//!
//! Packets are lost, a daemon is killed, the publisher restarts, and a node receives messages while it leaves and
//! returns.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use hana_lab::show::{Show, figure, is, nodes, start_daemon};
use hana_lab::{Host, Lab, Running, Signal, eventually};
use serde_json::Value;

/// The time limit for steps without a promised time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_mins(1);
/// The number of messages that an instance of the publisher sends on each lane.
const COUNT: u64 = 5000;

fn lane_stats(host: &Host, words: &[&str]) -> Running {
    let mut command: Command = host.command("lane_stats");
    command.args(words);
    host.spawn(command)
}

fn await_line(running: &Running, what: &str, is_it: impl Fn(&str) -> bool) {
    eventually(SOON, what, || {
        let printed = running.stdout();
        if printed.lines().any(&is_it) { Ok(()) } else { Err(last_lines(&printed)) }
    });
}

fn last_lines(text: &str) -> Vec<String> {
    text.lines().rev().take(3).map(ToOwned::to_owned).collect()
}

/// Drops this percentage of the incoming packets.
fn lose(host: &Host, percent: u32) {
    let script = format!(
        "nft add table inet loss
        nft 'add chain inet loss in {{ type filter hook input priority 0; }}'
        nft add rule inet loss in ip saddr 10.77.0.0/24 numgen random mod 100 '<' {percent} drop"
    );
    host.run(["sh", "-e", "-c", &script]).ok();
}

/// The received message numbers in the order of arrival, by lane and publisher instance.
type Arrived = BTreeMap<(String, u64), Vec<u64>>;

fn arrived(output: &str) -> Arrived {
    let mut arrived = Arrived::new();
    for line in output.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let [lane, run, number, _] = words[..]
            && let (Ok(run), Ok(number)) = (run.parse(), number.parse())
        {
            arrived.entry((lane.into(), run)).or_default().push(number);
        }
    }
    arrived
}

/// Returns the counters of a program, by lane.
fn counters(said: &str) -> Value {
    let line = said.lines().find_map(|line| line.strip_prefix("counters ")).unwrap_or("null");
    serde_json::from_str(line).unwrap()
}

fn counted(counters: &Value, lane: &str, what: &str) -> u64 {
    counters[lane][what].as_u64().unwrap_or_default()
}

fn run_of(said: &str) -> u64 {
    said.lines().find_map(|line| line.strip_prefix("run ")?.parse().ok()).unwrap()
}

/// Sends a series of messages on every lane. Returns the instance number of the sender, and its counters.
fn send(host: &Host, meanwhile: impl FnOnce(u64)) -> (u64, Value) {
    let words = ["send", "--count", &COUNT.to_string(), "--per-second", "1000", "--linger", "12"];
    let mut sending = lane_stats(host, &words);
    await_line(&sending, "the run to begin", |line| line.starts_with("run "));
    let run = run_of(&sending.stdout());
    meanwhile(run);
    await_line(&sending, "all to be sent", |line| line == "sent");
    assert!(sending.wait(SOON).success());
    let said = sending.stdout();
    assert!(!said.contains("refused"), "{said}");
    (run, counters(&said))
}

fn lanes_keep_their_promises(lab: &str, loss: u32) {
    let Some(lab) = Lab::new(lab) else { return };
    let mut show = Show::of(&lab, &["h1", "h2"]);
    let (h1, h2) = (show.host("h1").clone(), show.host("h2").clone());
    for host in [&h1, &h2] {
        lose(host, loss);
    }
    let mut counting = lane_stats(&h2, &["count"]);
    await_line(&counting, "the receiver to count", |line| line.starts_with("joined "));
    let first = send(&h1, |run| {
        await_line(&counting, "half of them", |line| {
            line.starts_with(&format!("reliable_ordered {run} 2000 "))
        });
        show.daemon("h2").kill(Signal::KILL);
        show.daemon("h2").wait(SOON);
        *show.daemon("h2") = start_daemon(&h2);
    });
    let second = send(&h1, |_| ());
    counting.kill(Signal::TERM);
    assert!(counting.wait(SOON).success());
    let said = counting.stdout();
    let arrived = arrived(&said);
    let receiver = counters(&said);
    let nothing = vec![];
    let of = |lane: &str, run: u64| arrived.get(&(lane.into(), run)).unwrap_or(&nothing);
    let all: Vec<u64> = (0..COUNT).collect();
    for (run, _) in [&first, &second] {
        let in_order = of("reliable_ordered", *run);
        assert!(*in_order == all, "in order: {}", difference(in_order));
        let mut as_they_came = of("reliable_unordered", *run).clone();
        as_they_came.sort_unstable();
        assert!(as_they_came == all, "each one once: {}", difference(&as_they_came));
        let newest = of("unreliable_sequenced", *run);
        assert!(newest.is_sorted_by(|a, b| a < b), "never an older one after a newer");
        let as_luck_will = of("unreliable_unordered", *run);
        let distinct: BTreeSet<&u64> = as_luck_will.iter().collect();
        assert_eq!(distinct.len(), as_luck_will.len(), "at most once");
    }
    for lane in ["reliable_ordered", "reliable_unordered"] {
        assert_eq!(counted(&receiver, lane, "missed"), 0, "{receiver}");
        figure(&format!(
            "{loss} % loss, {lane}: {} of 10000 had to be retransmitted",
            counted(&receiver, lane, "recovered")
        ));
    }
    for lane in ["unreliable_sequenced", "unreliable_unordered"] {
        // Messages before the first received one may have been sent before the subscription. After a restart of the
        // publisher, every message counts.
        let came = |run: u64| of(lane, run).len();
        let missing = 2 * COUNT - u64::try_from(came(first.0) + came(second.0)).unwrap();
        let before = of(lane, first.0).first().copied().unwrap_or(COUNT);
        let by_sender =
            |sent: &Value| counted(sent, lane, "coalesced") + counted(sent, lane, "dropped");
        let counted_lost = counted(&receiver, lane, "missed")
            + counted(&receiver, lane, "coalesced")
            + counted(&receiver, lane, "dropped")
            + counted(&receiver, lane, "late")
            + by_sender(&first.1)
            + by_sender(&second.1);
        figure(&format!(
            "{loss} % loss, {lane}: {missing} of 10000 did not arrive, {counted_lost} were counted as lost"
        ));
        // The nodes also publish their health on one of these lanes, ten times a second.
        let known = missing - before..=missing + 20;
        assert!(known.contains(&counted_lost), "{known:?}: {receiver} {} {}", first.1, second.1);
    }
}

/// Describes how a list of numbers differs from the complete list in order.
fn difference(numbers: &[u64]) -> String {
    let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
    let missing: Vec<u64> = (0..COUNT).filter(|number| !distinct.contains(number)).collect();
    let at = numbers.windows(2).position(|pair| pair[0] >= pair[1]);
    format!(
        "{} arrived, {} twice, {} missing, from {:?}; out of order at {at:?}",
        numbers.len(),
        numbers.len() - distinct.len(),
        missing.len(),
        missing.first()
    )
}

#[test]
fn lanes_keep_their_promises_at_one_percent_packet_loss() {
    lanes_keep_their_promises("loss-1", 1);
}

#[test]
fn lanes_keep_their_promises_at_five_percent_packet_loss() {
    lanes_keep_their_promises("loss-5", 5);
}

#[test]
fn messages_to_a_node_that_comes_and_goes_arrive_in_order() {
    const CYCLES: usize = 10;
    let Some(lab) = Lab::new("away") else { return };
    let mut show = Show::of(&lab, &["h1", "h2"]);
    let (h1, h2) = (show.host("h1").clone(), show.host("h2").clone());
    let words = ["send", "--to", "lane_stats", "--count", "1000000", "--per-second", "50"];
    let lane = ["--lane", "reliable_ordered", "--deadline", "30", "--linger", "0"];
    let words = [&words[..], &lane].concat();
    let mut counting = lane_stats(&h2, &["count"]);
    let mut sending = lane_stats(&h1, &words);
    await_line(&sending, "the run to begin", |line| line.starts_with("run "));
    let begun = Instant::now();
    let mut came = vec![];
    let mut waits = vec![];
    for cycle in 0..CYCLES {
        // This waits for all messages sent so far, at 50 per second.
        let mut await_all = || {
            let sent = usize::try_from(begun.elapsed().as_millis() / 20).unwrap().saturating_sub(5);
            let waited = Instant::now();
            eventually(
                SOON,
                &format!("{sent} messages to be acknowledged in cycle {cycle}"),
                || {
                    let taken = acknowledged(&sending.stdout());
                    if taken >= sent { Ok(()) } else { Err(taken) }
                },
            );
            waits.push(waited.elapsed().as_millis());
        };
        await_all();
        // The daemons of the sender and of the receiver are killed in turn.
        let (name, host) = if cycle % 2 == 0 { ("h2", &h2) } else { ("h1", &h1) };
        show.daemon(name).kill(Signal::KILL);
        show.daemon(name).wait(SOON);
        *show.daemon(name) = start_daemon(host);
        await_all();
        // Messages arrive even without the new daemon, but it can report the loss of a host only after it has
        // discovered it.
        eventually(SOON, "the daemons to find each other", || {
            let list = nodes(&h1);
            if is(&list, "h2", "running") { Ok(()) } else { Err(list) }
        });
        h2.unplug();
        eventually(SOON, "the unplugged host to be unreachable", || {
            let list = nodes(&h1);
            if is(&list, "h2", "unreachable") { Ok(()) } else { Err(list) }
        });
        h2.plug();
        await_all();
        counting.kill(Signal::TERM);
        assert!(counting.wait(SOON).success());
        came.extend(numbers(&counting.stdout()));
        counting = lane_stats(&h2, &["count"]);
    }
    eventually(SOON, "messages to arrive at last", || counting.stdout().lines().count() > 10);
    sending.kill(Signal::TERM);
    assert!(sending.wait(SOON).success(), "{}", sending.stderr());
    counting.kill(Signal::TERM);
    assert!(counting.wait(SOON).success());
    came.extend(numbers(&counting.stdout()));
    let said = sending.stdout();
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("failed")).collect();
    assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), failed.first());
    let taken = acknowledged(&said);
    let all: Vec<u64> = (0..u64::try_from(came.len()).unwrap()).collect();
    assert!(came == all, "{}", difference(&came));
    assert_eq!(taken, came.len());
    figure(&format!(
        "{taken} messages through {CYCLES} cycles of daemon, cable and node arrived once and in order; all were there after at most {} ms",
        waits.iter().max().unwrap()
    ));
}

fn acknowledged(said: &str) -> usize {
    said.lines().filter(|line| line.starts_with("taken")).count()
}

fn numbers(said: &str) -> Vec<u64> {
    arrived(said).into_values().flatten().collect()
}

#[test]
fn messages_past_their_deadline_fail_with_the_node_and_topic() {
    let Some(lab) = Lab::new("nobody") else { return };
    let show = Show::of(&lab, &["h1"]);
    let h1 = show.host("h1");
    let words = ["send", "--to", "nobody", "--count", "3", "--deadline", "2", "--linger", "0"];
    let begun = Instant::now();
    let output = lane_stats(h1, &words).finish(SOON);
    let took = begun.elapsed();
    let said = output.stdout;
    for (lane, topic) in [
        ("reliable_ordered", "lane-stats-reliable-ordered"),
        ("reliable_unordered", "lane-stats-reliable-unordered"),
    ] {
        for number in 0..3 {
            let line = said
                .lines()
                .find(|line| line.starts_with(&format!("failed {lane} {number}:")))
                .unwrap_or_else(|| panic!("{said}"));
            assert!(line.contains("'nobody'") && line.contains(topic), "{line}");
        }
    }
    assert!(took >= Duration::from_secs(2), "not before the deadline: {took:?}");
    figure(&format!("messages with a deadline of 2 s failed after {:.2} s", took.as_secs_f64()));
}

/// Returns the age of the messages of a lane when they were read, in microseconds: median and 99th percentile.
///
/// The first `skip` lines are left out.
fn latency(said: &str, lane: &str, skip: usize) -> (u64, u64) {
    let of_line = |line: &str| line.strip_prefix(lane)?.rsplit(' ').next()?.parse::<u64>().ok();
    let mut all: Vec<u64> = said.lines().skip(skip).filter_map(of_line).collect();
    all.sort_unstable();
    let at = |share: usize| all.get(all.len() * share / 100).copied().unwrap_or_default();
    (at(50), at(99))
}

fn memory_mib(host: &Host, running: &Running) -> u64 {
    let status = format!("/proc/{}/status", running.pid());
    let said = host.run(["grep", "VmRSS", &status]).ok().stdout;
    said.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn reader(host: &Host, id: &str, words: &[&str]) -> Running {
    let mut command = host.command("lane_stats");
    command.arg("count").args(words).env("HANA_NODE", id);
    let running = host.spawn(command);
    await_line(&running, "the reader to count", |line| line.starts_with("joined "));
    running
}

/// Waits until the reader has read this many more messages of the sequenced lane.
fn await_newest(reader: &Running, more: usize) {
    let read =
        || reader.stdout().lines().filter(|line| line.starts_with("unreliable_sequenced")).count();
    let before = read();
    eventually(SOON, &format!("{more} more to be read"), || {
        let now = read();
        if now >= before + more { Ok(()) } else { Err(now - before) }
    });
}

#[test]
fn stopped_and_slow_readers_do_not_harm_the_healthy_one() {
    /// The number of messages in a phase: at 200 per second, it takes at least five seconds.
    const PHASE: usize = 1000;
    let Some(lab) = Lab::new("slow") else { return };
    let show = Show::of(&lab, &["h1", "h2", "h3"]);
    let [h1, h2, h3] = show.hosts() else { unreachable!() };
    let mut healthy = reader(h2, "healthy", &[]);
    // The program sends long enough for both phases and for all retransmissions.
    let words = ["send", "--count", "3500", "--per-second", "200", "--linger", "4"];
    let mut sending = lane_stats(h1, &words);
    await_line(&sending, "the run to begin", |line| line.starts_with("run "));
    await_line(&healthy, "messages", |line| line.starts_with("reliable_ordered"));
    await_newest(&healthy, PHASE);
    let alone = healthy.stdout();
    let before = latency(&alone, "unreliable_sequenced", 0);
    // This reader reads about a tenth of the messages.
    let mut sluggish = reader(h3, "slow", &["--slowly", "12"]);
    let mut stopped = reader(h3, "stopped", &[]);
    await_line(&stopped, "messages", |line| line.starts_with("reliable_ordered"));
    stopped.kill(Signal::STOP);
    await_newest(&healthy, PHASE);
    let memory = memory_mib(h3, &sluggish);
    stopped.kill(Signal::CONT);
    let asleep = stopped.stdout().lines().count();
    eventually(SOON, "the stopped reader to read", || stopped.stdout().lines().count() > asleep);
    let together = healthy.stdout();
    let after = latency(&together, "unreliable_sequenced", alone.lines().count());
    assert!(sending.wait(SOON).success());
    for running in [&mut healthy, &mut sluggish, &mut stopped] {
        running.kill(Signal::TERM);
        assert!(running.wait(SOON).success(), "{}", running.stderr());
    }
    figure(&format!(
        "the healthy reader gets the newest after {} us (p50), {} us (p99) alone; {} us, {} us beside a stopped and a slow reader",
        before.0, before.1, after.0, after.1
    ));
    let said = sending.stdout();
    let handing_over = said.lines().filter_map(|line| line.strip_prefix("handing over "));
    figure(&format!(
        "handing over four messages, each second: {:?}",
        handing_over.collect::<Vec<_>>()
    ));
    // The healthy reader missed nothing on the reliable lanes.
    let run = run_of(&said);
    let said = healthy.stdout();
    let came = arrived(&said);
    for lane in ["reliable_ordered", "reliable_unordered"] {
        let mut numbers = came[&(lane.to_owned(), run)].clone();
        numbers.sort_unstable();
        let all: Vec<u64> = (numbers[0]..).take(numbers.len()).collect();
        assert!(numbers == all, "{lane}: {}", difference(&numbers));
        assert_eq!(counted(&counters(&said), lane, "missed"), 0);
    }
    // The slow reader dropped and counted the messages that it did not read in time, so its memory is bounded.
    let by_slow = counters(&sluggish.stdout());
    assert!(counted(&by_slow, "unreliable_sequenced", "coalesced") > 0, "{by_slow}");
    assert!(memory < 100, "the slow reader uses {memory} MiB");
    figure(&format!("the slow reader uses {memory} MiB"));
    // The suspended reader continues in order.
    let newest = &arrived(&stopped.stdout())[&("unreliable_sequenced".to_owned(), run)];
    assert!(newest.is_sorted_by(|a, b| a < b));
}
