use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use zenoh::Session;
use zenoh::bytes::ZBytes;
use zenoh::query::Query;

use crate::session::open::{Listener, OpenSession};

/// The thread that owns a session: everything that may take time at Zenoh happens here, one after the
/// other, so that no caller waits for it. The session can be exchanged for another; what was declared
/// moves over.
#[derive(Clone)]
pub(crate) struct SessionWorker {
    jobs: flume::Sender<WorkerCommand>,
    seat: Arc<RwLock<Option<ActiveSession>>>,
    next_id: Arc<AtomicU64>,
}

/// The session as other threads see it; none before it is open, while it is exchanged, and after it was
/// left.
#[derive(Clone)]
pub(crate) struct ActiveSession {
    pub(crate) session: Session,
    /// Of a session that others may connect to.
    pub(crate) listener: Option<Listener>,
    /// Which session of this worker it is: what was made with another one is to be made anew.
    pub(crate) number: u64,
}

/// What a declaration leaves behind; dropping it takes it back.
pub(crate) type Declared = Box<dyn Any + Send + Sync>;

/// Called once for each session that the declaration lives in.
type Declare = Box<dyn Fn(&Session) -> zenoh::Result<Declared> + Send>;

type Open = Box<dyn FnOnce() -> Option<OpenSession> + Send>;

enum WorkerCommand {
    Declare { id: u64, what: String, declare: Declare },
    Undeclare(u64),
    Run(Box<dyn FnOnce(&Session) + Send>),
    MoveTo(OpenSession),
    Exchange(Open),
    Leave(Box<dyn FnOnce() + Send>),
}

/// A declaration that lives as long as this does.
pub(crate) struct RegistrationGuard {
    id: u64,
    jobs: flume::Sender<WorkerCommand>,
}

/// Jobs that wait at most when a question is to be answered.
const MAX_WAITING: usize = 1024;
/// Bytes of a question that is answered: the largest command, and something beside it.
const MAX_QUESTION: usize = 80 * 1024;
/// Closing can hang when many come and go at once; it goes on in a thread of its own then.
const CLOSE: Duration = Duration::from_millis(500);

impl SessionWorker {
    /// Starts the thread with a session that is open.
    pub(crate) fn start(name: &str, session: OpenSession) -> std::io::Result<Self> {
        let (jobs, queue) = flume::unbounded();
        let seat = Arc::new(RwLock::new(None));
        let desk = WorkerState::new(session, Arc::clone(&seat));
        thread::Builder::new().name(format!("hana {name}")).spawn(move || desk.work(&queue))?;
        Ok(Self { jobs, seat, next_id: Arc::new(AtomicU64::new(0)) })
    }

    /// Declares something, now and again on each session that takes the place of this one. Does not block.
    pub(crate) fn declare<F>(&self, what: impl Into<String>, declare: F) -> RegistrationGuard
    where
        F: Fn(&Session) -> zenoh::Result<Declared> + Send + 'static,
    {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.send(WorkerCommand::Declare { id, what: what.into(), declare: Box::new(declare) });
        RegistrationGuard { id, jobs: self.jobs.clone() }
    }

    /// Does something with the session, after all that was asked before. Does not block. Without a session,
    /// which is only while it is exchanged, it is not done.
    pub(crate) fn run(&self, job: impl FnOnce(&Session) + Send + 'static) {
        self.send(WorkerCommand::Run(Box::new(job)));
    }

    /// Answers a question, after all that was asked before. Does not block. Where very many questions wait, or
    /// one is so large that those that wait would be a burden, it ends unanswered: who asks that much is not
    /// worth the memory.
    pub(crate) fn answer(
        &self,
        query: Query,
        answer: impl FnOnce(&Session, Query) + Send + 'static,
    ) {
        let size = query.payload().map_or(0, ZBytes::len)
            + query.attachment().map_or(0, ZBytes::len)
            + query.parameters().as_str().len();
        if size > MAX_QUESTION || self.jobs.len() >= MAX_WAITING {
            tracing::debug!("{}: a question is not answered", query.key_expr());
            return;
        }
        self.run(move |session| answer(session, query));
    }

    /// Goes over to another session: everything is declared there before it is taken back here, so that
    /// nobody misses us in between. Does not block.
    pub(crate) fn move_to(&self, session: OpenSession) {
        self.send(WorkerCommand::MoveTo(session));
    }

    /// Closes the session before `open` is called for the next, as one must that listens on the same port.
    /// `open` may block; where it fails, it is called until it brings one. Does not block itself.
    pub(crate) fn exchange(&self, open: impl FnOnce() -> Option<OpenSession> + Send + 'static) {
        self.send(WorkerCommand::Exchange(Box::new(open)));
    }

    /// Takes everything back, closes the session and ends the thread; then calls `done`.
    pub(crate) fn leave(&self, done: impl FnOnce() + Send + 'static) {
        self.send(WorkerCommand::Leave(Box::new(done)));
    }

    /// The session as it is now.
    pub(crate) fn seat(&self) -> Option<ActiveSession> {
        self.seat.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn send(&self, job: WorkerCommand) {
        // After the thread has ended there is nothing left to do.
        self.jobs.send(job).ok();
    }
}

impl Drop for RegistrationGuard {
    fn drop(&mut self) {
        self.jobs.send(WorkerCommand::Undeclare(self.id)).ok();
    }
}

/// Something declared, and how to do it again.
struct Registration {
    what: String,
    declare: Declare,
    /// Not read: what lies here is declared, and no longer when it is taken away.
    handle: Option<Declared>,
}

impl Registration {
    fn declare_in(&mut self, session: &Session) {
        match (self.declare)(session) {
            // What was declared in the session before is taken back by this.
            Ok(handle) => self.handle = Some(handle),
            Err(problem) => tracing::error!("{}: Zenoh does not declare it: {problem}", self.what),
        }
    }
}

/// What the thread works with.
struct WorkerState {
    session: Option<OpenSession>,
    seat: Arc<RwLock<Option<ActiveSession>>>,
    number: u64,
    standing: BTreeMap<u64, Registration>,
}

impl WorkerState {
    fn new(session: OpenSession, seat: Arc<RwLock<Option<ActiveSession>>>) -> Self {
        let mut desk = Self { session: None, seat, number: 0, standing: BTreeMap::new() };
        desk.sit(session);
        desk
    }

    fn work(mut self, queue: &flume::Receiver<WorkerCommand>) {
        for job in queue {
            match job {
                WorkerCommand::Declare { id, what, declare } => {
                    let mut standing = Registration { what, declare, handle: None };
                    if let Some(session) = &self.session {
                        standing.declare_in(session);
                    }
                    self.standing.insert(id, standing);
                },
                WorkerCommand::Undeclare(id) => {
                    self.standing.remove(&id);
                },
                WorkerCommand::Run(job) => {
                    if let Some(session) = &self.session {
                        job(session);
                    }
                },
                WorkerCommand::MoveTo(session) => {
                    let before = self.sit(session);
                    self.declare_all();
                    close(before);
                },
                WorkerCommand::Exchange(open) => {
                    for standing in self.standing.values_mut() {
                        standing.handle = None;
                    }
                    close(self.stand_up());
                    if let Some(session) = open() {
                        self.sit(session);
                        self.declare_all();
                    }
                },
                WorkerCommand::Leave(done) => {
                    self.standing.clear();
                    close(self.stand_up());
                    done();
                    return;
                },
            }
        }
    }

    /// Takes a session; the one before.
    fn sit(&mut self, session: OpenSession) -> Option<OpenSession> {
        self.number += 1;
        let seat = ActiveSession {
            session: (*session).clone(),
            listener: session.listener().cloned(),
            number: self.number,
        };
        *self.seat.write().unwrap_or_else(PoisonError::into_inner) = Some(seat);
        self.session.replace(session)
    }

    fn stand_up(&mut self) -> Option<OpenSession> {
        *self.seat.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.session.take()
    }

    fn declare_all(&mut self) {
        let Some(session) = &self.session else { return };
        for standing in self.standing.values_mut() {
            standing.declare_in(session);
        }
    }
}

/// Closes a session, and waits for it as long as that may take.
fn close(session: Option<OpenSession>) {
    let Some(session) = session else { return };
    let (done, closed) = flume::bounded(1);
    let spawned = thread::Builder::new().name("hana close".into()).spawn(move || {
        if let Err(problem) = session.close() {
            tracing::warn!("the session did not close in good order: {problem}");
        }
        done.send(()).ok();
    });
    if spawned.is_ok() && closed.recv_timeout(CLOSE).is_err() {
        tracing::debug!("the session takes its time to close");
    }
}
