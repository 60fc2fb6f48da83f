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

/// A node as `hana nodes` and the app show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeView {
    /// The node.
    pub node: NodeId,
    /// Its role.
    pub role: Role,
    /// Its host; `None` until the node publishes it.
    pub host: Option<NodeId>,
    /// Its state.
    pub state: ProcessState,
    /// The reason for its state, in plain words; empty when all is well.
    pub reason: String,
    /// Start of the current state, in Unix milliseconds.
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
    /// Number of restarts by its daemon.
    pub restarts: u32,
    /// Whether a daemon launched it, and so can restart it.
    #[serde(skip_serializing)]
    pub launched: bool,
    /// Whether an operator acknowledged its state: no policy applies and no alarm is raised.
    #[serde(skip_serializing_if = "is_false")]
    pub acknowledged: bool,
    /// The override in effect, set by an operator.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub in_force: Option<Override>,
    /// The current and former owners of its parameters; of two entries for one parameter, the first is the owner.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<Ownership>,
    /// Controllers that contribute to its mixed parameters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mixed: BTreeMap<ParameterName, Vec<NodeId>>,
    /// Its operator's note to the other operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The visualizations it plays, with the status of each play session.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plays: BTreeMap<NodeId, PlayStatus>,
    /// The controllers that play it, with the status of each play session.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub played_by: BTreeMap<NodeId, PlayStatus>,
    /// Its counters, if messages were lost or unusable, or changes arrived after their beat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counters: Option<Counters>,
    /// Its counters by lane, under the same condition.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lanes: BTreeMap<Lane, LaneTraffic>,
    /// The senders of the lost, unusable and late messages, the one with most faults first, under the same condition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<MessageFault>,
    /// The current values of its parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<BTreeMap<ParameterName, f32>>,
    /// The current values as text, by parameter name: `on`, `spiral`, a colour as one `#ff8800`. A parameter that
    /// a modulator moves has the text of the modulator.
    #[serde(skip_serializing)]
    pub playing: Vec<(String, String)>,
}

impl NodeView {
    /// Returns the owner of a parameter.
    #[must_use]
    pub fn owner_of(&self, parameter: &ParameterName) -> Option<&Ownership> {
        self.owners.iter().find(|held| held.parameter == *parameter && held.how.is_held())
    }

    /// Returns the controller that claimed a parameter, even while another one with a higher priority plays it.
    #[must_use]
    pub fn taken_by(&self, parameter: &ParameterName) -> Option<&NodeId> {
        let is_it =
            |held: &&Ownership| held.parameter == *parameter && held.how == OwnershipKind::Claimed;
        self.owners.iter().find(is_it).map(|held| &held.by)
    }

    /// Returns the owners of its parameters as text, each with the number of parameters: `desk has 2, osc plays 1`.
    ///
    /// The text is empty if no parameter has an owner.
    #[must_use]
    pub fn owners_in_words(&self) -> String {
        let mut counts: BTreeMap<(&NodeId, bool), usize> = BTreeMap::new();
        let names: BTreeSet<&ParameterName> =
            self.owners.iter().map(|held| &held.parameter).collect();
        for held in names.into_iter().filter_map(|name| self.owner_of(name)) {
            *counts.entry((&held.by, held.how == OwnershipKind::Claimed)).or_default() += 1;
        }
        let words = counts.into_iter().map(|((by, is_taken), count)| {
            format!("{by} {} {count}", if is_taken { "has" } else { "plays" })
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// Returns its play sessions as text: `played by desk (direct 0.2 ms), osc (mesh 1.4 ms)`.
    ///
    /// The text is empty if there are no sessions. Beyond `most` sessions, it has only their number, and how many of
    /// them are not direct.
    #[must_use]
    pub fn sessions_in_words(&self, most: usize) -> String {
        let in_words = |verb: &str, sessions: &BTreeMap<NodeId, PlayStatus>| {
            if sessions.len() <= most {
                let each = sessions.iter().map(|(node, status)| format!("{node} ({status})"));
                return format!("{verb} {}", each.collect::<Vec<_>>().join(", "));
            }
            let not_direct =
                sessions.values().filter(|status| status.path != PlayPath::Direct).count();
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

    /// Returns the number of messages that never reached this node, or that were dropped before its program read them.
    ///
    /// On lanes where only the newest message counts, an overtaken message is not lost.
    #[must_use]
    pub fn lost_messages(&self) -> u64 {
        let is_loss = |lane: &Lane| !lane.drops_older();
        let of_lanes = self.lanes.iter().filter(|(lane, _)| is_loss(lane));
        of_lanes.map(|(_, traffic)| traffic.missed + traffic.dropped).sum()
    }

    /// Returns the most frequent faults as text: the count, the cause and the sender of each.
    pub fn troubles_in_words(&self) -> impl Iterator<Item = String> + '_ {
        self.troubles.iter().map(|MessageFault { peer, lane, cause, count }| {
            format!("{count} {} of {peer} ({lane})", cause.as_str())
        })
    }
}

// Serde requires a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl NodeView {
    /// Returns whether its state needs an operator's attention and has not been acknowledged.
    #[must_use]
    pub const fn is_alarm(&self) -> bool {
        self.state.is_alarming() && !self.acknowledged
    }

    /// Returns whether it draws new frames, so that its frame rate is worth showing.
    #[must_use]
    pub const fn is_drawing(&self) -> bool {
        matches!(self.state, ProcessState::Running | ProcessState::Slow)
    }

    /// Returns a sentence that describes the trouble of the node.
    #[must_use]
    pub fn trouble_in_words(&self) -> String {
        let is = match self.state {
            ProcessState::Crashed => "crashed",
            ProcessState::CrashLoop => "keeps crashing",
            ProcessState::Slow => "is slow",
            ProcessState::Restarting => "restarts in a moment",
            ProcessState::Unreachable => "is unreachable",
            ProcessState::Unresponsive => "is unresponsive",
            state => return format!("{} is {state}", self.node),
        };
        let Self { node, reason, .. } = self;
        if reason.is_empty() { format!("{node} {is}") } else { format!("{node} {is}: {reason}") }
    }
}
