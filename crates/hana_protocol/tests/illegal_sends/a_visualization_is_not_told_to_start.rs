use hana_protocol::message::Start;
use hana_protocol::id::role::{App, NodeRole, Visualization};
use hana_protocol::contract::routes::Route;

fn send<From: NodeRole, To: NodeRole, M: Route<From, To>>() {}

fn main() {
    send::<App, Visualization, Start>();
}
