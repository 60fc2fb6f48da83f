use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use thiserror::Error;

/// A result that is not there yet: await it, wait for it with a deadline, or poll it once per frame.
#[derive(Debug)]
pub struct Pending<T>(flume::Receiver<T>);

/// The result did not arrive in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no reply within {} ms", .0.as_millis())]
pub struct TimedOut(pub Duration);

/// The result will never arrive, because the node that would have delivered it has left.
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

    /// Blocks until the result is there, at most for `timeout`. Not for a frame loop.
    ///
    /// # Errors
    ///
    /// When the result has not arrived by then, or never will.
    pub fn wait(self, timeout: Duration) -> Result<T, TimedOut> {
        self.0.recv_timeout(timeout).map_err(|_| TimedOut(timeout))
    }

    /// Takes the result if it is there. Does not block.
    #[must_use]
    pub fn try_recv(&self) -> Option<T> {
        self.0.try_recv().ok()
    }

    /// Returns whether the result is not there and will never arrive. Does not block.
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
    /// Delivers the result, or drops it if the receiving end is gone.
    pub(crate) fn fulfil(&self, value: T) {
        // A full channel already has a result; a closed one has no receiver.
        self.0.try_send(value).ok();
    }
}

impl<T> Clone for Promise<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
