use hana_protocol::Start;
use hana_protocol::role::{App, NodeRole, Visualization};
use hana_protocol::route::Route;

fn send<From: NodeRole, To: NodeRole, M: Route<From, To>>() {}

fn main() {
    send::<App, Visualization, Start>();
}
