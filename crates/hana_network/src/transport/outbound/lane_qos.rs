use hana_protocol::wire::Lane;
use zenoh::qos::{Priority, Reliability};

/// Returns the quality of service of a lane in Zenoh.
///
/// No lane blocks: a full link costs a message, never the sender's time. Each lane has its own priority, so that none
/// waits in another's queue.
pub(crate) const fn zenoh_qos(lane: Lane) -> (Priority, Reliability, bool) {
    match lane {
        Lane::UnreliableSequenced => (Priority::RealTime, Reliability::BestEffort, true),
        Lane::ReliableOrdered => (Priority::InteractiveHigh, Reliability::Reliable, true),
        Lane::UnreliableUnordered => (Priority::Data, Reliability::BestEffort, false),
        Lane::ReliableUnordered => (Priority::DataLow, Reliability::Reliable, false),
    }
}
