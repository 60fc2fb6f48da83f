use std::time::Duration;

use hana_protocol::wire::Lane;
use hana_protocol::wire::codec::Encoding;
use zenoh::bytes::ZBytes;
use zenoh::qos::CongestionControl;
use zenoh::query::{ConsolidationMode, Reply};
use zenoh::{Session, Wait};

use crate::transport::send_queue::quality;

/// Asks on `key` as messages of `lane` are sent, and gives each answer to `hear`, which Zenoh drops when the question has
/// ended, answered or not. Nobody waits for a link that is full.
pub(crate) fn ask(
    session: &Session,
    key: &str,
    payload: impl Into<ZBytes>,
    attachment: Option<ZBytes>,
    lane: Lane,
    within: Duration,
    hear: impl Fn(Reply) + Send + Sync + 'static,
) -> zenoh::Result<()> {
    let (priority, _, express) = quality(lane);
    session
        .get(key)
        .payload(payload)
        .encoding(Encoding::MESSAGE_PACK)
        .attachment(attachment)
        .congestion_control(CongestionControl::Drop)
        .priority(priority)
        .express(express)
        .consolidation(ConsolidationMode::None)
        .timeout(within)
        .callback(hear)
        .wait()
}
