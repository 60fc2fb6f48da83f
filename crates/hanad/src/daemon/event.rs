use hana_engine::roster::Observation;
use hana_network::{IdConflict, Received, Request};
use hana_process::ProcessEvent;
use hana_protocol::id::NodeId;
use hana_protocol::message::HostTimeline;

use crate::link_process::LinkEvent;
use crate::reload::reloader::Reloaded;

/// An event for the daemon's loop.
pub(crate) enum DaemonEvent {
    /// An event of a launched process.
    Process(NodeId, ProcessEvent),
    /// A control request.
    Request(Request),
    /// A node appeared, vanished, or published its state.
    Observation(Observation),
    /// A host published its timeline.
    Timeline(Received<HostTimeline>),
    /// An event of `hana-link`.
    Link(LinkEvent),
    /// A request to end the daemon and everything that it launched.
    End,
    /// A request to end the daemon but leave the launched processes running.
    Leave(Leave),
    /// A request to read the catalogue and the settings again.
    Reload,
    /// The catalogue and the settings were read again.
    Reloaded(Reloaded),
    /// An older daemon has this host id.
    Displaced(IdConflict),
}

/// The way in which a daemon leaves the launched processes to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// The daemon's process ends.
    End,
    /// The program now at this daemon's path replaces it in the same process.
    Replace,
}
