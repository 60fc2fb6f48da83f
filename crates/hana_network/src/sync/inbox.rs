use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::sync::lock::{Condvar, Mutex, MutexGuard};

/// The rule by which a full queue drops messages. Every dropped message is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OverflowPolicy {
    /// The queue holds one message per key: a newer message replaces the waiting one. If there are more keys than the
    /// capacity, the oldest key is dropped.
    KeepLatestPerKey,
    /// The oldest message is dropped.
    DropOldest,
}

/// A bounded queue of received messages.
///
/// The network adds messages without waiting; the program removes them at its own pace. Clones share one queue.
#[derive(Debug)]
pub struct Inbox<T>(Arc<InboxShared<T>>);

#[derive(Debug)]
struct InboxShared<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct State<T> {
    policy: OverflowPolicy,
    capacity: usize,
    /// The order of the waiting messages; under [`OverflowPolicy::KeepLatestPerKey`], the order of the keys in
    /// `latest`.
    order: VecDeque<(String, Option<Sized<T>>)>,
    latest: HashMap<String, Sized<T>>,
    /// The total payload size of the waiting messages.
    bytes: usize,
    dropped: u64,
    wakers: Vec<Waker>,
}

#[derive(Debug)]
struct Sized<T> {
    message: T,
    bytes: usize,
}

/// The maximum total payload size of the messages in one inbox, regardless of their number.
///
/// When it is exceeded, the oldest message is dropped. It is enough for 256 messages of the largest size, or for
/// thousands of typical messages.
const MAX_BYTES: usize = 16 * 1024 * 1024;

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Inbox<T> {
    pub(crate) fn new(policy: OverflowPolicy, capacity: usize) -> Self {
        let state = State {
            policy,
            capacity: capacity.max(1),
            order: VecDeque::new(),
            latest: HashMap::new(),
            bytes: 0,
            dropped: 0,
            wakers: Vec::new(),
        };
        Self(Arc::new(InboxShared { state: Mutex::new(state), arrived: Condvar::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock()
    }

    /// Adds a message; returns the number of messages dropped for it.
    pub(crate) fn push(&self, key: &str, message: T) -> u64 {
        self.push_sized(key, message, 0)
    }

    /// Adds a message whose payload has `bytes` bytes; returns the number of messages dropped for it.
    pub(crate) fn push_sized(&self, key: &str, message: T, bytes: usize) -> u64 {
        let mut state = self.state();
        let dropped = state.push(key, Sized { message, bytes });
        state.dropped += dropped;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.0.arrived.notify_one();
        for waker in wakers {
            waker.wake();
        }
        dropped
    }

    /// Removes and returns the oldest message, if any. Does not block.
    #[must_use]
    pub fn try_recv(&self) -> Option<T> {
        self.state().pop()
    }

    /// Blocks until a message arrives, at most for `timeout`. Do not call this in a frame loop.
    #[must_use]
    pub fn recv_timeout(&self, timeout: Duration) -> Option<T> {
        let is_empty = |state: &mut State<T>| state.order.is_empty();
        self.0.arrived.wait_timeout_while(self.state(), timeout, is_empty).pop()
    }

    /// Returns a future that resolves to the next message.
    pub fn recv(&self) -> impl Future<Output = T> + use<T> {
        Recv(self.clone())
    }

    /// Wakes `waker` once, when the next message is added.
    pub(crate) fn wake_by(&self, waker: &Waker) {
        self.state().wake_by(waker);
    }

    /// Returns the number of messages dropped because the queue was full or a newer message replaced them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.state().dropped
    }

    /// Returns the number of waiting messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().order.len()
    }

    /// Returns whether the queue is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> State<T> {
    fn push(&mut self, key: &str, message: Sized<T>) -> u64 {
        self.bytes += message.bytes;
        let mut dropped = 0;
        match self.policy {
            OverflowPolicy::KeepLatestPerKey => {
                if let Some(waiting) = self.latest.get_mut(key) {
                    self.bytes -= waiting.bytes;
                    *waiting = message;
                    dropped += 1;
                } else {
                    self.order.push_back((key.into(), None));
                    self.latest.insert(key.into(), message);
                }
            },
            OverflowPolicy::DropOldest => self.order.push_back((String::new(), Some(message))),
        }
        while self.order.len() > self.capacity || (self.bytes > MAX_BYTES && self.order.len() > 1) {
            self.pop();
            dropped += 1;
        }
        dropped
    }

    fn wake_by(&mut self, waker: &Waker) {
        if !self.wakers.iter().any(|known| known.will_wake(waker)) {
            self.wakers.push(waker.clone());
        }
    }

    fn pop(&mut self) -> Option<T> {
        let (key, message) = self.order.pop_front()?;
        let Sized { message, bytes } = message.or_else(|| self.latest.remove(&key))?;
        self.bytes -= bytes;
        Some(message)
    }
}

struct Recv<T>(Inbox<T>);

impl<T> Future for Recv<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.0.state();
        if let Some(message) = state.pop() {
            return Poll::Ready(message);
        }
        state.wake_by(context.waker());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_queue_drops_and_counts_the_oldest() {
        let inbox = Inbox::new(OverflowPolicy::DropOldest, 2);
        for n in 0..5 {
            inbox.push("k", n);
        }
        assert_eq!(inbox.dropped(), 3);
        assert_eq!(
            (inbox.try_recv(), inbox.try_recv(), inbox.try_recv()),
            (Some(3), Some(4), None)
        );
    }

    #[test]
    fn newest_message_of_each_key_survives() {
        let inbox = Inbox::new(OverflowPolicy::KeepLatestPerKey, 8);
        for (key, value) in [("zoom", 1), ("hue", 2), ("zoom", 3)] {
            inbox.push(key, value);
        }
        assert_eq!(inbox.dropped(), 1);
        assert_eq!(
            (inbox.try_recv(), inbox.try_recv(), inbox.try_recv()),
            (Some(3), Some(2), None)
        );
    }

    #[test]
    fn forged_keys_do_not_grow_the_queue() {
        let inbox = Inbox::new(OverflowPolicy::KeepLatestPerKey, 4);
        for n in 0..100 {
            inbox.push(&n.to_string(), n);
        }
        assert_eq!((inbox.len(), inbox.dropped()), (4, 96));
        assert_eq!(inbox.state().latest.len(), 4);
    }

    #[test]
    fn large_messages_are_bounded_by_size() {
        for policy in [OverflowPolicy::DropOldest, OverflowPolicy::KeepLatestPerKey] {
            let inbox = Inbox::new(policy, 4096);
            for n in 0..100 {
                inbox.push_sized(&n.to_string(), n, 1 << 20);
            }
            assert_eq!((inbox.len(), inbox.dropped()), (16, 84));
            assert_eq!(inbox.try_recv(), Some(84));
            inbox.push_sized("large", 100, 1 << 30);
            assert_eq!((inbox.len(), inbox.try_recv()), (1, Some(100)));
            assert_eq!(inbox.state().bytes, 0);
        }
    }

    #[test]
    fn wait_ends_with_message_or_deadline() {
        let inbox = Inbox::new(OverflowPolicy::DropOldest, 2);
        assert_eq!(inbox.recv_timeout(Duration::from_millis(1)), None);
        let sender = inbox.clone();
        let thread = std::thread::spawn(move || sender.push("k", 7));
        assert_eq!(inbox.recv_timeout(Duration::from_secs(10)), Some(7));
        assert!(thread.join().is_ok());
    }
}
