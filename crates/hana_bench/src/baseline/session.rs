//! Plain Zenoh as the reference, with default settings except for how the sessions find each other.

use hana_protocol::wire::Lane;
use serde_json::{Value, json};
use zenoh::pubsub::Publisher;
use zenoh::qos::{CongestionControl, Priority, Reliability};
use zenoh::{Config, Session, Wait};

use crate::error::BenchError;

/// The role of a reference session.
#[derive(Debug, Clone)]
pub(crate) enum BaselineSession<'a> {
    /// A client that connects to the given endpoint.
    Client(&'a str),
    /// A peer that only listens, like the visualization's end of a direct link.
    Listener(&'a str),
    /// A peer that is the gateway of its clients, like a daemon: its endpoint, and those of the other gateways.
    Gateway(&'a str, &'a [String]),
}

impl BaselineSession<'_> {
    /// Opens the session.
    pub(crate) fn open(&self) -> Result<Session, BenchError> {
        let none: [&str; 0] = [];
        let mut settings: Vec<(&str, Value)> =
            vec![("scouting/multicast/enabled", json!(false)), ("connect/timeout_ms", json!(5000))];
        match self {
            Self::Client(endpoint) => {
                settings.push(("mode", json!("client")));
                settings.push(("connect/endpoints", json!([endpoint])));
                settings.push(("listen/endpoints", json!(none)));
            },
            Self::Listener(endpoint) => {
                settings.push(("mode", json!("peer")));
                settings.push(("listen/endpoints", json!([endpoint])));
            },
            Self::Gateway(endpoint, others) => {
                settings.push(("mode", json!("peer")));
                settings.push(("listen/endpoints", json!([endpoint])));
                settings.push(("connect/endpoints", json!(others)));
                settings
                    .push(("gateway", json!({"south": [{"filters": [{"modes": ["client"]}]}]})));
            },
        }
        let mut config = Config::default();
        for (key, value) in settings {
            config
                .insert_json5(key, &value.to_string())
                .map_err(BenchError::baseline("configuring Zenoh"))?;
        }
        zenoh::open(config).wait().map_err(BenchError::baseline("opening a session"))
    }
}

/// Returns the Zenoh settings of a lane, which the reference uses too.
pub(crate) const fn zenoh_qos(lane: Lane) -> (Priority, Reliability, bool) {
    match lane {
        Lane::UnreliableSequenced => (Priority::RealTime, Reliability::BestEffort, true),
        Lane::ReliableOrdered => (Priority::InteractiveHigh, Reliability::Reliable, true),
        Lane::UnreliableUnordered => (Priority::Data, Reliability::BestEffort, false),
        Lane::ReliableUnordered => (Priority::DataLow, Reliability::Reliable, false),
    }
}

/// Declares a publisher with the settings of hana's publishers on this lane.
pub(crate) fn publisher(
    session: &Session,
    key: String,
    lane: Lane,
) -> Result<Publisher<'static>, BenchError> {
    let (priority, reliability, express) = zenoh_qos(lane);
    session
        .declare_publisher(key)
        .congestion_control(CongestionControl::Drop)
        .priority(priority)
        .reliability(reliability)
        .express(express)
        .wait()
        .map_err(BenchError::baseline("declaring a publisher"))
}
