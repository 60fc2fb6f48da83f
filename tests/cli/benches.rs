//! `hana-bench` measures, reports in words and in JSON, and leaves no process behind. No test checks its results.

use std::time::Duration;

use hana_lab::show::start_daemon;
use hana_lab::{Lab, Signal, eventually};
use serde_json::Value;

/// The time limit for a round, which takes some seconds, also on a machine that is busy with other tests.
const BENCH: Duration = Duration::from_mins(2);

#[test]
fn recovery_bench_compares_with_raw_token_and_cleans_up() {
    let Some(lab) = Lab::new("bench") else { return };
    let host = lab.host("h1");
    let mut command = host.command("hana-bench");
    command.args(["recovery", "--rounds", "2", "--json"]);
    let report = host.run_within(BENCH, command).ok().json();
    assert_eq!(report["bench"], "recovery");
    assert_eq!(report["rounds"], 2);
    let figures = report["figures"].as_array().unwrap();
    let names: Vec<&str> = figures.iter().map(|figure| figure["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["crash noticed", "stop noticed", "hang noticed", "restored"]);
    for figure in figures {
        let (median, worst) = (&figure["ours"]["ms"], &figure["ours"]["worst_ms"]);
        assert!(median.as_f64().unwrap() > 0.0 && worst.as_f64() >= median.as_f64(), "{figure}");
    }
    // The first comparison is the main result of the bench, and its reference was measured too.
    assert_eq!(report["ours"], figures[0]["ours"]);
    assert!(report["raw"]["ms"].as_f64().unwrap() > 0.0, "{report}");
    assert!(report["ratio"].as_f64().unwrap() > 0.0, "{report}");
    eventually(Duration::from_secs(10), "every process of the bench to end", || {
        let left = host.processes();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

/// Runs a bench on a separate host, and checks the fields that every report has and that no process remains.
fn report(lab: &str, words: &[&str]) -> Option<Value> {
    let lab = Lab::new(lab)?;
    let host = lab.host("h1");
    let mut command = host.command("hana-bench");
    command.args(words).arg("--json");
    let report = host.run_within(BENCH, command).ok().json();
    assert_eq!(report["bench"], words[0]);
    let figures = report["figures"].as_array().unwrap();
    // The first comparison is the main result of the bench.
    for part in ["ours", "raw", "ratio"] {
        assert!(!report[part].is_null(), "{part}: {report}");
        assert_eq!(report[part], figures[0][part]);
    }
    eventually(Duration::from_secs(10), "every process of the bench to end", || {
        let left = host.processes();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    Some(report)
}

fn number(of: &Value) -> f64 {
    of.as_f64().unwrap_or_else(|| panic!("{of} is no number"))
}

#[test]
fn latency_bench_compares_with_raw_links_and_gateways() {
    let words = ["latency", "--rounds", "2", "--messages", "40"];
    let Some(report) = report("bench-latency", &words) else { return };
    let figures = report["figures"].as_array().unwrap();
    let names: Vec<&str> = figures.iter().map(|figure| figure["name"].as_str().unwrap()).collect();
    let lanes =
        ["unreliable_sequenced", "reliable_ordered", "unreliable_unordered", "reliable_unordered"];
    let played = ["modulation", "modulation, 64 at once", "modulation, UDP", "command answered"];
    assert_eq!(names, [&played[..], &lanes[..]].concat());
    for figure in figures {
        for side in ["ours", "raw"] {
            let (half, most) = (number(&figure[side]["p50_us"]), number(&figure[side]["p99_us"]));
            // A latency below that of a system call, or above that of any message, is not a real measurement.
            assert!(half > 1.0 && most >= half && most < 1e6, "{side}: {figure}");
        }
        assert!(number(&figure["ratio"]) > 0.0 && number(&figure["ratio_p99"]) > 0.0, "{figure}");
    }
}

#[test]
fn throughput_bench_compares_with_raw_messages() {
    let words = ["throughput", "--rounds", "1", "--ms", "100"];
    let Some(report) = report("bench-throughput", &words) else { return };
    let figures = report["figures"].as_array().unwrap();
    assert_eq!(figures.len(), 6, "{report}");
    let came = figures.iter().filter(|of| number(&of["ours"]["per_s"]) > 100.0).count();
    assert!(came >= 4, "{report}");
    for figure in figures {
        for side in ["ours", "raw"] {
            // A debug build may be so slow that everything received in the first tenth of a second is stale and
            // counts as lost.
            assert!(number(&figure[side]["per_s"]) >= 0.0, "{side}: {figure}");
            assert!((0.0..=1.0).contains(&number(&figure[side]["loss"])), "{side}: {figure}");
        }
    }
}

#[test]
fn modulation_bench_reports_lost_and_stale_values() {
    let words = ["modulation", "--visualizations", "2", "--seconds", "1"];
    let Some(report) = report("bench-modulation", &words) else { return };
    for side in ["ours", "raw"] {
        assert!(number(&report[side]["per_s"]) > 1000.0, "{report}");
        assert!((0.0..0.5).contains(&number(&report[side]["loss"])), "{report}");
    }
    assert!(report["ours"]["stale"].is_u64(), "{report}");
}

#[test]
fn discovery_bench_compares_with_raw_clients() {
    let words = ["discovery", "--hosts", "2", "--nodes", "4", "--rounds", "1"];
    let Some(report) = report("bench-discovery", &words) else { return };
    let figures = report["figures"].as_array().unwrap();
    assert_eq!(figures.len(), 2, "{report}");
    for figure in figures {
        for side in ["ours", "raw"] {
            let (ms, worst) = (number(&figure[side]["ms"]), number(&figure[side]["worst_ms"]));
            assert!(ms > 0.0 && worst >= ms && worst < 30_000.0, "{side}: {figure}");
        }
    }
}

#[test]
fn interrupted_or_refused_bench_leaves_nothing_behind() {
    let Some(lab) = Lab::new("bench-ends") else { return };
    let host = lab.host("h1");
    let mut command = host.command("hana-bench");
    command.args(["recovery", "--rounds", "1000"]);
    let mut bench = host.spawn(command);
    eventually(BENCH, "a visualization of the bench", || {
        host.processes().iter().any(|process| process.command.ends_with("pulse"))
    });
    bench.kill(Signal::INT);
    assert_eq!(bench.wait(BENCH).code(), Some(1));
    assert!(bench.stderr().contains("interrupted"), "{}", bench.stderr());
    eventually(Duration::from_secs(10), "every process of the bench to end", || {
        let left = host.processes();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });

    let daemon = start_daemon(&host);
    let refused = host.run(["hana-bench", "recovery"]);
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr.contains("a daemon runs on this machine"), "{refused}");
    drop(daemon);
}
