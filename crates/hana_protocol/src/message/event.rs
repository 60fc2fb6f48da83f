use serde::{Deserialize, Serialize};

use crate::id::node_id::NodeId;
use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// Something that happened, on `hana/<node>/event`, where `<node>` is who says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// Whom it happened to; often the one who says it.
    pub about: NodeId,
    /// The same in plain words, with the cause.
    pub text: String,
}

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A process was started.
    Started,
    /// A person closed it; said by a node of itself, its goodbye.
    Closed,
    /// It was stopped on command.
    Stopped,
    /// It ended without being asked to.
    Crashed,
    /// It was started again.
    Restarted,
    /// Its loop has not moved for too long.
    Unresponsive,
    /// Its loop moves again.
    Responsive,
    /// A host does not answer any more; what was there is gone with it.
    HostLost,
    /// The daemon of a host is gone, while the host answers.
    DaemonLost,
    /// A host that was lost is back.
    HostFound,
    /// A visualization that no daemon launched is gone without a word.
    NodeLost,
    /// It runs, but what it writes is kept elsewhere or nowhere: a disk is full or read-only.
    OutputLost,
    /// The catalogue of a daemon was read again and is another now; the text names what was added, removed, changed.
    CatalogueChanged,
    /// The catalogue or the settings of a daemon were changed to what cannot be used; the text names file, line and
    /// cause. The daemon goes on with what it had.
    CatalogueRefused,
    /// A message could not be used; the text names key, sender, field and cause.
    MessageRefused,
    /// A kind this build does not know.
    #[serde(other)]
    Other,
}

impl Message for Event {
    const LANE: Lane = Lane::ReliableOrdered;
    /// A daemon that launches a hundred programs tells a few events of each.
    const MAX_PER_SECOND: u32 = 500;
    const NAME: &'static str = "event";
}
