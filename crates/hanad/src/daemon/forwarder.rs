use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::{io, thread};

use hana_network::Inbox;

use crate::daemon::event::DaemonEvent;

/// Forwards the messages of several inboxes to the loop's channel, in turn, on a single thread.
#[derive(Default)]
pub(crate) struct Forwarder {
    sources: Vec<ForwardedInbox>,
}

/// A function that returns the next event, or `None` after arranging a wake-up of the thread for the next one.
type ForwardedInbox = Box<dyn FnMut(&mut Context<'_>) -> Option<DaemonEvent> + Send>;

impl Forwarder {
    /// Adds an inbox. `event` converts its messages.
    pub(crate) fn add<T: Send + 'static>(&mut self, inbox: Inbox<T>, event: fn(T) -> DaemonEvent) {
        self.sources.push(Box::new(move |context| match pin!(inbox.recv()).poll(context) {
            Poll::Ready(message) => Some(event(message)),
            Poll::Pending => None,
        }));
    }

    /// Starts the thread. While the channel is full, messages wait in their inboxes, which are bounded.
    pub(crate) fn start(mut self, events: SyncSender<DaemonEvent>) -> io::Result<()> {
        thread::Builder::new().name("forward".into()).spawn(move || {
            let waker = Waker::from(Arc::new(ThreadWaker(thread::current())));
            let mut context = Context::from_waker(&waker);
            loop {
                let mut is_idle = true;
                for source in &mut self.sources {
                    let Some(event) = source(&mut context) else { continue };
                    is_idle = false;
                    if events.send(event).is_err() {
                        return;
                    }
                }
                if is_idle {
                    thread::park();
                }
            }
        })?;
        Ok(())
    }
}

struct ThreadWaker(Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
