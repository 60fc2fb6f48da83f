use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::Context;
use clap::Args;
use hana_network::{Node, NodeConfig};
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::LaneTraffic;
use hana_protocol::parameter::{Parameter, ParameterName};
use hana_protocol::wire::Lane;
use serde::Serialize;

use crate::{JOIN, LEAVE, TELL, ramp};

#[derive(Args)]
pub(crate) struct Stage {
    /// The id of a visualization; once for each
    #[arg(long = "id", required = true)]
    ids: Vec<NodeId>,
    /// How many parameters each has: p0, p1 ...
    #[arg(long, default_value_t = 4)]
    parameters: usize,
    /// Microseconds between two looks at the parameters
    #[arg(long, default_value_t = 2000)]
    look_us: u64,
    /// Also reports how old each value was when it was first seen
    #[arg(long)]
    ages: bool,
}

/// A visualization, with statistics of the values it received.
struct Visualization {
    node: Node<role::Visualization>,
    version: u64,
    values: Vec<f32>,
    heard: Vec<Heard>,
}

/// Statistics of a parameter since the beginning.
#[derive(Clone, Default, Serialize)]
struct Heard {
    /// Number of different values seen.
    count: u64,
    /// Number of values that were set before the previously seen one.
    backwards: u64,
    /// Age of the newest value when it was first seen.
    age_ms: f64,
    /// The highest age since the previous line.
    worst_ms: f64,
    /// The longest time between the settings of two successive values, since the previous line.
    gap_ms: f64,
    /// The age of each value since the previous line, in microseconds; with `--ages`.
    #[serde(skip_serializing_if = "Option::is_none")]
    ages_us: Option<Vec<u32>>,
    #[serde(skip)]
    set_at: Option<f64>,
}

#[derive(Serialize)]
struct Line<'a> {
    node: &'a NodeId,
    at: f64,
    /// Values of the parameters, by name.
    values: BTreeMap<ParameterName, f32>,
    heard: BTreeMap<ParameterName, Heard>,
    traffic: LaneTraffic,
}

impl Stage {
    pub(crate) fn run(self, told_to_end: &AtomicBool) -> anyhow::Result<()> {
        let names = (0..self.parameters).map(|n| ParameterName::new(&format!("p{n}")));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let joining = self.ids.iter().map(|id| {
            let parameters = names.iter().map(|name| Parameter::new(name.clone(), 0.0)).collect();
            let config = NodeConfig::from_environment(id.clone())?.with_parameters(parameters);
            Ok(Node::<role::Visualization>::join(config))
        });
        let joining = joining.collect::<anyhow::Result<Vec<_>>>()?;
        let mut all = vec![];
        for node in joining {
            let node = node.wait(JOIN).context("joining the mesh")?.context("joining the mesh")?;
            let ages_us = self.ages.then(Vec::new);
            let heard = vec![Heard { ages_us, ..Heard::default() }; names.len()];
            all.push(Visualization { node, version: 0, values: vec![], heard });
        }
        let pause = Duration::from_micros(self.look_us);
        let mut next_line = Instant::now() + TELL;
        let mut out = io::stdout().lock();
        while !told_to_end.load(Ordering::Acquire) {
            for of in &mut all {
                of.node.frames().tick();
                of.look();
            }
            if Instant::now() >= next_line {
                next_line += TELL;
                for of in &mut all {
                    // A full disk costs lines, not the show.
                    writeln!(out, "{}", serde_json::to_string(&of.line(&names))?).ok();
                    of.heard.iter_mut().for_each(Heard::begin_anew);
                }
            }
            all.retain(|of| !of.node.is_shutdown_requested());
            if all.is_empty() {
                break;
            }
            thread::sleep(pause);
        }
        let leaving: Vec<_> = all.into_iter().map(|of| of.node.close()).collect();
        for left in leaving {
            left.wait(LEAVE).ok();
        }
        Ok(())
    }
}

impl Visualization {
    fn look(&mut self) {
        let now = ramp::now();
        let mut values = std::mem::take(&mut self.values);
        let before = values.clone();
        self.version = self.node.parameters().read_if_changed(self.version, &mut values);
        // The initial value was not played.
        for ((value, before), heard) in values.iter().zip(before).zip(&mut self.heard) {
            if value.to_bits() != before.to_bits() {
                heard.see(*value, now);
            }
        }
        self.values = values;
    }

    fn line(&self, names: &[ParameterName]) -> Line<'_> {
        Line {
            node: self.node.id(),
            at: ramp::now(),
            values: names.iter().cloned().zip(self.values.iter().copied()).collect(),
            heard: names.iter().cloned().zip(self.heard.iter().cloned()).collect(),
            traffic: self.node.lane(Lane::UnreliableSequenced),
        }
    }
}

impl Heard {
    fn see(&mut self, value: f32, now: f64) {
        let age = ramp::age(value, now);
        let set_at = now - age;
        self.count += 1;
        self.age_ms = age * 1000.0;
        self.worst_ms = self.worst_ms.max(self.age_ms);
        if let Some(ages) = &mut self.ages_us {
            // A minute at most.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            ages.push((age * 1e6) as u32);
        }
        if let Some(before) = self.set_at {
            // Less than the rounding of the value and the clock.
            self.backwards += u64::from(set_at < before - 0.000_05);
            self.gap_ms = self.gap_ms.max((set_at - before) * 1000.0);
        }
        self.set_at = Some(set_at);
    }

    fn begin_anew(&mut self) {
        self.worst_ms = 0.0;
        self.gap_ms = 0.0;
        self.ages_us.iter_mut().for_each(Vec::clear);
    }
}
