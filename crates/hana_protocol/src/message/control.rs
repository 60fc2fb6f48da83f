use std::collections::BTreeMap;

use hana_time::ScheduleAt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;
use crate::id::role::Role;
use crate::id::stamp::Stamp;
use crate::message::parameter_owners::{OwnedByOther, Priority};
use crate::parameter::modulator::Modulator;
use crate::parameter::parameter::ParameterName;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// A command, on `hana/<node>/control`: `{"start": {"name": "ripples"}}`.
///
/// A node replies with a [`CommandReply`] to a command that arrives as a query. It carries out a command that arrives
/// as a put, without a reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// See [`Start`].
    Start(Start),
    /// See [`Stop`].
    Stop(Stop),
    /// See [`Restart`].
    Restart(Restart),
    /// See [`Kill`].
    Kill(Kill),
    /// See [`Acknowledge`].
    Acknowledge(Acknowledge),
    /// See [`Reload`].
    Reload(Reload),
    /// See [`Shutdown`].
    Shutdown(Shutdown),
    /// See [`Set`].
    Set(Set),
    /// See [`Freeze`].
    Freeze(Freeze),
    /// See [`Blackout`].
    Blackout(Blackout),
    /// See [`Resume`].
    Resume(Resume),
    /// See [`Tempo`].
    Tempo(Tempo),
    /// See [`Play`].
    Play(Play),
    /// See [`Pause`].
    Pause(Pause),
    /// See [`Take`].
    Take(Take),
    /// See [`Release`].
    Release(Release),
    /// See [`Ping`].
    Ping(Ping),
}

impl Message for Control {
    const LANE: Lane = Lane::ReliableOrdered;
    /// The message rate of a MIDI controller: a program may set parameters by command instead of playing them.
    const MAX_PER_SECOND: u32 = 1000;
    const NAME: &'static str = "control";
}

impl Control {
    /// Returns the command's name in JSON, such as `start`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Stop(_) => "stop",
            Self::Restart(_) => "restart",
            Self::Kill(_) => "kill",
            Self::Acknowledge(_) => "acknowledge",
            Self::Reload(_) => "reload",
            Self::Shutdown(_) => "shutdown",
            Self::Set(_) => "set",
            Self::Freeze(_) => "freeze",
            Self::Blackout(_) => "blackout",
            Self::Resume(_) => "resume",
            Self::Tempo(_) => "tempo",
            Self::Play(_) => "play",
            Self::Pause(_) => "pause",
            Self::Take(_) => "take",
            Self::Release(_) => "release",
            Self::Ping(_) => "ping",
        }
    }

    /// Whether a node of `role` accepts this command.
    ///
    /// Repeats the rows of [`crate::contract::routes`] at run time, for programs that were not compiled against them.
    #[must_use]
    pub const fn is_for(&self, role: Role) -> bool {
        match self {
            Self::Start(_)
            | Self::Stop(_)
            | Self::Restart(_)
            | Self::Kill(_)
            | Self::Acknowledge(_)
            | Self::Reload(_)
            | Self::Tempo(_)
            | Self::Play(_)
            | Self::Pause(_) => matches!(role, Role::Daemon),
            Self::Shutdown(_)
            | Self::Set(_)
            | Self::Freeze(_)
            | Self::Blackout(_)
            | Self::Resume(_)
            | Self::Take(_)
            | Self::Release(_) => matches!(role, Role::Visualization),
            Self::Ping(_) => true,
        }
    }
}

/// A command together with the type of its reply.
pub trait Command: Into<Control> + Send + 'static {
    /// The content of the reply if the command is accepted.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
}

/// Command to a daemon: launch a program of its catalogue. The daemon replies once the process exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The program's name in the catalogue.
    pub name: String,
    /// The id of the new node. By default, the catalogue name, with a number appended if that id is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<NodeId>,
    /// The time of the launch.
    #[serde(default, skip_serializing_if = "ScheduleAt::is_now")]
    pub at: ScheduleAt,
}

/// The reply to [`Start`] and [`Restart`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The id of the node.
    pub node: NodeId,
    /// The process id of the node.
    pub pid: u32,
}

/// Command to a daemon: stop a process that it launched, gracefully first. The daemon replies once the process has
/// ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The process.
    pub node: NodeId,
}

/// The reply to [`Stop`] and [`Kill`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReply {
    /// The measure that ended the process.
    pub by: StoppedBy,
}

/// The measure that ended a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoppedBy {
    /// No measure: the process had already ended.
    Already,
    /// The [`Shutdown`] command.
    Shutdown,
    /// SIGTERM to the process group.
    Terminate,
    /// SIGKILL to the process group.
    Kill,
}

/// Command to a daemon: stop a process that it launched, and start it again with the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// The process.
    pub node: NodeId,
}

/// Command to a daemon: immediately kill a process that it launched, with all its children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// The process.
    pub node: NodeId,
}

/// Command to a daemon: acknowledge a fault of a process that it launched.
///
/// The daemon suspends the policy and the alarms of the process until its state changes. It refuses the command if
/// the process has no fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    /// The process.
    pub node: NodeId,
}

/// Command to a daemon: reload the catalogue and the settings of the host.
///
/// Running processes continue. If a file is invalid, the daemon refuses the command and changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {}

/// The reply to [`Reload`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// New catalogue entries.
    #[serde(default)]
    pub added: Vec<NodeId>,
    /// Removed catalogue entries; their running processes continue.
    #[serde(default)]
    pub removed: Vec<NodeId>,
    /// Changed catalogue entries.
    #[serde(default)]
    pub changed: Vec<NodeId>,
    /// Changed settings of `hanad.toml` that take effect when the daemon restarts.
    #[serde(default)]
    pub later: Vec<String>,
}

/// Command to a visualization: exit cleanly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shutdown {}

/// Command to a visualization: set parameters, all or none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Set {
    /// The value of each parameter to set, by name.
    #[serde(default)]
    pub parameters: BTreeMap<ParameterName, f32>,
    /// The modulator of each parameter to modulate, by name. It moves the parameter until that parameter is played or
    /// set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub modulators: BTreeMap<ParameterName, Modulator>,
    /// The time at which the command takes effect.
    #[serde(default, skip_serializing_if = "ScheduleAt::is_now")]
    pub at: ScheduleAt,
    /// Whether to take parameters from other owners. If `false`, the command is refused if another node owns one of
    /// them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub take: bool,
}

impl Set {
    /// Adds the value of a parameter to set.
    #[must_use]
    pub fn with(mut self, parameter: ParameterName, value: f32) -> Self {
        self.parameters.insert(parameter, value);
        self
    }

    /// Adds the modulator of a parameter.
    #[must_use]
    pub fn with_modulator(mut self, parameter: ParameterName, modulator: Modulator) -> Self {
        self.modulators.insert(parameter, modulator);
        self
    }

    /// Changes the time at which the command takes effect.
    #[must_use]
    pub const fn at(mut self, when: ScheduleAt) -> Self {
        self.at = when;
        self
    }
}

/// The reply to [`Set`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SetReply {
    /// The beat at which the command will take effect; `None` if it has already taken effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<f64>,
    /// The requested beat, if it had already passed. The command then took effect immediately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_for: Option<f64>,
}

// Takes a reference, since serde's `skip_serializing_if` passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Command to a visualization: keep the current look until [`Resume`], whatever is played. A freeze survives a
/// restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {}

/// Command to a visualization: draw black until [`Resume`]. A blackout survives a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blackout {}

/// Command to a visualization: end [`Freeze`] or [`Blackout`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {}

/// Command to any daemon: change the tempo on all hosts. The beat does not jump.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tempo {
    /// Beats per minute, 20 to 999.
    pub bpm: f64,
}

/// Command to any daemon: start playback on all hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Play {}

/// Command to any daemon: stop playback on all hosts. Beats continue, as in Ableton Link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {}
/// Command to a visualization: claim parameters for the sender, an app or a bridge that the envelope names.
///
/// A claim lasts until the app releases it, another app takes the parameter, or the app disappears. The visualization
/// decides about each parameter separately; the reply lists the results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Take {
    /// The parameters. An empty list only announces the priority.
    pub parameters: Vec<ParameterName>,
    /// The priority of the app, which applies to its claims and to the parameters that it plays.
    #[serde(default, skip_serializing_if = "Priority::is_usual")]
    pub priority: Priority,
    /// The time of the claim; by default, the current time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
}

/// The reply to [`Take`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeReply {
    /// The parameters that the app owns now.
    pub taken: Vec<ParameterName>,
    /// The parameters that another app keeps because of a higher priority or a newer claim.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<OwnedByOther>,
    /// The time of the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
}

/// Command to a visualization: release parameters that the sender has claimed or plays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The parameters.
    pub parameters: Vec<ParameterName>,
    /// The time of the release; by default, the current time. Claims that the app made later stay in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
}

/// Command to any node: reply, and do nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {}

/// The reply to a command whose reply has no content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {}

macro_rules! commands {
    ($($command:ident => $reply:ty;)+) => {$(
        impl From<$command> for Control {
            fn from(command: $command) -> Self { Self::$command(command) }
        }
        impl Command for $command {
            type Reply = $reply;
        }
    )+};
}

commands! {
    Start    => Started;
    Stop     => StopReply;
    Restart  => Started;
    Kill     => StopReply;
    Acknowledge   => Accepted;
    Reload   => Reloaded;
    Shutdown => Accepted;
    Set      => SetReply;
    Freeze     => Accepted;
    Blackout => Accepted;
    Resume   => Accepted;
    Tempo    => Accepted;
    Play     => Accepted;
    Pause    => Accepted;
    Take     => TakeReply;
    Release  => Accepted;
    Ping     => Accepted;
}

/// The reply to a command: `{"accepted": {...}}` or `{"refused": {"reason": "..."}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandReply<Reply = Accepted> {
    /// The command was carried out.
    Accepted(Reply),
    /// The command was not carried out; nothing has changed.
    Refused(Refused),
}

/// The reason why a command was not carried out, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The reason and the remedy, as text.
    pub reason: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reply_is_accepted_or_refused_with_a_reason() {
        let reply: CommandReply =
            serde_json::from_str(r#"{"refused": {"reason": "busy"}}"#).unwrap();
        assert_eq!(reply, CommandReply::Refused(Refused { reason: "busy".into() }));
        let accepted = serde_json::to_value(CommandReply::Accepted(Accepted {})).unwrap();
        assert_eq!(accepted, serde_json::json!({"accepted": {}}));
    }

    #[test]
    fn optional_parts_of_a_set_are_omitted() {
        let zoom = ParameterName::new("zoom").unwrap();
        let set = Control::from(Set::default().with(zoom, 0.5));
        let json = serde_json::json!({"set": {"parameters": {"zoom": 0.5}}});
        assert_eq!(serde_json::to_value(&set).unwrap(), json);
        assert_eq!(serde_json::from_value::<Control>(json).unwrap(), set);
    }

    #[test]
    fn every_role_accepts_a_ping_and_one_role_a_start() {
        let start = Control::from(Stop { node: NodeId::new("a").unwrap() });
        let accepts =
            |control: &Control| Role::ALL.iter().filter(|role| control.is_for(**role)).count();
        assert_eq!((accepts(&Ping {}.into()), accepts(&start)), (4, 1));
    }
}
