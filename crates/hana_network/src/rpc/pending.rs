use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use thiserror::Error;

/// Something that is on its way: a future, and a thing to wait for with a deadline, and a thing to look at
/// once a frame.
#[derive(Debug)]
pub struct Pending<T>(flume::Receiver<T>);

/// It did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no answer within {} ms", .0.as_millis())]
pub struct TimedOut(pub Duration);

/// It will never come: the node that was to bring it has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the node left the mesh before the answer came")]
pub struct Cancelled;

/// The other end of a [`Pending`].
pub(crate) struct Promise<T>(flume::Sender<T>);

impl<T> Pending<T> {
    pub(crate) fn new() -> (Promise<T>, Self) {
        let (sender, receiver) = flume::bounded(1);
        (Promise(sender), Self(receiver))
    }

    /// Blocks until it is there, at most for `timeout`. Not for a frame loop.
    ///
    /// # Errors
    ///
    /// When it has not come by then, or never will.
    pub fn wait(self, timeout: Duration) -> Result<T, TimedOut> {
        self.0.recv_timeout(timeout).map_err(|_| TimedOut(timeout))
    }

    /// Takes it if it is there. Does not block.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        self.0.try_recv().ok()
    }

    /// Whether it will never come, and is not there either. Does not block.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
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
    /// Brings it. If nobody waits any more it is dropped.
    pub(crate) fn keep(&self, value: T) {
        // A full or closed channel means it was brought before, or is not wanted.
        self.0.try_send(value).ok();
    }
}

impl<T> Clone for Promise<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
