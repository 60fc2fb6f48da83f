use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use thiserror::Error;

/// A result that may arrive later.
///
/// The program can await it, wait for it with a deadline, or poll it once per frame.
#[derive(Debug)]
pub struct Pending<T>(flume::Receiver<T>);

/// The error that the result did not arrive in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no reply within {} ms", .0.as_millis())]
pub struct TimedOut(pub Duration);

/// The error that the result will never arrive, because the node that would have delivered it has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the node left the mesh before the reply arrived")]
pub struct Cancelled;

/// The sending end of a [`Pending`].
pub(crate) struct Promise<T>(flume::Sender<T>);

impl<T> Pending<T> {
    pub(crate) fn new() -> (Promise<T>, Self) {
        let (result_tx, result_rx) = flume::bounded(1);
        (Promise(result_tx), Self(result_rx))
    }

    /// Blocks until the result arrives, at most for `timeout`. Do not call this in a frame loop.
    ///
    /// # Errors
    ///
    /// When the result has not arrived after `timeout`, or will never arrive.
    pub fn wait(self, timeout: Duration) -> Result<T, TimedOut> {
        self.0.recv_timeout(timeout).map_err(|_| TimedOut(timeout))
    }

    /// Returns the result if it has arrived. Does not block.
    #[must_use]
    pub fn try_recv(&self) -> Option<T> {
        self.0.try_recv().ok()
    }

    /// Returns whether the result has not arrived and never will. Does not block.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_disconnected() && self.0.is_empty()
    }
}

impl<T: Send + 'static> IntoFuture for Pending<T> {
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;
    type Output = Result<T, Cancelled>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.0.recv_async().await.map_err(|_| Cancelled) })
    }
}

impl<T> Promise<T> {
    /// Delivers the result, or drops it if the receiving end was dropped.
    pub(crate) fn fulfil(&self, value: T) {
        // A full channel already contains a result, and a closed channel has no receiver.
        self.0.try_send(value).ok();
    }
}

impl<T> Clone for Promise<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
