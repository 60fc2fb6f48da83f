//! Many controllers and visualizations in a few processes on the hosts of a lab, using the program `load_test`.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Host, Running, eventually};

/// A process with visualizations, or with apps that play them.
///
/// It prints the status of each of its nodes five times a second.
pub struct Ensemble {
    running: Running,
}

/// The time limit for changes, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(20);

impl Ensemble {
    /// Starts a process with these visualizations. `more` contains further arguments, such as `--parameters 10`.
    #[must_use]
    #[track_caller]
    pub fn stage(host: &Host, ids: &[&str], more: &str) -> Self {
        Self::start(host, "stage", ids, &[], more)
    }

    /// Starts a process with these apps, each of which plays all of these visualizations.
    #[must_use]
    #[track_caller]
    pub fn controllers(host: &Host, ids: &[&str], plays: &[&str], more: &str) -> Self {
        Self::start(host, "hands", ids, plays, more)
    }

    #[track_caller]
    fn start(host: &Host, what: &str, ids: &[&str], plays: &[&str], more: &str) -> Self {
        let mut command = host.command("load_test");
        command.arg(what);
        command.args(ids.iter().flat_map(|id| ["--id", id]));
        command.args(plays.iter().flat_map(|id| ["--plays", id]));
        command.args(more.split_whitespace());
        Self { running: host.spawn(command) }
    }

    /// Returns the process.
    pub const fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Returns the lines about a node, from the earliest to the latest.
    #[must_use]
    pub fn lines(&self, node: &str) -> Vec<Value> {
        let text = self.running.stdout();
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        let lines = text[..whole].lines().map(|line| {
            serde_json::from_str::<Value>(line)
                .unwrap_or_else(|error| panic!("no JSON: {line}: {error}"))
        });
        lines.filter(|line| line["node"] == node).collect()
    }

    /// Returns the last line about a node, or `None` if there is none.
    #[must_use]
    pub fn last(&self, node: &str) -> Option<Value> {
        let text = self.running.stdout();
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        let of_node = format!("\"node\":\"{node}\"");
        let line = text[..whole].lines().rfind(|line| line.contains(&of_node))?;
        let line = serde_json::from_str(line);
        Some(line.unwrap_or_else(|error| panic!("no JSON of {node}: {error}")))
    }

    /// Waits until `is_expected` accepts the last line about a node, and returns the line.
    ///
    /// Fails the test if that takes too long.
    #[track_caller]
    pub fn wait_for(
        &self,
        node: &str,
        awaited: &str,
        mut wished: impl FnMut(&Value) -> bool,
    ) -> Value {
        eventually(SOON, awaited, || match self.last(node) {
            Some(last) if wished(&last) => Ok(last),
            last => Err(last),
        })
    }

    /// Collects the lines about a node that arrive within `time`.
    #[track_caller]
    pub fn during(&self, node: &str, time: Duration) -> Vec<Value> {
        let before = self.lines(node).len();
        let begun = Instant::now();
        eventually(time + SOON, "the time to pass", || {
            if begun.elapsed() >= time { Ok(()) } else { Err(begun.elapsed()) }
        });
        self.lines(node).split_off(before)
    }

    /// Waits until `app` plays `visualization` directly.
    #[track_caller]
    pub fn wait_until_direct(&self, app: &str, visualization: &str) -> Value {
        self.wait_for(app, &format!("{app} to play {visualization} directly"), |line| {
            let status = &line["plays"][visualization];
            status["path"] == "direct" && status["round_trip_us"].is_u64()
        })
    }
}
