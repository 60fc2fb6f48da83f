//! `hana bench`: that it measures, says what in plain words and in JSON, and leaves nothing behind. The figures are
//! for who runs it; no test asserts on them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use hana_tests::Lab;
use hana_tests::Signal;
use hana_tests::eventually;
use hana_tests::show::hana;
use hana_tests::show::start_daemon;

/// A round is some seconds, on a machine that is busy with other tests too.
const BENCH: Duration = Duration::from_mins(2);

#[test]
fn recovery_is_measured_beside_a_raw_token_and_nothing_stays() {
    let Some(lab) = Lab::new("bench") else { return };
    let host = lab.host("h1");
    let mut command = host.command("hana");
    command.args(["bench", "recovery", "--rounds", "2", "--json"]);
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
    // The first figure is what the bench is about; its reference was measured too.
    assert_eq!(report["ours"], figures[0]["ours"]);
    assert!(report["raw"]["ms"].as_f64().unwrap() > 0.0, "{report}");
    assert!(report["ratio"].as_f64().unwrap() > 0.0, "{report}");
    eventually(Duration::from_secs(10), "everything that it started to have ended", || {
        let left = host.processes();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn a_bench_that_is_interrupted_or_not_alone_leaves_all_as_it_was() {
    let Some(lab) = Lab::new("bench-ends") else { return };
    let host = lab.host("h1");
    let mut command = host.command("hana");
    command.args(["bench", "recovery", "--rounds", "1000"]);
    let mut bench = host.spawn(command);
    eventually(BENCH, "a visualization of the bench's", || {
        host.processes().iter().any(|process| process.command.ends_with("pulse"))
    });
    bench.kill(Signal::INT);
    assert_eq!(bench.wait(BENCH).code(), Some(1));
    assert!(bench.stderr().contains("interrupted"), "{}", bench.stderr());
    eventually(Duration::from_secs(10), "everything that it started to have ended", || {
        let left = host.processes();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });

    let daemon = start_daemon(&host);
    let refused = hana(&host, ["bench", "recovery"]);
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr.contains("a daemon runs on this machine"), "{refused}");
    drop(daemon);
}
