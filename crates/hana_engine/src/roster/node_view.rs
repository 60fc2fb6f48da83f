use std::collections::{BTreeMap, BTreeSet};

use hana_protocol::id::NodeId;
use hana_protocol::id::role::Role;
use hana_protocol::message::{
    Counters, LaneTraffic, MessageFault, Override, Ownership, OwnershipKind, PlayPath, PlayStatus,
    ProcessState,
};
use hana_protocol::parameter::ParameterName;
use hana_protocol::wire::Lane;
use serde::Serialize;

/// One node as it is shown: by `hana nodes`, in the app.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeView {
    /// The node.
    pub node: NodeId,
    /// Its role.
    pub role: Role,
    /// The host it is on; empty while it has not said so.
    pub host: Option<NodeId>,
    /// Its state.
    pub state: ProcessState,
    /// Why, in plain words; empty when all is well.
    pub reason: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Its process id on its host.
    pub pid: Option<u32>,
    /// Seconds since it joined.
    pub uptime_s: u64,
    /// Frames drawn since it joined.
    pub frame: Option<u64>,
    /// Frames per second.
    pub fps: Option<f32>,
    /// The longest frame of the last second, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_max_us: Option<u64>,
    /// How often its daemon restarted it.
    pub restarts: u32,
    /// Whether a daemon launched it, and so can restart it.
    #[serde(skip_serializing)]
    pub launched: bool,
    /// A person wants nothing done about its state, and not to be told of it any more.
    #[serde(skip_serializing_if = "is_false")]
    pub ignored: bool,
    /// What a person has put in force over what is played on it.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub in_force: Option<Override>,
    /// Who holds, or held, its parameters: of two for one parameter the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Ownership>,
    /// Who contributes to its mixed parameters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mixed: BTreeMap<ParameterName, Vec<NodeId>>,
    /// What its operator has told the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The visualizations that it plays, and how.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plays: BTreeMap<NodeId, PlayStatus>,
    /// Who plays it, and how.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub played_by: BTreeMap<NodeId, PlayStatus>,
    /// What it counted, if there were messages that never came or could not be used, or changes that came after their beat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counters: Option<Counters>,
    /// The same by lane, then.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lanes: BTreeMap<Lane, LaneTraffic>,
    /// Whose messages those were, then, the most first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<MessageFault>,
    /// Parameter names with their current values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<BTreeMap<ParameterName, f32>>,
    /// The same as people read them, by name: `on`, `spiral`, a colour as one `#ff8800`; a recipe
    /// where one moves it.
    #[serde(skip_serializing)]
    pub playing: Vec<(String, String)>,
}

impl NodeView {
    /// Who holds one of its parameters.
    #[must_use]
    pub fn holder_of(&self, parameter: &ParameterName) -> Option<&Ownership> {
        self.holders.iter().find(|held| held.parameter == *parameter && held.how.is_held())
    }

    /// Who has taken one of its parameters, also where somebody with a higher priority plays over him just now.
    #[must_use]
    pub fn taken_by(&self, parameter: &ParameterName) -> Option<&NodeId> {
        let is_it =
            |held: &&Ownership| held.parameter == *parameter && held.how == OwnershipKind::Taken;
        self.holders.iter().find(is_it).map(|held| &held.by)
    }

    /// Who holds how many of its parameters, in words: `desk has 2, osc plays 1`; empty if nobody does.
    #[must_use]
    pub fn holders_in_words(&self) -> String {
        let mut counts: BTreeMap<(&NodeId, bool), usize> = BTreeMap::new();
        let names: BTreeSet<&ParameterName> =
            self.holders.iter().map(|held| &held.parameter).collect();
        for held in names.into_iter().filter_map(|name| self.holder_of(name)) {
            *counts.entry((&held.by, held.how == OwnershipKind::Taken)).or_default() += 1;
        }
        let words = counts.into_iter().map(|((by, is_taken), count)| {
            format!("{by} {} {count}", if is_taken { "has" } else { "plays" })
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// Who plays it, or whom it plays, in words: `played by desk (direct 0.2 ms), osc (mesh 1.4 ms)`; of more than `most`, how
    /// many, and how many of them not directly. Empty where that is nobody.
    #[must_use]
    pub fn sessions_in_words(&self, most: usize) -> String {
        let in_words = |verb: &str, sessions: &BTreeMap<NodeId, PlayStatus>| {
            if sessions.len() <= most {
                let each = sessions.iter().map(|(node, status)| format!("{node} ({status})"));
                return format!("{verb} {}", each.collect::<Vec<_>>().join(", "));
            }
            let not_direct =
                sessions.values().filter(|status| status.way != PlayPath::Direct).count();
            let rest = if not_direct > 0 {
                format!(", {not_direct} over the mesh")
            } else {
                String::new()
            };
            format!("{verb} {}{rest}", sessions.len())
        };
        let both = [("played by", &self.played_by), ("plays", &self.plays)];
        let there = both.into_iter().filter(|(_, sessions)| !sessions.is_empty());
        there.map(|(verb, sessions)| in_words(verb, sessions)).collect::<Vec<_>>().join("; ")
    }

    /// Messages that did not reach this node, or were thrown away there before its program read them. Where the newest
    /// counts, one that was overtaken is no loss.
    #[must_use]
    pub fn lost_messages(&self) -> u64 {
        let is_loss = |lane: &Lane| !lane.drops_older();
        let of_lanes = self.lanes.iter().filter(|(lane, _)| is_loss(lane));
        of_lanes.map(|(_, traffic)| traffic.missed + traffic.dropped).sum()
    }

    /// The largest troubles in words: how many, what became of them, whose they were.
    pub fn troubles_in_words(&self) -> impl Iterator<Item = String> + '_ {
        self.troubles.iter().map(|MessageFault { peer, lane, cause, count }| {
            format!("{count} {} of {peer} ({lane})", cause.as_str())
        })
    }
}

// Serde wants a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl NodeView {
    /// Whether a person should look at it, and nobody has said to leave it.
    #[must_use]
    pub const fn is_alarm(&self) -> bool {
        self.state.is_alarming() && !self.ignored
    }

    /// Whether there are new frames of it, whose rate is worth telling.
    #[must_use]
    pub const fn is_drawing(&self) -> bool {
        matches!(self.state, ProcessState::Running | ProcessState::Slow)
    }

    /// What is wrong with it, in a sentence.
    #[must_use]
    pub fn trouble_in_words(&self) -> String {
        let is = match self.state {
            ProcessState::Crashed => "crashed",
            ProcessState::CrashLoop => "crashes again and again",
            ProcessState::Slow => "is slow",
            ProcessState::Restarting => "is about to be started again",
            ProcessState::Unreachable => "is unreachable",
            ProcessState::Unresponsive => "is unresponsive",
            state => return format!("{} is {state}", self.node),
        };
        let Self { node, reason, .. } = self;
        if reason.is_empty() { format!("{node} {is}") } else { format!("{node} {is}: {reason}") }
    }
}
