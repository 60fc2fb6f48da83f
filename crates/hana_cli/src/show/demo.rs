use std::env;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hana_network::{Node, PlaySession, local_us, unix_ms};
use hana_output::Stream;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{NodeInfo, Set, Start};
use hana_protocol::parameter::{Lfo, Modulator, Parameter, ParameterName, Period, Wave};
use hana_time::{ScheduleAt, Timeline};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::arguments::DemoArguments;
use crate::inspect::live_table::LiveTable;
use crate::inspect::node_table;
use crate::output::LastingOutput;
use crate::play::tempo;
use crate::show::process::{start_on, stop_it};
use crate::{mesh, output};

/// The program that the demo starts; its two instances swing at different phases.
const PROGRAM: &str = "ripples";
const COUNT: u32 = 2;
/// The parameter for which the demo sends only a modulator: name, bars for one swing, depth.
const MODULATED: (&str, f64, f32) = ("zoom", 4.0, 0.6);
/// The parameters that the demo plays: name, bars for one swing, depth.
const PLAYED: [(&str, f64, f32); 2] = [("hue", 8.0, 0.9), ("speed", 16.0, 0.5)];

/// Interval between two played values.
const PLAY_INTERVAL: Duration = Duration::from_millis(10);
/// Interval between two drawings of the table at a terminal. To a file, the table is written less often.
const DRAW_INTERVAL: Duration = Duration::from_millis(250);
const WRITE_INTERVAL: Duration = Duration::from_secs(2);
/// How long a daemon may take to listen, and a window to open.
const DAEMON_TIMEOUT: Duration = Duration::from_secs(10);
const WINDOW_TIMEOUT: Duration = Duration::from_mins(1);

pub(crate) fn run(arguments: &DemoArguments) -> anyhow::Result<()> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in ENDS {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    let out = LastingOutput::start()?;
    let daemon = DemoDaemon::start_if_none_runs(&out)?;
    let outcome = mesh::join().and_then(|node| {
        let mut show = Show { node, started: vec![], ended, out: &out };
        let outcome = show.play(arguments.seconds.map(Duration::from_secs));
        show.clean_up();
        outcome
    });
    daemon.stop(&out);
    out.flush();
    outcome
}

/// A closed terminal ends the demo as Ctrl-C does, and leaves nothing running.
#[cfg(unix)]
const ENDS: [i32; 4] = [SIGINT, SIGTERM, signal_hook::consts::SIGHUP, signal_hook::consts::SIGQUIT];
#[cfg(not(unix))]
const ENDS: [i32; 2] = [SIGINT, SIGTERM];

struct Show<'a> {
    node: Node<role::App>,
    started: Vec<NodeId>,
    ended: Arc<AtomicBool>,
    out: &'a LastingOutput,
}

/// A played visualization.
struct DemoPlayer {
    session: PlaySession,
    played: Vec<(Parameter, Modulator)>,
}

/// Returns the modulator for the visualization at that index.
fn swing((_, bars, depth): (&str, f64, f32), index: usize) -> Modulator {
    // The casts are exact, since `COUNT` is two.
    #[allow(clippy::cast_precision_loss)]
    let phase = index as f64 / f64::from(COUNT);
    Modulator::Lfo(Lfo { phase, depth, ..Lfo::new(Wave::Sine, Period::Bars(bars)) })
}

impl Show<'_> {
    fn play(&mut self, length: Option<Duration>) -> anyhow::Result<()> {
        let host = self.node.host().clone();
        for _ in 0..COUNT {
            let started = start_on(
                &self.node,
                &host,
                Start { name: PROGRAM.into(), id: None, at: ScheduleAt::Now },
            )?;
            self.out.line(format_args!("started '{}' (process {})", started.node, started.pid));
            self.started.push(started.node);
        }
        let mut watch = self.node.watch_mesh();
        let begun = Instant::now();
        let mut players: Vec<Option<DemoPlayer>> = self.started.iter().map(|_| None).collect();
        let [hue, speed] = PLAYED.map(|(name, ..)| name);
        let (zoom, ..) = MODULATED;
        self.out.line(format_args!(
            "playing {hue} and {speed} on the beat; a modulator moves {zoom}. Ctrl-C stops everything\n"
        ));
        let draw_every = if Stream::Stdout.is_terminal() { DRAW_INTERVAL } else { WRITE_INTERVAL };
        let (mut next_draw, mut live) = (Instant::now(), LiveTable::new()?);
        while !self.is_over(begun, length) {
            let tick = Instant::now();
            watch.poll();
            for (index, id) in self.started.iter().enumerate() {
                if players[index].is_none() && watch.roster().is_present(id) {
                    let info = watch.roster().info(id);
                    players[index] = info.and_then(|info| self.start_player(info, index).ok());
                }
                if let Some(player) = &players[index] {
                    let now = local_us();
                    let timeline = self.node.timeline().at(now).unwrap_or(Timeline::DEFAULT);
                    player.swing(&timeline, now);
                } else if begun.elapsed() > WINDOW_TIMEOUT {
                    bail!(
                        "'{id}' is not on the mesh after {} s; see `hana logs {id}`",
                        WINDOW_TIMEOUT.as_secs()
                    );
                }
            }
            let views = watch.roster().views(unix_ms());
            if tick >= next_draw && !views.is_empty() {
                let tempo = tempo::line(self.node.timeline());
                let below = tempo.as_slice();
                self.out.text(live.draw(&node_table::node_table(&views), below));
                next_draw = tick + draw_every;
            }
            std::thread::sleep(PLAY_INTERVAL.saturating_sub(tick.elapsed()));
        }
        Ok(())
    }

    fn start_player(&self, info: &NodeInfo, index: usize) -> anyhow::Result<DemoPlayer> {
        let name = ParameterName::new(MODULATED.0)?;
        let set = Set::default().with_modulator(name, swing(MODULATED, index));
        let done = self.node.command::<role::Visualization, _>(&info.node, set, mesh::COMMAND);
        done.wait(mesh::COMMAND * 2)??;
        let played = info.parameters.iter().filter_map(|parameter| {
            let swung = PLAYED.into_iter().find(|(name, ..)| *name == parameter.name.as_str())?;
            Some((parameter.clone(), swing(swung, index)))
        });
        let played = played.collect();
        Ok(DemoPlayer { session: self.node.play_session(&info.node), played })
    }

    fn is_over(&self, begun: Instant, length: Option<Duration>) -> bool {
        self.ended.load(Ordering::Acquire)
            || Stream::Stdout.is_closed()
            || length.is_some_and(|length| begun.elapsed() >= length)
    }

    fn clean_up(&self) {
        for id in &self.started {
            match stop_it(&self.node, id) {
                Ok(_) => self.out.line(format_args!("stopped '{id}'")),
                Err(problem) => output::warn(format_args!("cannot stop '{id}': {problem:#}")),
            }
        }
    }
}

impl DemoPlayer {
    fn swing(&self, timeline: &Timeline, now_us: i64) {
        for (parameter, swing) in &self.played {
            let value = swing.value_at(parameter, timeline, now_us);
            // An error is ignored, since a swing stays within the range.
            self.session.set(&parameter.name, value).ok();
        }
    }
}

/// The daemon that the demo started, if none was running.
struct DemoDaemon(Option<Child>);

impl DemoDaemon {
    fn start_if_none_runs(out: &LastingOutput) -> anyhow::Result<Self> {
        if hana_network::daemon_is_listening() {
            out.line("a daemon runs on this machine already; using it");
            return Ok(Self(None));
        }
        let program = beside("hanad")?;
        let mut command = Command::new(&program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        own_group(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("starting the daemon {}", program.display()))?;
        out.line(format_args!("started a daemon (process {})", child.id()));
        let mut daemon = Self(Some(child));
        let deadline = Instant::now() + DAEMON_TIMEOUT;
        while !hana_network::daemon_is_listening() {
            if let Some(child) = &mut daemon.0
                && let Some(status) = child.try_wait()?
            {
                daemon.0 = None;
                bail!("the daemon ended at once ({status}); run `hanad` by itself to see why");
            }
            if Instant::now() > deadline {
                daemon.stop(out);
                bail!("the daemon is not listening after {} s", DAEMON_TIMEOUT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// Stops the daemon, which stops its visualizations.
    fn stop(self, out: &LastingOutput) {
        let Some(mut child) = self.0 else { return };
        terminate(&child);
        let deadline = Instant::now() + DAEMON_TIMEOUT;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                child.kill().ok();
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        child.wait().ok();
        out.line("stopped the daemon");
    }
}

/// Returns the path of a program that is installed in the directory of this program.
fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let this = env::current_exe().context("finding the path of this program")?;
    let program = this.with_file_name(name).with_extension(env::consts::EXE_EXTENSION);
    if !program.exists() {
        bail!(
            "{} does not exist; build the whole workspace: `cargo build --workspace`",
            program.display()
        );
    }
    Ok(program)
}

/// Lets Ctrl-C at the terminal reach only this program, which stops the daemon cleanly.
#[cfg(unix)]
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(not(unix))]
const fn own_group(_: &mut Command) {}

#[cfg(unix)]
fn terminate(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    if let Err(problem) = rustix::process::kill_process(pid, rustix::process::Signal::TERM) {
        output::warn(format_args!("cannot terminate the daemon: {problem}"));
    }
}

#[cfg(not(unix))]
fn terminate(_: &Child) {
    // Windows cannot request the end of a program without a window; the daemon is killed after the deadline.
}
