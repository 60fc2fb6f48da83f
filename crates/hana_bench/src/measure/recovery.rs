use std::fs;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use hana_engine::roster::NodeView;
use hana_protocol::id::NodeId;
use hana_protocol::message::{ProcessState, Set};
use hana_protocol::parameter::ParameterName;

use crate::baseline::token::BaselineToken;
use crate::error::BenchError;
use crate::figure::{FigureComparison, Report, TimeFigures};
use crate::fixture::child_guard::{ChildGuard, Signal, signal};
use crate::fixture::test_mesh::TestMesh;

/// The catalogue of three programs: one stays down, one is restarted, and one can be made to hang.
const CATALOGUE: &str = r#"
[visualizations.down]
program = "pulse"
policy  = "manual"

[visualizations.again]
program = "pulse"

[visualizations.again.restart]
budget  = "unlimited"
first_s = 0
initial_s = 0
max_s   = 0

[visualizations.hangs]
program = "fault_injection"
env     = { FAULT_INJECTION_DIR = "DIRECTORY" }
"#;

#[derive(Default)]
struct Samples {
    raw_crash: Vec<Duration>,
    crash: Vec<Duration>,
    stopped: Vec<Duration>,
    hung: Vec<Duration>,
    start: Vec<Duration>,
    restored: Vec<Duration>,
}

/// Measures how soon a failure is detected, and how soon the show has recovered.
///
/// Each case is measured `rounds` times, in alternation, at a few seconds per round. Blocks until the end or until
/// `ended` is set.
///
/// # Errors
///
/// Fails if a daemon already runs on this machine, a program is missing, or a step takes longer than 20 s.
pub(crate) fn recovery(rounds: usize, ended: &AtomicBool) -> Result<Report, BenchError> {
    let directory = tempfile::tempdir().map_err(BenchError::system("making a folder"))?;
    let catalogue = CATALOGUE
        .replace("DIRECTORY", &directory.path().display().to_string().replace('\\', "\\\\"));
    let raw = BaselineToken::start()?;
    let mut show = TestMesh::start(&catalogue, ended)?;
    let mut samples = Samples::default();
    for round in 0..rounds.max(1) {
        samples.raw_crash.push(raw.crash_noticed()?);
        samples.crash.push(crash_noticed(&mut show)?);
        samples.stopped.push(stop_noticed(&mut show)?);
        samples.hung.push(hang_noticed(&mut show, directory.path())?);
        samples.start.push(plain_start(&mut show)?);
        samples.restored.push(restored(&mut show, round)?);
    }
    Ok(samples.report(rounds.max(1)))
}

impl Samples {
    fn report(self, rounds: usize) -> Report {
        let crash = FigureComparison::of(
            "crash noticed",
            "from the kill until an app sees `crashed` with its cause",
            TimeFigures::of(self.crash),
            "a raw token",
            Some(TimeFigures::of(self.raw_crash)),
        );
        let others = vec![
            FigureComparison::of(
                "stop noticed",
                "from suspending the process until an app sees `unresponsive`",
                TimeFigures::of(self.stopped),
                "none: a raw token remains",
                None::<TimeFigures>,
            ),
            FigureComparison::of(
                "hang noticed",
                "from the last frame until an app sees `unresponsive`, while the network threads run",
                TimeFigures::of(self.hung),
                "none: a raw token remains",
                None::<TimeFigures>,
            ),
            FigureComparison::of(
                "restored",
                "from the kill until an app sees `running` with the last look; the reference is the start of the program alone",
                TimeFigures::of(self.restored),
                "its own start",
                Some(TimeFigures::of(self.start)),
            ),
        ];
        Report::of("recovery", rounds, crash, others)
    }
}

fn is_running(view: &NodeView) -> bool {
    view.state == ProcessState::Running && view.frame.is_some()
}

fn crash_noticed(show: &mut TestMesh<'_>) -> Result<Duration, BenchError> {
    let started = show.launch("down")?;
    show.wait_for(&started.node, "to run", is_running)?;
    let killed = Instant::now();
    signal(started.pid, Signal::Kill)?;
    let noticed = show.wait_for(&started.node, "to be crashed", |view| {
        view.state == ProcessState::Crashed && view.reason.contains("SIGKILL")
    })?;
    Ok(noticed.duration_since(killed))
}

fn is_unresponsive(view: &NodeView) -> bool {
    view.state == ProcessState::Unresponsive
}

fn stop_noticed(show: &mut TestMesh<'_>) -> Result<Duration, BenchError> {
    let started = show.launch("down")?;
    show.wait_for(&started.node, "to run", is_running)?;
    let stopped = Instant::now();
    signal(started.pid, Signal::Stop)?;
    let noticed = show.wait_for(&started.node, "to be unresponsive", is_unresponsive)?;
    signal(started.pid, Signal::Continue)?;
    show.end(&started.node)?;
    Ok(noticed.duration_since(stopped))
}

fn hang_noticed(
    show: &mut TestMesh<'_>,
    directory: &std::path::Path,
) -> Result<Duration, BenchError> {
    let started = show.launch("hangs")?;
    show.wait_for(&started.node, "to run", is_running)?;
    let file = directory.join(started.node.as_str());
    fs::write(&file, "freeze").map_err(BenchError::system("making a program hang"))?;
    // The program deletes the file and stops drawing frames.
    let deadline = Instant::now() + Duration::from_secs(10);
    while file.exists() {
        if Instant::now() > deadline {
            return Err(BenchError::NotWithin {
                awaited: "a program to hang".into(),
                seen: "its file untouched".into(),
                waited: Duration::from_secs(10),
            });
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let hung = Instant::now();
    let noticed = show.wait_for(&started.node, "to be unresponsive", is_unresponsive)?;
    show.end(&started.node)?;
    Ok(noticed.duration_since(hung))
}

/// Measures the program's own startup, from its launch until an app receives its first frame count.
fn plain_start(show: &mut TestMesh<'_>) -> Result<Duration, BenchError> {
    let id = NodeId::new("no_bevy").map_err(BenchError::network("naming a program"))?;
    let mut command = show.command("pulse")?;
    command.env("HANA_NODE", id.as_str());
    let begun = Instant::now();
    let child = ChildGuard::spawn(command, true)?;
    let pid = child.pid();
    let running = show.wait_for(&id, "to run", |view| is_running(view) && view.pid == Some(pid))?;
    drop(child);
    show.wait_until_gone(&id)?;
    Ok(running.duration_since(begun))
}

fn restored(show: &mut TestMesh<'_>, round: usize) -> Result<Duration, BenchError> {
    let started = show.launch("again")?;
    show.wait_for(&started.node, "to run", is_running)?;
    let zoom = ParameterName::new("zoom").map_err(BenchError::network("naming a parameter"))?;
    // The value differs from that of the previous round, so that an old value is not mistaken for the new one.
    let value = [0.25, 0.5, 0.75, 1.0][round % 4];
    let set = Set { parameters: [(zoom.clone(), value)].into(), ..Set::default() };
    show.set(&started.node, set)?;
    let has_look = |view: &NodeView| {
        let values = view.parameters.as_ref();
        values.and_then(|values| values.get(&zoom)).is_some_and(|is| (is - value).abs() < 1e-6)
    };
    show.wait_for(&started.node, "to be set", has_look)?;
    let killed = Instant::now();
    signal(started.pid, Signal::Kill)?;
    let again = show.wait_for(&started.node, "another run with the same look", |view| {
        is_running(view) && view.pid != Some(started.pid) && has_look(view)
    })?;
    show.end(&started.node)?;
    Ok(again.duration_since(killed))
}
