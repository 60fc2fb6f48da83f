use hana_protocol::message::Start;
use hana_protocol::id::role::{Daemon, NodeRole, Visualization};
use hana_protocol::contract::routes::Route;

fn send<From: NodeRole, To: NodeRole, M: Route<From, To>>() {}

fn main() {
    send::<Visualization, Daemon, Start>();
}
