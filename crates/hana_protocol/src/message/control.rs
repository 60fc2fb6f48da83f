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
/// Asked as a query it is answered with an [`CommandReply`]; as a plain put it is carried out unanswered.
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
    /// A program that sets parameters by command instead of playing them, at the rate of MIDI controllers.
    const MAX_PER_SECOND: u32 = 1000;
    const NAME: &'static str = "control";
}

impl Control {
    /// The command's name, as JSON has it.
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

    /// Whether a node of `role` takes this command. The same as the rows of [`crate::contract::routes`], for what
    /// comes from programs that were not compiled against them.
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

/// A command with the answer it gets.
pub trait Command: Into<Control> + Send + 'static {
    /// What an accepted one is answered with.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
}

/// To a daemon: launch a program of its catalogue. Answered once the process exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Its name in the catalogue.
    pub name: String,
    /// The id it shall have; else the name, or the name with a number where that is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<NodeId>,
    /// When.
    #[serde(default, skip_serializing_if = "ScheduleAt::is_now")]
    pub at: ScheduleAt,
}

/// What a [`Start`] or [`Restart`] is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The id it has.
    pub node: NodeId,
    /// Its process id.
    pub pid: u32,
}

/// To a daemon: end a process it launched, politely first. Answered once it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The process.
    pub node: NodeId,
}

/// What a [`Stop`] or [`Kill`] is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReply {
    /// What it took.
    pub by: StoppedBy,
}

/// What it took to end a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoppedBy {
    /// It had ended already.
    Already,
    /// The polite command.
    Shutdown,
    /// SIGTERM to its group.
    Terminate,
    /// SIGKILL to its group.
    Kill,
}

/// To a daemon: stop a process it launched and start it again with the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// The process.
    pub node: NodeId,
}

/// To a daemon: end a process it launched at once, with all that it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// The process.
    pub node: NodeId,
}

/// To a daemon: nothing shall be done about the trouble that a process it launched is in, and nobody be told of it any
/// more, until it is in another state. Refused where there is no trouble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    /// The process.
    pub node: NodeId,
}

/// To a daemon: read the catalogue and the settings of the machine again. What runs goes on. Refused where a file cannot
/// be used; nothing changes then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {}

/// What a [`Reload`] is answered with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Entries of the catalogue that are new.
    #[serde(default)]
    pub added: Vec<NodeId>,
    /// Entries that are gone; what runs of them goes on.
    #[serde(default)]
    pub removed: Vec<NodeId>,
    /// Entries that are not as before.
    #[serde(default)]
    pub changed: Vec<NodeId>,
    /// Settings of `hanad.toml` that have changed and take effect when the daemon is started again.
    #[serde(default)]
    pub later: Vec<String>,
}

/// To a visualization: end, in good order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shutdown {}

/// To a visualization: set parameters, all or none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Set {
    /// Name and value of each.
    #[serde(default)]
    pub parameters: BTreeMap<ParameterName, f32>,
    /// Those that move from then on by themselves, until somebody plays or sets them: name and recipe of each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recipes: BTreeMap<ParameterName, Modulator>,
    /// When.
    #[serde(default, skip_serializing_if = "ScheduleAt::is_now")]
    pub at: ScheduleAt,
    /// Also what somebody else holds: it is taken from him. Without this, such a parameter refuses all.
    #[serde(default, skip_serializing_if = "is_false")]
    pub take: bool,
}

impl Set {
    /// With one more value.
    #[must_use]
    pub fn with(mut self, parameter: ParameterName, value: f32) -> Self {
        self.parameters.insert(parameter, value);
        self
    }

    /// With one more that moves by itself.
    #[must_use]
    pub fn with_recipe(mut self, parameter: ParameterName, recipe: Modulator) -> Self {
        self.recipes.insert(parameter, recipe);
        self
    }

    /// The same at another time.
    #[must_use]
    pub const fn at(mut self, when: ScheduleAt) -> Self {
        self.at = when;
        self
    }
}

/// What a [`Set`] is answered with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SetReply {
    /// The beat that it waits for; none if it was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<f64>,
    /// The beat that it was for and that was over: it was carried out at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_for: Option<f64>,
}

// Serde wants a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// To a visualization: let the look stay as it is, whatever is played, until [`Resume`]. Survives a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {}

/// To a visualization: draw black until [`Resume`]. Survives a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blackout {}

/// To a visualization: show again what is played, after [`Freeze`] or [`Blackout`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {}

/// To a daemon, to any of them: another tempo for all. The beat does not jump.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tempo {
    /// Beats a minute, 20 to 999.
    pub bpm: f64,
}

/// To a daemon, to any of them: all shall play.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Play {}

/// To a daemon, to any of them: all shall stand still. Beats go on, as they do in Ableton Link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {}
/// To a visualization, by an app or a bridge that says who it is: this app holds these parameters until it releases them,
/// somebody else takes them or it vanishes. Each for itself: the answer says which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Take {
    /// The parameters. None at all only says the priority.
    pub parameters: Vec<ParameterName>,
    /// How much the word of this app counts, for what it plays too.
    #[serde(default, skip_serializing_if = "Priority::is_usual")]
    pub priority: Priority,
    /// When it took them; now, if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
}

/// What a [`Take`] is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeReply {
    /// The parameters that it holds now.
    pub taken: Vec<ParameterName>,
    /// Those that it does not, since somebody else has them, with a higher priority or a newer take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<OwnedByOther>,
    /// When they were taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
}

/// To a visualization: this app lets these parameters go, what it has taken and what it plays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The parameters.
    pub parameters: Vec<ParameterName>,
    /// When it let them go: what it has taken later stays. Now, if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
}

/// To any node: answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {}

/// The answer of a command that has nothing more to say.
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

/// How a command is answered: `{"accepted": {...}}` or `{"refused": {"reason": "..."}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandReply<Reply = Accepted> {
    /// Carried out.
    Accepted(Reply),
    /// Not carried out; nothing has changed.
    Refused(Refused),
}

/// Why a command was not carried out, in plain words with what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The words.
    pub reason: String,
}
