use std::time::Duration;

use crate::sync::lock::Mutex;
use hana_protocol::wire::Lane;
use hana_protocol::wire::codec::Encoding;
use zenoh::bytes::ZBytes;
use zenoh::qos::CongestionControl;
use zenoh::query::{ConsolidationMode, QueryTarget, Reply};
use zenoh::{Session, Wait};

use crate::transport::outbound::lane_qos::zenoh_qos;

/// Collects the replies to a query, and calls `on_end` with them when the query has ended.
///
/// The callback of the query owns the handle: Zenoh drops the callback when the query ends, with or without replies.
pub(crate) struct QueryHandle<T: Default, F: FnOnce(T)> {
    replies: Mutex<T>,
    on_end: Option<F>,
}

impl<T: Default, F: FnOnce(T)> QueryHandle<T, F> {
    pub(crate) fn new(on_end: F) -> Self {
        Self { replies: Mutex::default(), on_end: Some(on_end) }
    }

    /// Records a reply.
    pub(crate) fn record(&self, record: impl FnOnce(&mut T)) {
        record(&mut self.replies.lock());
    }
}

impl<T: Default, F: FnOnce(T)> Drop for QueryHandle<T, F> {
    fn drop(&mut self) {
        if let Some(on_end) = self.on_end.take() {
            on_end(std::mem::take(self.replies.get_mut()));
        }
    }
}

/// Sends a query on `key` with the quality of service of `lane`, and passes each reply to `on_reply`.
///
/// Does not wait while a link is full.
pub(crate) fn query(
    session: &Session,
    key: &str,
    payload: impl Into<ZBytes>,
    attachment: Option<ZBytes>,
    lane: Lane,
    timeout: Duration,
    on_reply: impl Fn(Reply) + Send + Sync + 'static,
) -> zenoh::Result<()> {
    let (priority, _, express) = zenoh_qos(lane);
    session
        .get(key)
        .payload(payload)
        .encoding(Encoding::MESSAGE_PACK)
        .attachment(attachment)
        .congestion_control(CongestionControl::Drop)
        .priority(priority)
        .express(express)
        .consolidation(ConsolidationMode::None)
        .timeout(timeout)
        .callback(on_reply)
        .wait()
}

/// Queries all nodes with stored messages on the keys of `pattern`, and passes each reply to `on_reply`.
///
/// If the query cannot be sent, the error is logged and the query ends.
pub(crate) fn query_all(
    session: &Session,
    pattern: &str,
    timeout: Duration,
    on_reply: impl Fn(Reply) + Send + Sync + 'static,
) {
    let sent = session
        .get(pattern)
        .target(QueryTarget::All)
        .consolidation(ConsolidationMode::None)
        .congestion_control(CongestionControl::Drop)
        .timeout(timeout)
        .callback(on_reply)
        .wait();
    if let Err(problem) = sent {
        tracing::error!("{pattern}: Zenoh cannot send the query: {problem}");
    }
}
