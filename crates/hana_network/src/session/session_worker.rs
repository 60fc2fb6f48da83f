use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::sync::lock::RwLock;
use zenoh::bytes::ZBytes;
use zenoh::query::Query;
use zenoh::sample::Sample;
use zenoh::{Session, Wait};

use crate::session::open_session::{Listener, OpenSession};

/// The handle of the thread that owns a session.
///
/// Every Zenoh call that may take time runs in this thread, one after the other, so that no caller waits. When the
/// session is replaced, all declarations move to the new session.
#[derive(Clone)]
pub(crate) struct SessionWorker {
    command_tx: flume::Sender<WorkerCommand>,
    active: Arc<RwLock<Option<ActiveSession>>>,
    next_id: Arc<AtomicU64>,
}

/// The session as other threads use it.
///
/// It is absent until it is open, while it is being reopened, and after the node has left.
#[derive(Clone)]
pub(crate) struct ActiveSession {
    pub(crate) session: Session,
    /// The listener, if other nodes may connect to the session.
    pub(crate) listener: Option<Listener>,
    /// The number of the session in this worker. Declarations made in a session with another number must be renewed.
    pub(crate) generation: u64,
}

/// The handle of a declaration; dropping the handle undeclares it.
pub(crate) type Declared = Box<dyn Any + Send + Sync>;

/// A function that makes a declaration, called once for each session.
type Declare = Box<dyn Fn(&Session) -> zenoh::Result<Declared> + Send>;

type Open = Box<dyn FnOnce() -> Option<OpenSession> + Send>;

enum WorkerCommand {
    Declare { id: u64, what: String, declare: Declare },
    Undeclare(u64),
    Run(Box<dyn FnOnce(&Session) + Send>),
    Migrate(OpenSession),
    Reopen(Open),
    Leave(Box<dyn FnOnce() + Send>),
}

/// Keeps a declaration alive until it is dropped.
pub(crate) struct RegistrationGuard {
    id: u64,
    command_tx: flume::Sender<WorkerCommand>,
}

/// The maximum number of waiting commands; beyond it, queries end without a reply.
const MAX_QUEUED: usize = 1024;
/// The maximum size of a query that gets a reply, in bytes: the largest command, with some margin.
const MAX_QUERY_BYTES: usize = 80 * 1024;
/// The time limit for closing a session.
///
/// Closing can hang during heavy churn; it then continues in a thread of its own.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

impl SessionWorker {
    /// Starts the thread with an open session.
    pub(crate) fn start(name: &str, session: OpenSession) -> std::io::Result<Self> {
        let (command_tx, command_rx) = flume::unbounded();
        let active = Arc::new(RwLock::new(None));
        let state = WorkerState::new(session, Arc::clone(&active));
        thread::Builder::new()
            .name(format!("hana {name}"))
            .spawn(move || state.work(&command_rx))?;
        Ok(Self { command_tx, active, next_id: Arc::new(AtomicU64::new(0)) })
    }

    /// Makes a declaration now, and again in each session that replaces the current one. Does not block.
    pub(crate) fn declare<F>(&self, what: impl Into<String>, declare: F) -> RegistrationGuard
    where
        F: Fn(&Session) -> zenoh::Result<Declared> + Send + 'static,
    {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.send(WorkerCommand::Declare { id, what: what.into(), declare: Box::new(declare) });
        RegistrationGuard { id, command_tx: self.command_tx.clone() }
    }

    /// Passes every sample on `pattern` to `receive`, until the returned guard is dropped.
    pub(crate) fn subscribe(
        &self,
        pattern: impl Into<String>,
        receive: impl Fn(Sample) + Send + Sync + 'static,
    ) -> RegistrationGuard {
        let (pattern, receive) = (pattern.into(), Arc::new(receive));
        self.declare(pattern.clone(), move |session| {
            let receive = Arc::clone(&receive);
            let callback = move |sample| receive(sample);
            Ok(Box::new(session.declare_subscriber(&pattern).callback(callback).wait()?))
        })
    }

    /// Passes every query on `key` to `receive`, until the returned guard is dropped.
    pub(crate) fn receive_queries(
        &self,
        key: impl Into<String>,
        receive: impl Fn(Query) + Send + Sync + 'static,
    ) -> RegistrationGuard {
        let (key, receive) = (key.into(), Arc::new(receive));
        self.declare(key.clone(), move |session| {
            let receive = Arc::clone(&receive);
            let callback = move |query| receive(query);
            Ok(Box::new(session.declare_queryable(&key).complete(true).callback(callback).wait()?))
        })
    }

    /// Queues a call that uses the session.
    ///
    /// Does not block. The call is skipped while there is no session, for example while the session is reopened.
    pub(crate) fn run(&self, command: impl FnOnce(&Session) + Send + 'static) {
        self.send(WorkerCommand::Run(Box::new(command)));
    }

    /// Queues the reply to a query. Does not block.
    ///
    /// If too many commands wait, or the query is too large to be queued, the query ends without a reply.
    pub(crate) fn spawn_reply(
        &self,
        query: Query,
        reply: impl FnOnce(&Session, Query) + Send + 'static,
    ) {
        let size = query.payload().map_or(0, ZBytes::len)
            + query.attachment().map_or(0, ZBytes::len)
            + query.parameters().as_str().len();
        if size > MAX_QUERY_BYTES || self.command_tx.len() >= MAX_QUEUED {
            tracing::debug!(
                "{}: dropping a query, too many are waiting or it is too large",
                query.key_expr()
            );
            return;
        }
        self.run(move |session| reply(session, query));
    }

    /// Replaces the session. Does not block.
    ///
    /// Everything is declared in the new session before it is undeclared in the old session, so that this node never
    /// disappears for other nodes.
    pub(crate) fn migrate_to(&self, session: OpenSession) {
        self.send(WorkerCommand::Migrate(session));
    }

    /// Replaces the session with one that needs the same port: closes the old session before it calls `open`.
    ///
    /// Does not block. `open` runs in the worker's thread and may block; it must retry until it succeeds.
    pub(crate) fn reopen_with(&self, open: impl FnOnce() -> Option<OpenSession> + Send + 'static) {
        self.send(WorkerCommand::Reopen(Box::new(open)));
    }

    /// Undeclares everything, closes the session and ends the thread; then calls `done`.
    pub(crate) fn leave(&self, done: impl FnOnce() + Send + 'static) {
        self.send(WorkerCommand::Leave(Box::new(done)));
    }

    /// Returns the current session, if there is one.
    pub(crate) fn current(&self) -> Option<ActiveSession> {
        self.active.read().clone()
    }

    fn send(&self, command: WorkerCommand) {
        // Commands are ignored after the thread has ended.
        self.command_tx.send(command).ok();
    }
}

impl Drop for RegistrationGuard {
    fn drop(&mut self) {
        self.command_tx.send(WorkerCommand::Undeclare(self.id)).ok();
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
            // Dropping the handle of the previous session undeclares it there.
            Ok(handle) => self.handle = Some(handle),
            Err(problem) => tracing::error!("{}: Zenoh cannot declare it: {problem}", self.what),
        }
    }
}

/// The state of the worker's thread.
struct WorkerState {
    session: Option<OpenSession>,
    active: Arc<RwLock<Option<ActiveSession>>>,
    generation: u64,
    registrations: BTreeMap<u64, Registration>,
}

impl WorkerState {
    fn new(session: OpenSession, active: Arc<RwLock<Option<ActiveSession>>>) -> Self {
        let mut state =
            Self { session: None, active, generation: 0, registrations: BTreeMap::new() };
        state.install(session);
        state
    }

    fn work(mut self, command_rx: &flume::Receiver<WorkerCommand>) {
        for command in command_rx {
            match command {
                WorkerCommand::Declare { id, what, declare } => {
                    let mut registration = Registration { what, declare, handle: None };
                    if let Some(session) = &self.session {
                        registration.declare_in(session);
                    }
                    self.registrations.insert(id, registration);
                },
                WorkerCommand::Undeclare(id) => {
                    self.registrations.remove(&id);
                },
                WorkerCommand::Run(command) => {
                    if let Some(session) = &self.session {
                        command(session);
                    }
                },
                WorkerCommand::Migrate(session) => {
                    let before = self.install(session);
                    self.declare_all();
                    close(before);
                },
                WorkerCommand::Reopen(open) => {
                    for registration in self.registrations.values_mut() {
                        registration.handle = None;
                    }
                    close(self.uninstall());
                    if let Some(session) = open() {
                        self.install(session);
                        self.declare_all();
                    }
                },
                WorkerCommand::Leave(done) => {
                    self.registrations.clear();
                    close(self.uninstall());
                    done();
                    return;
                },
            }
        }
    }

    /// Installs a session and returns the previous one.
    fn install(&mut self, session: OpenSession) -> Option<OpenSession> {
        self.generation += 1;
        let active = ActiveSession {
            session: (*session).clone(),
            listener: session.listener().cloned(),
            generation: self.generation,
        };
        *self.active.write() = Some(active);
        self.session.replace(session)
    }

    fn uninstall(&mut self) -> Option<OpenSession> {
        *self.active.write() = None;
        self.session.take()
    }

    fn declare_all(&mut self) {
        let Some(session) = &self.session else { return };
        for registration in self.registrations.values_mut() {
            registration.declare_in(session);
        }
    }
}

/// Closes a session and waits until it is closed, at most for [`CLOSE_TIMEOUT`].
fn close(session: Option<OpenSession>) {
    let Some(session) = session else { return };
    let (closed_tx, closed_rx) = flume::bounded(1);
    let spawned = thread::Builder::new().name("hana close".into()).spawn(move || {
        if let Err(problem) = session.close() {
            tracing::warn!("the session did not close cleanly: {problem}");
        }
        closed_tx.send(()).ok();
    });
    if spawned.is_ok() && closed_rx.recv_timeout(CLOSE_TIMEOUT).is_err() {
        tracing::debug!("the session is still closing");
    }
}
