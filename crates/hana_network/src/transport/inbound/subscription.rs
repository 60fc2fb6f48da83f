use std::ops::Deref;

use crate::session::session_worker::RegistrationGuard;
use crate::sync::inbox::Inbox;
use crate::transport::received::Received;

/// An inbox that receives messages until it is dropped.
pub struct Subscription<T> {
    inbox: Inbox<T>,
    _registration: RegistrationGuard,
}

impl<T> Subscription<T> {
    pub(crate) const fn new(inbox: Inbox<T>, declaration: RegistrationGuard) -> Self {
        Self { inbox, _registration: declaration }
    }
}

impl<T> Deref for Subscription<T> {
    type Target = Inbox<T>;

    fn deref(&self) -> &Inbox<T> {
        &self.inbox
    }
}

impl<M> Subscription<Received<M>> {
    /// Returns an iterator that removes and returns the waiting messages, without key and envelope. Does not block.
    pub fn messages(&self) -> impl Iterator<Item = M> + '_ {
        std::iter::from_fn(|| self.inbox.try_recv().map(|received| received.message))
    }
}
