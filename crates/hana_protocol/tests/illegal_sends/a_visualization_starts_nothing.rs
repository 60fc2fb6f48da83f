use hana_protocol::Start;
use hana_protocol::role::{Daemon, NodeRole, Visualization};
use hana_protocol::route::Route;

fn send<From: NodeRole, To: NodeRole, M: Route<From, To>>() {}

fn main() {
    send::<Visualization, Daemon, Start>();
}
