//! The roles that may send and receive each message type. An illegal send does not compile.
//!
//! A route is a fact about a message type: `M: Route<From, To>`. Publishing requires `M: SentBy<From>`,
//! subscribing `M: ReceivedBy<To>`, a command both. The table at the end of this file lists every route;
//! [`custom_message!`](crate::custom_message) adds a row for a visualization's own types.

use hana_time::ClockReading;

use crate::id::role::NodeRole;
use crate::message::control::{
    Acknowledge, Blackout, Control, Freeze, Kill, Pause, Ping, Play, Release, Reload, Restart,
    Resume, Set, Shutdown, Start, Stop, Take, Tempo,
};
use crate::message::event::Event;
use crate::message::health::Health;
use crate::message::host_timeline::HostTimeline;
use crate::message::log_line::LogLine;
use crate::message::look::Look;
use crate::message::lost_peers::LostPeers;
use crate::message::modulation::Modulation;
use crate::message::modulation::batch::ModulationBatch;
use crate::message::node_info::NodeInfo;
use crate::message::operator_state::OperatorState;
use crate::message::parameter_owners::ParameterOwners;
use crate::message::process_status::ProcessStatus;
use crate::message::retransmit::{RetransmitRequest, SequenceHeartbeat};
use crate::wire::message::Message;

/// A message that a node of role `From` may send.
#[diagnostic::on_unimplemented(
    message = "a node of role `{From}` may not send `{Self}`",
    note = "see the table in `hana_protocol::contract::routes`"
)]
pub trait SentBy<From: NodeRole> {}

/// A message that a node of role `To` may receive.
#[diagnostic::on_unimplemented(
    message = "a node of role `{To}` does not receive `{Self}`",
    note = "see the table in `hana_protocol::contract::routes`"
)]
pub trait ReceivedBy<To: NodeRole> {}

/// A message that a node of role `From` may send to a node of role `To`.
#[diagnostic::on_unimplemented(
    message = "a node of role `{From}` may not send `{Self}` to a node of role `{To}`",
    note = "see the table in `hana_protocol::contract::routes`"
)]
pub trait Route<From: NodeRole, To: NodeRole>: SentBy<From> + ReceivedBy<To> {}

/// A message that role `From` may publish on a topic.
pub trait Publishable<From: NodeRole>: Message + SentBy<From> {}
impl<M: Message + SentBy<From>, From: NodeRole> Publishable<From> for M {}

/// Declares routes, one line per message: `Message: senders => receivers;`.
#[macro_export]
macro_rules! routes {
    ($($message:ty: $($from:ident),+ => $($to:ident),+;)+) => {
        $($crate::routes!(@senders $message, [$($from),+], [$($to),+]);)+
    };
    (@senders $message:ty, [$($from:ident),+], $to:tt) => {
        $(
            impl $crate::contract::routes::SentBy<$crate::id::role::$from> for $message {}
            $crate::routes!(@pairs $message, $from, $to);
        )+
        $crate::routes!(@receivers $message, $to);
    };
    (@receivers $message:ty, [$($to:ident),+]) => {
        $(impl $crate::contract::routes::ReceivedBy<$crate::id::role::$to> for $message {})+
    };
    (@pairs $message:ty, $from:ident, [$($to:ident),+]) => {
        $(impl $crate::contract::routes::Route<$crate::id::role::$from, $crate::id::role::$to> for $message {})+
    };
}

routes! {
    // Published by every node about itself; only apps, bridges and daemons watch the mesh.
    NodeInfo:      App, Visualization, Daemon, Bridge => App, Daemon, Bridge;
    Health:        App, Visualization, Daemon, Bridge => App, Daemon, Bridge;
    Event:         App, Visualization, Daemon, Bridge => App, Daemon, Bridge;
    // Loss recovery on reliable topics: every role publishes and subscribes to such topics.
    SequenceHeartbeat:          App, Visualization, Daemon, Bridge => App, Visualization, Daemon, Bridge;
    RetransmitRequest:        App, Visualization, Daemon, Bridge => App, Visualization, Daemon, Bridge;
    // Playing a visualization.
    Modulation:    App, Bridge, Visualization => Visualization, App, Daemon, Bridge;
    ModulationBatch: App, Bridge => Visualization, App, Daemon, Bridge;
    Look:          Visualization => App, Daemon, Bridge;
    ParameterOwners:       Visualization => App, Daemon, Bridge;
    // Shared state of the controllers.
    OperatorState:    App, Bridge => App, Bridge;
    // Published by a daemon about its host.
    ProcessStatus: Daemon => App, Daemon, Bridge;
    LostPeers:          Daemon => App, Daemon, Bridge;
    LogLine:       Daemon => App, Daemon, Bridge;
    // Time: every node follows the daemon of its host.
    HostTimeline:  Daemon => App, Visualization, Daemon, Bridge;
    ClockReading:  Daemon => App, Visualization, Daemon, Bridge;
    // Commands.
    Control:       App, Bridge, Daemon => App, Visualization, Daemon, Bridge;
    Start:         App, Bridge => Daemon;
    Stop:          App, Bridge => Daemon;
    Restart:       App, Bridge => Daemon;
    Kill:          App, Bridge => Daemon;
    Acknowledge:        App, Bridge => Daemon;
    Reload:        App, Bridge => Daemon;
    Shutdown:      App, Daemon => Visualization;
    Set:           App, Bridge => Visualization;
    Freeze:          App, Bridge => Visualization;
    Blackout:      App, Bridge => Visualization;
    Resume:        App, Bridge => Visualization;
    Tempo:         App, Bridge, Daemon => Daemon;
    Play:          App, Bridge, Daemon => Daemon;
    Pause:         App, Bridge, Daemon => Daemon;
    Take:          App, Bridge => Visualization;
    Release:       App, Bridge => Visualization;
    Ping:          App, Bridge, Daemon => App, Visualization, Daemon, Bridge;
}
