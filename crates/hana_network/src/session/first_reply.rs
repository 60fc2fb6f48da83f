use std::time::Duration;

/// The time after which the wait for a reply ends even if Zenoh has not ended the query.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3);

/// Returns the first reply to a query, or `None` if the query ends without one.
pub(crate) fn first_reply<T>(
    query: impl FnOnce(flume::Sender<T>) -> zenoh::Result<()>,
) -> Option<T> {
    let (reply_tx, reply_rx) = flume::bounded(1);
    query(reply_tx).ok()?;
    reply_rx.recv_timeout(GIVE_UP_AFTER).ok()
}
