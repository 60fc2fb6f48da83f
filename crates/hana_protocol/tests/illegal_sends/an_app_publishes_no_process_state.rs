use hana_protocol::ProcessStatus;
use hana_protocol::role::{App, NodeRole};
use hana_protocol::route::Publishable;

fn publish<From: NodeRole, M: Publishable<From>>() {}

fn main() {
    publish::<App, ProcessStatus>();
}
