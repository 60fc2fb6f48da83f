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

/// The thread that owns a session.
///
/// Every Zenoh call that may take time runs here, one after the other, so that no caller waits for it. The session
/// can be replaced; all declarations move to the new session.
#[derive(Clone)]
pub(crate) struct SessionWorker {
    jobs: flume::Sender<WorkerCommand>,
    seat: Arc<RwLock<Option<ActiveSession>>>,
    next_id: Arc<AtomicU64>,
}

/// The session as other threads see it; absent before it is open, while it is being exchanged, and after the node
/// left.
#[derive(Clone)]
pub(crate) struct ActiveSession {
    pub(crate) session: Session,
    /// Present if others may connect to the session.
    pub(crate) listener: Option<Listener>,
    /// The number of the session in this worker: declarations of a session with another number must be renewed.
    pub(crate) number: u64,
}

/// The handle of a declaration; dropping it undeclares.
pub(crate) type Declared = Box<dyn Any + Send + Sync>;

/// Called once for each session in which the declaration is made.
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

/// Keeps a declaration alive until it is dropped.
pub(crate) struct RegistrationGuard {
    id: u64,
    jobs: flume::Sender<WorkerCommand>,
}

/// The maximum number of waiting jobs; beyond it, queries are not answered.
const MAX_WAITING: usize = 1024;
/// The maximum size of an answered query in bytes: the largest command, with some margin.
const MAX_QUESTION: usize = 80 * 1024;
/// The wait for a session to close. Closing can hang during heavy churn, and then continues in its own thread.
const CLOSE: Duration = Duration::from_millis(500);

impl SessionWorker {
    /// Starts the thread with an open session.
    pub(crate) fn start(name: &str, session: OpenSession) -> std::io::Result<Self> {
        let (jobs, queue) = flume::unbounded();
        let seat = Arc::new(RwLock::new(None));
        let desk = WorkerState::new(session, Arc::clone(&seat));
        thread::Builder::new().name(format!("hana {name}")).spawn(move || desk.work(&queue))?;
        Ok(Self { jobs, seat, next_id: Arc::new(AtomicU64::new(0)) })
    }

    /// Makes a declaration now, and again on each session that replaces this one. Does not block.
    pub(crate) fn declare<F>(&self, what: impl Into<String>, declare: F) -> RegistrationGuard
    where
        F: Fn(&Session) -> zenoh::Result<Declared> + Send + 'static,
    {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.send(WorkerCommand::Declare { id, what: what.into(), declare: Box::new(declare) });
        RegistrationGuard { id, jobs: self.jobs.clone() }
    }

    /// Queues a job that uses the session.
    ///
    /// Does not block. The job is skipped if there is no session, which happens only during an exchange.
    pub(crate) fn run(&self, job: impl FnOnce(&Session) + Send + 'static) {
        self.send(WorkerCommand::Run(Box::new(job)));
    }

    /// Queues the reply to a query. Does not block.
    ///
    /// If too many jobs wait, or the query is too large to keep in memory, it ends without a reply.
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

    /// Moves to another session. Does not block.
    ///
    /// Everything is declared in the new session before it is undeclared in the old one, so that other nodes never
    /// see this one missing.
    pub(crate) fn move_to(&self, session: OpenSession) {
        self.send(WorkerCommand::MoveTo(session));
    }

    /// Replaces the session with one that needs the same port: closes it before it calls `open`.
    ///
    /// Does not block, although `open` may: it runs in the worker's thread, and must itself retry until it succeeds.
    pub(crate) fn exchange(&self, open: impl FnOnce() -> Option<OpenSession> + Send + 'static) {
        self.send(WorkerCommand::Exchange(Box::new(open)));
    }

    /// Undeclares everything, closes the session and ends the thread; then calls `done`.
    pub(crate) fn leave(&self, done: impl FnOnce() + Send + 'static) {
        self.send(WorkerCommand::Leave(Box::new(done)));
    }

    /// Returns the current session.
    pub(crate) fn seat(&self) -> Option<ActiveSession> {
        self.seat.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn send(&self, job: WorkerCommand) {
        // After the thread has ended, there is nothing left to do.
        self.jobs.send(job).ok();
    }
}

impl Drop for RegistrationGuard {
    fn drop(&mut self) {
        self.jobs.send(WorkerCommand::Undeclare(self.id)).ok();
    }
}

/// A declaration, and the function that repeats it.
struct Registration {
    what: String,
    declare: Declare,
    /// Never read: the declaration lives as long as its handle.
    handle: Option<Declared>,
}

impl Registration {
    fn declare_in(&mut self, session: &Session) {
        match (self.declare)(session) {
            // Drops the handle of the previous session, which undeclares there.
            Ok(handle) => self.handle = Some(handle),
            Err(problem) => tracing::error!("{}: Zenoh does not declare it: {problem}", self.what),
        }
    }
}

/// The state of the worker's thread.
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

    /// Installs a session and returns the previous one.
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

/// Closes a session, and waits up to [`CLOSE`] for that.
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
