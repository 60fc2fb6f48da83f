//! Who may send what to whom. An illegal send does not compile.
//!
//! A route is a fact about a message type: `M: Route<From, To>`. Publishing needs `M: SentBy<From>`,
//! subscribing `M: ReceivedBy<To>`, a command both. The table at the end of this file is the whole of it;
//! [`custom_message!`](crate::custom_message) adds a row for a visualization's own types.

use crate::AppSession;
use crate::Blackout;
use crate::ClockReading;
use crate::Control;
use crate::Event;
use crate::Health;
use crate::Hold;
use crate::Holders;
use crate::HostTimeline;
use crate::Ignore;
use crate::Kill;
use crate::LogLine;
use crate::Look;
use crate::Lost;
use crate::Message;
use crate::Modulation;
use crate::ModulationFrame;
use crate::NodeInfo;
use crate::Pause;
use crate::Ping;
use crate::Play;
use crate::ProcessStatus;
use crate::Release;
use crate::Reload;
use crate::Resend;
use crate::Restart;
use crate::Resume;
use crate::Sent;
use crate::Set;
use crate::Shutdown;
use crate::Start;
use crate::Stop;
use crate::Take;
use crate::Tempo;
use crate::role::NodeRole;

/// A node of role `From` may send this.
#[diagnostic::on_unimplemented(
    message = "a node of role `{From}` may not send `{Self}`",
    note = "who may send what stands in the table of `hana_protocol::route`"
)]
pub trait SentBy<From: NodeRole> {}

/// A node of role `To` may receive this.
#[diagnostic::on_unimplemented(
    message = "a node of role `{To}` does not receive `{Self}`",
    note = "who receives what stands in the table of `hana_protocol::route`"
)]
pub trait ReceivedBy<To: NodeRole> {}

/// A node of role `From` may send this to a node of role `To`.
#[diagnostic::on_unimplemented(
    message = "a node of role `{From}` may not send `{Self}` to a node of role `{To}`",
    note = "who may send what to whom stands in the table of `hana_protocol::route`"
)]
pub trait Route<From: NodeRole, To: NodeRole>: SentBy<From> + ReceivedBy<To> {}

/// A topic's message that role `From` publishes.
pub trait Publishable<From: NodeRole>: Message + SentBy<From> {}
impl<M: Message + SentBy<From>, From: NodeRole> Publishable<From> for M {}

/// Declares routes, a line for each message: `Message: senders => receivers;`.
#[macro_export]
macro_rules! routes {
    ($($message:ty: $($from:ident),+ => $($to:ident),+;)+) => {
        $($crate::routes!(@senders $message, [$($from),+], [$($to),+]);)+
    };
    (@senders $message:ty, [$($from:ident),+], $to:tt) => {
        $(
            impl $crate::route::SentBy<$crate::role::$from> for $message {}
            $crate::routes!(@pairs $message, $from, $to);
        )+
        $crate::routes!(@receivers $message, $to);
    };
    (@receivers $message:ty, [$($to:ident),+]) => {
        $(impl $crate::route::ReceivedBy<$crate::role::$to> for $message {})+
    };
    (@pairs $message:ty, $from:ident, [$($to:ident),+]) => {
        $(impl $crate::route::Route<$crate::role::$from, $crate::role::$to> for $message {})+
    };
}

routes! {
    // What every node says of itself; only apps, bridges and daemons watch the mesh.
    NodeInfo:      App, Visualization, Daemon, Bridge => App, Daemon, Bridge;
    Health:        App, Visualization, Daemon, Bridge => App, Daemon, Bridge;
    Event:         App, Visualization, Daemon, Bridge => App, Daemon, Bridge;
    // How reliable topics stay so; whoever hears one hears and says this too.
    Sent:          App, Visualization, Daemon, Bridge => App, Visualization, Daemon, Bridge;
    Resend:        App, Visualization, Daemon, Bridge => App, Visualization, Daemon, Bridge;
    // What a visualization plays.
    Modulation:    App, Bridge, Visualization => Visualization, App, Daemon, Bridge;
    ModulationFrame: App, Bridge => Visualization, App, Daemon, Bridge;
    Look:          Visualization => App, Daemon, Bridge;
    Holders:       Visualization => App, Daemon, Bridge;
    // What apps and bridges tell each other of how they play.
    AppSession:    App, Bridge => App, Bridge;
    // What a daemon knows of its host.
    ProcessStatus: Daemon => App, Daemon, Bridge;
    Lost:          Daemon => App, Daemon, Bridge;
    LogLine:       Daemon => App, Daemon, Bridge;
    // In time: every node goes by what the daemon of its host says.
    HostTimeline:  Daemon => App, Visualization, Daemon, Bridge;
    ClockReading:  Daemon => App, Visualization, Daemon, Bridge;
    // Commands.
    Control:       App, Bridge, Daemon => App, Visualization, Daemon, Bridge;
    Start:         App, Bridge => Daemon;
    Stop:          App, Bridge => Daemon;
    Restart:       App, Bridge => Daemon;
    Kill:          App, Bridge => Daemon;
    Ignore:        App, Bridge => Daemon;
    Reload:        App, Bridge => Daemon;
    Shutdown:      App, Daemon => Visualization;
    Set:           App, Bridge => Visualization;
    Hold:          App, Bridge => Visualization;
    Blackout:      App, Bridge => Visualization;
    Resume:        App, Bridge => Visualization;
    Tempo:         App, Bridge, Daemon => Daemon;
    Play:          App, Bridge, Daemon => Daemon;
    Pause:         App, Bridge, Daemon => Daemon;
    Take:          App, Bridge => Visualization;
    Release:       App, Bridge => Visualization;
    Ping:          App, Bridge, Daemon => App, Visualization, Daemon, Bridge;
}
