use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::Context;
use clap::Args;
use hana_engine::playout::BatcherSettings;
use hana_network::{Node, NodeConfig, PlaySession};
use hana_protocol::contract::routes::Route;
use hana_protocol::id::role::NodeRole;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{ModulationBatch, PlayStatus};
use hana_protocol::parameter::ParameterName;
use serde::Serialize;

use crate::{JOIN, LEAVE, TELL, ramp};

#[derive(Args)]
pub(crate) struct HandsOn {
    /// The id of an app; once for each
    #[arg(long = "id", required = true)]
    ids: Vec<NodeId>,
    /// Makes them bridges
    #[arg(long)]
    bridge: bool,
    /// A visualization that each app plays; once for each
    #[arg(long = "plays", required = true)]
    plays: Vec<NodeId>,
    /// The number of the parameter that the first app plays
    #[arg(long, default_value_t = 0)]
    from: usize,
    /// Values a second of each parameter
    #[arg(long, default_value_t = 30)]
    per_second: u32,
    /// Milliseconds between two values, instead of `--per-second`
    #[arg(long)]
    every_ms: Option<u64>,
    /// Sends each value by itself
    #[arg(long)]
    one_by_one: bool,
}

/// One app: a play session for each visualization, and the parameter that the app plays.
struct Hands<R: NodeRole> {
    node: Node<R>,
    parameter: ParameterName,
    sessions: Vec<PlaySession>,
    set: u64,
    refused: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    node: &'a NodeId,
    at: f64,
    /// How often it has set its parameter on each visualization.
    set: u64,
    /// How often setting it failed.
    refused: u64,
    plays: BTreeMap<NodeId, PlayStatus>,
}

impl HandsOn {
    pub(crate) fn run(self, told_to_end: &AtomicBool) -> anyhow::Result<()> {
        if self.bridge {
            self.run_as::<role::Bridge>(told_to_end)
        } else {
            self.run_as::<role::App>(told_to_end)
        }
    }

    fn run_as<R: NodeRole>(self, told_to_end: &AtomicBool) -> anyhow::Result<()>
    where
        ModulationBatch: Route<R, role::Visualization>,
    {
        let joining = self
            .ids
            .iter()
            .map(|id| Ok(Node::<R>::join(NodeConfig::from_environment(id.clone())?)));
        let joining = joining.collect::<anyhow::Result<Vec<_>>>()?;
        let one_by_one = BatcherSettings { moment: Duration::ZERO, every: Duration::ZERO };
        let settings = if self.one_by_one { one_by_one } else { BatcherSettings::default() };
        let mut all = vec![];
        for (number, node) in joining.into_iter().enumerate() {
            let node = node.wait(JOIN).context("joining the mesh")?.context("joining the mesh")?;
            let parameter = ParameterName::new(&format!("p{}", self.from + number))?;
            let session = |id| node.play_session_with(id, settings);
            let sessions = self.plays.iter().map(session).collect();
            all.push(Hands { node, parameter, sessions, set: 0, refused: 0 });
        }
        let pause = self
            .every_ms
            .map_or_else(|| Duration::from_secs(1) / self.per_second.max(1), Duration::from_millis);
        let begun = Instant::now();
        let (mut next, mut next_line) = (begun, begun);
        let mut out = io::stdout().lock();
        while !told_to_end.load(Ordering::Acquire) {
            if Instant::now() >= next {
                for hands in &mut all {
                    hands.play(ramp::at(ramp::now()));
                }
                // After a delay on a busy machine, missed values are not sent later.
                next = (next + pause).max(Instant::now());
            }
            if Instant::now() >= next_line {
                next_line += TELL;
                for hands in &all {
                    // A full disk costs lines, not the show.
                    writeln!(out, "{}", serde_json::to_string(&hands.line())?).ok();
                }
            }
            thread::sleep(next.min(next_line).saturating_duration_since(Instant::now()));
        }
        for hands in &all {
            writeln!(out, "{}", serde_json::to_string(&hands.line())?).ok();
        }
        for hands in all {
            drop(hands.sessions);
            hands.node.leave().wait(LEAVE).ok();
        }
        Ok(())
    }
}

impl<R: NodeRole> Hands<R> {
    fn play(&mut self, value: f32) {
        self.set += 1;
        for session in &self.sessions {
            self.refused += u64::from(session.set(&self.parameter, value).is_err());
        }
    }

    fn line(&self) -> Line<'_> {
        let plays = self.sessions.iter().map(|of| (of.node().clone(), of.status()));
        Line {
            node: self.node.id(),
            at: ramp::now(),
            set: self.set,
            refused: self.refused,
            plays: plays.collect(),
        }
    }
}
