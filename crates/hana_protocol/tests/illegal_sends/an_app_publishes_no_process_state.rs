use hana_protocol::message::ProcessStatus;
use hana_protocol::id::role::{App, NodeRole};
use hana_protocol::contract::routes::Publishable;

fn publish<From: NodeRole, M: Publishable<From>>() {}

fn main() {
    publish::<App, ProcessStatus>();
}
