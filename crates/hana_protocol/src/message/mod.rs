//! The messages, one file per message.

mod clock_reading;
pub(crate) mod control;
pub(crate) mod custom_message_info;
pub(crate) mod event;
pub(crate) mod health;
pub(crate) mod host_timeline;
pub(crate) mod log_line;
pub(crate) mod look;
pub(crate) mod lost_peers;
pub(crate) mod modulation;
pub(crate) mod node_info;
pub(crate) mod operator_state;
pub(crate) mod parameter_owners;
pub(crate) mod play_status;
pub(crate) mod process_status;
pub(crate) mod retransmit;

pub use control::{
    Accepted, Acknowledge, Blackout, Command, CommandReply, Control, Freeze, Kill, Pause, Ping,
    Play, Refused, Release, Reload, Reloaded, Restart, Resume, Set, SetReply, Shutdown, Start,
    Started, Stop, StopReply, StoppedBy, Take, TakeReply, Tempo,
};
pub use custom_message_info::{CustomMessageInfo, Direction};
pub use event::{Event, EventKind};
pub use health::{Counters, Frames, Health, LaneTraffic, MessageFault, MessageFaultCause};
pub use host_timeline::{HostTimeline, TimelineSource};
pub use log_line::{LogLine, Stream};
pub use look::{Look, Override};
pub use lost_peers::{LossCause, LostHost, LostNode, LostPeers};
pub use modulation::Modulation;
pub use modulation::batch::{ModulationBatch, ModulationBatchError};
pub use node_info::{NodeInfo, SendCheckError};
pub use operator_state::{Claim, Note, OperatorState};
pub use parameter_owners::{OwnedByOther, Ownership, OwnershipKind, ParameterOwners, Priority};
pub use play_status::{PlayPath, PlayStatus};
pub use process_status::{Exit, ProcessState, ProcessStatus};
pub use retransmit::{RetransmitEnd, RetransmitRequest, SequenceHeartbeat};
