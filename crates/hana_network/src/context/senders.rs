use hana_protocol::wire::Lane;

use crate::transport::outbound::send_queue::SendWorker;

/// The two send threads of a node.
///
/// One serves the reliable lanes and one the other lanes, so that neither waits for the other.
pub(crate) struct Senders {
    pub(crate) unreliable: SendWorker,
    pub(crate) reliable: SendWorker,
}

impl Senders {
    pub(crate) fn start() -> std::io::Result<Self> {
        Ok(Self {
            unreliable: SendWorker::start("send")?,
            reliable: SendWorker::start("send reliably")?,
        })
    }

    pub(crate) const fn of_lane(&self, lane: Lane) -> &SendWorker {
        if lane.is_reliable() { &self.reliable } else { &self.unreliable }
    }
}
