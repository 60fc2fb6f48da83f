//! The messages, one file each.

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
pub(crate) mod modulation_batch;
pub(crate) mod node_info;
pub(crate) mod operator_state;
pub(crate) mod parameter_owners;
pub(crate) mod play_status;
pub(crate) mod process_status;
pub(crate) mod retransmit;

pub use control::{
    Accepted, Answer, Blackout, Command, Control, Hold, Ignore, Kill, Pause, Ping, Play, Refused,
    Release, Reload, Reloaded, Restart, Resume, Set, SetReport, Shutdown, Start, Started, Stop,
    StopReport, StoppedBy, Take, Tempo, Took,
};
pub use custom_message_info::{CustomMessageInfo, Flow, Unsendable};
pub use event::{Event, EventKind};
pub use health::{Counters, Frames, Health, LaneTraffic, Trouble, TroubleCause};
pub use host_timeline::{HostTimeline, TimelineSource};
pub use log_line::{LogLine, Stream};
pub use look::{Look, Override};
pub use lost_peers::{LossCause, Lost, LostHost, LostNode};
pub use modulation::Modulation;
pub use modulation_batch::{ModulationFrame, ModulationFrameError};
pub use node_info::NodeInfo;
pub use operator_state::{AppSession, Note, Wish};
pub use parameter_owners::{Held, HeldBy, Holders, How, Priority, Sharing};
pub use play_status::{PlayWay, SessionStatus};
pub use process_status::{Exit, ProcessState, ProcessStatus};
pub use retransmit::{Resend, Resent, Sent};
