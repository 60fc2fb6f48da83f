//! Members of Ableton Link sessions: `hana-link`, and foreign programs.

use std::cell::RefCell;
use std::process::Command;
use std::time::Duration;

use rustix::time::ClockId;

use crate::skip::skip;
use crate::{Host, Running, Signal, eventually, foreign, program};

/// A program in an Ableton Link session, which prints its state line by line.
pub struct LinkMember {
    running: Running,
    /// The parsed reports, and the number of bytes that they took in the output.
    read: RefCell<(Vec<Look>, usize)>,
}

/// Bindings of Ableton Link for Python, by different authors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// `LinkPython-extern`.
    LinkPython,
    /// `aalink`.
    Aalink,
}

/// A report of a member about its session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// The tempo in beats per minute.
    pub bpm: f64,
    /// The beat at the time `at_us`.
    pub beat: f64,
    /// The time in microseconds of the kernel's clock, [`now_us`], unless the program is configured with another
    /// clock.
    pub at_us: f64,
    /// The number of beats in a bar.
    pub quantum: f64,
    /// Whether the session plays.
    pub playing: bool,
    /// The number of other members.
    pub peers: u64,
}

/// The time limit for setup, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// Returns whether `hana-link` was built, which needs cmake and libclang. Prints `skipped: ...` if not.
#[must_use]
pub fn is_built() -> bool {
    let built = program::programs().join("hana-link").is_file();
    if !built {
        let reason = "hana-link is not built here; `cargo build --workspace` builds it, with cmake and libclang";
        skip("a test", reason);
    }
    built
}

/// Returns the time of the kernel's clock, which all hosts of a lab share: microseconds of `CLOCK_MONOTONIC`.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn now_us() -> f64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    (now.tv_nsec as f64).mul_add(1e-3, now.tv_sec as f64 * 1e6)
}

impl LinkMember {
    /// Starts `hana-link --json`, after `configure` has added its settings.
    #[track_caller]
    #[must_use]
    pub fn ours(host: &Host, configure: impl FnOnce(&mut Command)) -> Self {
        let mut command = host.command("hana-link");
        command.arg("--json");
        configure(&mut command);
        Self::of(host.spawn_with_input(command))
    }

    /// Wraps a running program that prints reports like `hana-link --json`.
    #[must_use]
    pub const fn of(running: Running) -> Self {
        Self { running, read: RefCell::new((vec![], 0)) }
    }

    /// Starts a program that is independent of hana.
    #[track_caller]
    #[must_use]
    pub fn foreign(host: &Host, kind: Foreign, bpm: f64, quantum: f64) -> Self {
        let mut command = host.command(foreign::python());
        let kind = match kind {
            Foreign::LinkPython => "link",
            Foreign::Aalink => "aalink",
        };
        command.args(["-W", "ignore"]).arg(foreign::script("link_peer.py"));
        command.args([kind, &bpm.to_string(), &quantum.to_string()]);
        Self::of(host.spawn_with_input(command))
    }

    /// Watches the timeline of a host's daemon with `hana`.
    #[track_caller]
    #[must_use]
    pub fn timeline_of(host: &Host) -> Self {
        let mut command = host.command("hana");
        command.args(["watch", "--json", &format!("hana/{}/timeline", host.name())]);
        Self::of(host.spawn_with_input(command))
    }

    /// Returns a field of the last complete line, or null if the line has no such field.
    #[track_caller]
    #[must_use]
    pub fn field(&self, name: &str) -> serde_json::Value {
        let printed = self.running.stdout();
        let whole = printed.rfind('\n').map_or("", |end| &printed[..end]);
        let line = whole.lines().last().expect("there is a line");
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON: {line}: {error}"));
        line.get("value").unwrap_or(&line)[name].clone()
    }

    /// Sends a command, such as `tempo 133`, `play` or `pause`.
    #[track_caller]
    pub fn send_line(&mut self, order: &str) {
        self.running.send_line(order);
    }

    /// Returns all reports so far.
    #[must_use]
    pub fn looks(&self) -> Vec<Look> {
        self.reports_since(0)
    }

    /// Returns the number of reports so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.read();
        self.read.borrow().0.len()
    }

    /// Returns the reports after the first `since`.
    #[must_use]
    pub fn reports_since(&self, since: usize) -> Vec<Look> {
        self.read();
        self.read.borrow().0.get(since..).unwrap_or_default().to_vec()
    }

    /// Returns the last report.
    #[must_use]
    pub fn last(&self) -> Option<Look> {
        self.read();
        self.read.borrow().0.last().copied()
    }

    fn read(&self) {
        let said = self.running.stdout();
        let (looks, bytes) = &mut *self.read.borrow_mut();
        // The last line may be incomplete.
        if let Some(end) = said.get(*bytes..).and_then(|new| new.rfind('\n')) {
            looks.extend(said[*bytes..*bytes + end].lines().map(Look::parse));
            *bytes += end + 1;
        }
    }

    /// Waits for a report that `is_so` accepts, and returns it.
    #[track_caller]
    pub fn wait_for(&self, awaited: &str, is_so: impl Fn(&Look) -> bool) -> Look {
        self.wait_for_since(0, awaited, is_so)
    }

    /// Waits for a report after the first `since` that `is_so` accepts, and returns it.
    #[track_caller]
    pub fn wait_for_since(
        &self,
        since: usize,
        awaited: &str,
        is_so: impl Fn(&Look) -> bool,
    ) -> Look {
        eventually(SOON, awaited, || {
            let found = self.reports_since(since).into_iter().find(&is_so);
            found.ok_or_else(|| (self.last(), self.running.stderr()))
        })
    }

    /// Makes the program leave the session, and waits until it ends.
    #[track_caller]
    pub fn leave(mut self) {
        self.running.hang_up();
        let output = self.running.finish(SOON);
        assert!(output.status.success(), "{output}");
    }

    /// Sends a signal to the program.
    #[track_caller]
    pub fn kill(&self, signal: Signal) {
        self.running.kill(signal);
    }
}

impl Look {
    /// Parses a line of JSON from a member, or from `hana watch` for the timeline of a host.
    #[track_caller]
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON: {line}: {error}"));
        let value = value.get("value").unwrap_or(&value);
        let number = |name: &str| {
            value[name].as_f64().unwrap_or_else(|| panic!("no number '{name}' in {line}"))
        };
        Self {
            bpm: number("bpm"),
            beat: number("beat"),
            at_us: number("at_us"),
            quantum: number("quantum"),
            playing: value["playing"] == true,
            peers: value["peers"].as_u64().unwrap_or(0),
        }
    }

    /// Returns the beat at another time, provided that the timeline does not change.
    #[must_use]
    pub fn beat_at(&self, at_us: f64) -> f64 {
        (at_us - self.at_us).mul_add(self.bpm / 60e6, self.beat)
    }

    /// Returns the distance of the beats of two members in microseconds.
    ///
    /// It compares their positions in the bar, since Link shares nothing else.
    #[must_use]
    pub fn apart_us(&self, other: &Self) -> f64 {
        let at = self.at_us.max(other.at_us);
        let beats = (self.beat_at(at) - other.beat_at(at)).rem_euclid(self.quantum);
        beats.min(self.quantum - beats) * 60e6 / self.bpm
    }

    /// Returns the deviation of the beat from the prediction of an earlier report, in microseconds.
    #[must_use]
    pub fn jumped_us(&self, earlier: &Self) -> f64 {
        (self.beat - earlier.beat_at(self.at_us)).abs() * 60e6 / self.bpm
    }
}
