//! All failures of a visualization under all presets, and the expected outcome of each.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hana_lab::show::{Show, figure, hana, node, nodes};
use hana_lab::{Lab, Signal, eventually};
use serde_json::Value;

/// The way in which a visualization fails.
#[derive(Debug, Clone, Copy)]
enum Failure {
    /// The visualization fails on its own; see `fixtures/fault_injection`.
    Itself(&'static str),
    /// The visualization receives a signal.
    Sent(Signal),
    /// An operator types a command about the visualization.
    Typed(&'static str),
    /// The visualization fails during its start.
    AtStart(&'static str),
    /// A script that never joins the mesh returns this code.
    Script(u8),
}

use Failure::{AtStart, Itself, Script, Sent, Typed};

/// The expected outcome.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// The visualization is down, in this state, and was not restarted.
    Down(&'static str),
    /// The visualization runs as the same process, in this state.
    Stays(&'static str),
    /// The visualization runs as another process, after one restart.
    RunsAgain,
    /// The visualization stays down after five restarts.
    Loop,
    /// The visualization is restarted again and again, more often than any budget allows.
    ForEver,
}

use Outcome::{Down, ForEver, Loop, RunsAgain, Stays};

/// A failure, the words that must appear in its report, the deadline in seconds, and the outcome under each preset.
///
/// The deadlines are generous, because the machine may be busy; the measured times are printed.
struct Row {
    name: &'static str,
    how: Failure,
    reason: &'static str,
    within_s: u64,
    show: Outcome,
    installation: Outcome,
    manual: Outcome,
}

#[rustfmt::skip]
const TABLE: [Row; 15] = [
    Row { name: "exit-0",       how: Itself("exit 0"),     reason: "by a person",   within_s: 10, show: Down("closed"),  installation: Down("closed"),  manual: Down("closed") },
    Row { name: "exit-1",       how: Itself("exit 1"),     reason: "exit code 1",   within_s: 10, show: RunsAgain,       installation: RunsAgain,       manual: Down("crashed") },
    Row { name: "panics",       how: Itself("panic"),      reason: "exit code 101", within_s: 10, show: RunsAgain,       installation: RunsAgain,       manual: Down("crashed") },
    Row { name: "segv",         how: Itself("segv"),       reason: "SIGSEGV",       within_s: 10, show: RunsAgain,       installation: RunsAgain,       manual: Down("crashed") },
    Row { name: "aborts",       how: Itself("abort"),      reason: "SIGABRT",       within_s: 10, show: RunsAgain,       installation: RunsAgain,       manual: Down("crashed") },
    Row { name: "killed",       how: Sent(Signal::KILL),   reason: "SIGKILL",       within_s: 10, show: RunsAgain,       installation: RunsAgain,       manual: Down("crashed") },
    Row { name: "ctrl-c",       how: Sent(Signal::INT),    reason: "Ctrl-C",        within_s: 10, show: Down("closed"),  installation: Down("closed"),  manual: Down("closed") },
    Row { name: "stopped",      how: Typed("stop"),        reason: "stopped",       within_s: 10, show: Down("stopped"), installation: Down("stopped"), manual: Down("stopped") },
    Row { name: "suspended",    how: Sent(Signal::STOP),   reason: "no sign of life", within_s: 20, show: Stays("unresponsive"), installation: RunsAgain, manual: Stays("unresponsive") },
    Row { name: "frozen",       how: Itself("freeze"),     reason: "has made no progress", within_s: 20, show: Stays("unresponsive"), installation: RunsAgain, manual: Stays("unresponsive") },
    Row { name: "two-fps",      how: Itself("slow"),       reason: "draws only",    within_s: 10, show: Stays("slow"),   installation: Stays("slow"),   manual: Stays("slow") },
    Row { name: "never-there",  how: AtStart("never"),     reason: "not on the mesh", within_s: 30, show: Stays("unresponsive"), installation: ForEver, manual: Stays("unresponsive") },
    Row { name: "at-each-start", how: AtStart("crash"),    reason: "exit code 1",   within_s: 30, show: Loop,            installation: ForEver,         manual: Down("crashed") },
    Row { name: "script-0",     how: Script(0),            reason: "exit code 0",   within_s: 10, show: Down("closed"),  installation: Down("closed"),  manual: Down("closed") },
    Row { name: "script-3",     how: Script(3),            reason: "exit code 3",   within_s: 10, show: RunsAgain,       installation: RunsAgain,       manual: Down("crashed") },
];

impl Row {
    /// Returns the visualization's entry in the catalogue.
    ///
    /// With the default limits, a start that is never completed would be reported after half a minute, and after
    /// another five seconds each time.
    fn entry(&self, preset: &str, dir: &Path) -> String {
        let mut entry = format!("[visualizations.{}]\npolicy = \"{preset}\"\n", self.name);
        match self.how {
            Script(code) => writeln!(
                entry,
                "program = \"sh\"\nargs = [\"-c\", \"while ! [ -e {file} ]; do sleep 0.1; done; rm {file}; exit {code}\"]\nmesh = false",
                file = dir.join(self.name).display()
            ),
            AtStart(how) => writeln!(
                entry,
                "program = \"fault_injection\"\nenv = {{ FAULT_INJECTION_START = \"{how}\" }}\n\
                 [visualizations.{name}.health]\nstartup_s = 2\nrestart_after_s = 0.5\n\
                 [visualizations.{name}.restart]\ninitial_s = 0.05\nmax_s = 0.2",
                name = self.name
            ),
            Itself(_) | Sent(_) | Typed(_) => writeln!(
                entry,
                "program = \"fault_injection\"\nenv = {{ FAULT_INJECTION_DIR = \"{}\" }}",
                dir.display()
            ),
        }
        .unwrap();
        entry
    }

    /// Returns whether `now` is the expected outcome. `before` is the pid before the failure.
    fn is_so(&self, outcome: Outcome, now: &Value, before: &Value) -> bool {
        let (state, restarts) = (now["state"].as_str().unwrap(), now["restarts"].as_u64().unwrap());
        let (lives, same) = (!now["pid"].is_null(), now["pid"] == *before);
        match outcome {
            Down(expected) => (state, restarts, lives) == (expected, 0, false),
            Stays(expected) => (state, restarts, same) == (expected, 0, true),
            RunsAgain => state == "running" && restarts == 1 && lives && !same,
            Loop => (state, restarts, lives) == ("crash_loop", 5, false),
            // The budget of `show` is five.
            ForEver => restarts > if self.name == "at-each-start" { 7 } else { 1 },
        }
    }
}

/// Runs the column of a preset, with all its visualizations on one host at the same time.
fn column(preset: &str, outcome_of: fn(&Row) -> Outcome) {
    let Some(lab) = Lab::new(&format!("fail-{preset}")) else { return };
    let dir = lab.directory().join("fault_injection");
    fs::create_dir_all(&dir).unwrap();
    let catalogue: String = TABLE.iter().map(|row| row.entry(preset, &dir)).collect();
    let mut show = Show::with_catalogue(&lab, &["h1"], &catalogue);
    let h1 = show.host("h1");
    for row in &TABLE {
        hana(h1, ["start", row.name]).ok();
    }
    let running = eventually(Duration::from_mins(1), "all that can run to run", || {
        let nodes = nodes(h1);
        let runs = |row: &&Row| {
            matches!(row.how, AtStart(_))
                || node(&nodes, row.name).is_some_and(|node| node["state"] == "running")
        };
        if TABLE.iter().all(|row| runs(&row)) { Ok(nodes) } else { Err(nodes) }
    });
    let script = node(&running, "script-0").unwrap();
    assert!(
        script["reason"].as_str().unwrap().contains("monitored by its process alone"),
        "{script}"
    );
    let failed: Vec<(&Row, Value, Instant)> = TABLE
        .iter()
        .map(|row| {
            let pid = node(&running, row.name).unwrap()["pid"].clone();
            let now = Instant::now();
            match row.how {
                Itself(how) => {
                    // The file is created in one step, since the program checks for it twenty times a second.
                    fs::write(dir.join("new"), how).unwrap();
                    fs::rename(dir.join("new"), dir.join(row.name)).unwrap();
                },
                Script(_) => fs::write(dir.join(row.name), "").unwrap(),
                Sent(signal) => h1.kill(signal, pid.as_i64().unwrap().try_into().unwrap()),
                Typed(command) => drop(hana(h1, [command, row.name]).ok()),
                AtStart(_) => {},
            }
            (row, pid, now)
        })
        .collect();
    let mut times = vec![None; failed.len()];
    eventually(Duration::from_mins(1), "every expected outcome", || {
        let nodes = nodes(h1);
        for ((row, before, began), time) in failed.iter().zip(&mut times) {
            let now = node(&nodes, row.name).unwrap();
            if time.is_none() && row.is_so(outcome_of(row), now, before) {
                *time = Some(began.elapsed().as_secs_f64());
            }
            assert!(
                time.is_some() || began.elapsed() < Duration::from_secs(row.within_s),
                "{}: not {:?} within {} s: {now}",
                row.name,
                outcome_of(row),
                row.within_s
            );
        }
        times.iter().all(Option::is_some)
    });
    let times: Vec<String> = failed
        .iter()
        .zip(times.iter().flatten())
        .map(|((row, ..), time)| format!("{} {time:.1}", row.name))
        .collect();
    figure(&format!("policy {preset}, seconds until the outcome was seen: {}", times.join(", ")));
    // Nothing changes after a while: no restart comes late, twice or repeatedly. The pause is longer than any in the
    // table.
    std::thread::sleep(Duration::from_secs(1));
    let later = nodes(h1);
    for (row, before, _) in &failed {
        let now = node(&later, row.name).unwrap();
        assert!(row.is_so(outcome_of(row), now, before), "{}: {now}", row.name);
        let processes = h1.processes();
        let alive = |pid: &Value| {
            processes.iter().any(|process| Some(i64::from(process.pid)) == pid.as_i64())
        };
        assert!(now["pid"].is_null() || alive(&now["pid"]), "{now}");
    }
    let log = show.daemon("h1").stderr();
    for (row, _, _) in &failed {
        let of_it = |line: &&str| line.contains(&format!("'{}' is ", row.name));
        assert!(
            log.lines().filter(of_it).any(|line| line.contains(row.reason)),
            "{} was not reported with the words '{}':\n{log}",
            row.name,
            row.reason
        );
    }
}

#[test]
fn show_policy_handles_every_failure() {
    column("show", |row| row.show);
}

#[test]
fn installation_policy_handles_every_failure() {
    column("installation", |row| row.installation);
}

#[test]
fn manual_policy_handles_every_failure() {
    column("manual", |row| row.manual);
}
