use hana_protocol::id::role::{App, Bridge, Daemon, NodeRole, Visualization};
use hana_protocol::contract::routes::{Publishable, ReceivedBy, Route};
use hana_protocol::custom_message;
use hana_protocol::message::{Health, Set, Shutdown, Start};
use hana_protocol::wire::Lane;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, JsonSchema)]
struct Spark {
    x: f32,
}
custom_message!(Spark, topic: "spark", lane: Lane::UnreliableUnordered, version: 2);

fn send<From: NodeRole, To: NodeRole, M: Route<From, To>>() {}
fn publish<From: NodeRole, M: Publishable<From>>() {}
fn subscribe<To: NodeRole, M: ReceivedBy<To>>() {}

fn main() {
    send::<App, Daemon, Start>();
    send::<Bridge, Visualization, Set>();
    send::<Daemon, Visualization, Shutdown>();
    publish::<Visualization, Health>();
    subscribe::<App, Health>();
    publish::<Visualization, Spark>();
    subscribe::<Visualization, Spark>();
}
