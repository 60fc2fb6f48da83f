use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// An event, on `hana/<node>/event`, where `<node>` is the node that reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The kind of the event.
    pub kind: EventKind,
    /// The node that the event concerns; often the reporting node.
    pub about: NodeId,
    /// A description with the cause.
    pub text: String,
}

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A process was started.
    Started,
    /// The operator closed the program; the node reports this about itself when it leaves the mesh.
    Closed,
    /// The process was stopped on command.
    Stopped,
    /// The process ended without a command.
    Crashed,
    /// The process was started again.
    Restarted,
    /// The node's main loop has not advanced for too long.
    Unresponsive,
    /// The node's main loop advances again.
    Responsive,
    /// A host no longer responds; the nodes on it are lost too.
    HostLost,
    /// The daemon of a host is gone, while the host still responds.
    DaemonLost,
    /// A lost host is back.
    HostFound,
    /// A visualization that no daemon launched disappeared without a `Closed` event.
    NodeLost,
    /// The process runs, but its output is written elsewhere or not at all, because a disk is full or read-only.
    OutputLost,
    /// A daemon reloaded its catalogue and found changes; the text names the added, removed and changed entries.
    CatalogueChanged,
    /// The catalogue or the settings of a daemon were changed to an invalid state; the text names file, line and cause.
    ///
    /// The daemon keeps the previous catalogue and settings.
    CatalogueRefused,
    /// A message could not be used; the text names the key, sender, field and cause.
    MessageRefused,
    /// A kind that this build does not know.
    #[serde(other)]
    Other,
}

impl Message for Event {
    const LANE: Lane = Lane::ReliableOrdered;
    /// A daemon that launches a hundred programs reports a few events about each.
    const MAX_PER_SECOND: u32 = 500;
    const NAME: &'static str = "event";
}
