use std::time::Duration;

use hana_protocol::wire::Lane;
use hana_protocol::wire::codec::Encoding;
use zenoh::bytes::ZBytes;
use zenoh::qos::CongestionControl;
use zenoh::query::{ConsolidationMode, Reply};
use zenoh::{Session, Wait};

use crate::transport::send_queue::quality;

/// Sends a query on `key` with the quality of service of `lane`, and passes each reply to `hear`.
///
/// Zenoh drops `hear` when the query ends, with or without replies. Does not wait for a full link.
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
