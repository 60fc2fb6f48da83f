use hana_protocol::wire::Lane;
use zenoh::qos::{Priority, Reliability};

/// Returns the quality of service of a lane in Zenoh.
///
/// No lane blocks: when a link is full, a message is dropped and the sender does not wait. Each lane has its own
/// priority, so that its messages do not wait behind those of another lane.
pub(crate) const fn zenoh_qos(lane: Lane) -> (Priority, Reliability, bool) {
    match lane {
        Lane::UnreliableSequenced => (Priority::RealTime, Reliability::BestEffort, true),
        Lane::ReliableOrdered => (Priority::InteractiveHigh, Reliability::Reliable, true),
        Lane::UnreliableUnordered => (Priority::Data, Reliability::BestEffort, false),
        Lane::ReliableUnordered => (Priority::DataLow, Reliability::Reliable, false),
    }
}
