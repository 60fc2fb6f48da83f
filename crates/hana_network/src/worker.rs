use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;

use zenoh::Session;
use zenoh::Wait;

/// The thread that owns a session: everything that may take time at Zenoh happens here, one after the
/// other, so that no caller waits for it.
#[derive(Clone)]
pub(crate) struct Worker {
    jobs: flume::Sender<Job>,
    session: SessionSlot,
    next_id: Arc<AtomicU64>,
}

/// The session as other threads see it; none before it is open and after it was left.
pub(crate) type SessionSlot = Arc<RwLock<Option<Session>>>;

/// What a declaration leaves behind; dropping it takes it back.
pub(crate) type Declared = Box<dyn Any + Send + Sync>;

type Declare = Box<dyn FnOnce(&Session) -> zenoh::Result<Declared> + Send>;

enum Job {
    Declare { id: u64, what: String, declare: Declare },
    Undeclare(u64),
    Run(Box<dyn FnOnce(&Session) + Send>),
    Leave(Box<dyn FnOnce() + Send>),
}

/// A declaration that lives as long as this does.
pub(crate) struct Declaration {
    id: u64,
    jobs: flume::Sender<Job>,
}

impl Worker {
    /// Starts the thread with a session that is open.
    pub(crate) fn start(name: &str, session: Session) -> std::io::Result<Self> {
        let (jobs, queue) = flume::unbounded();
        let slot = Arc::new(RwLock::new(Some(session.clone())));
        let of_thread = Arc::clone(&slot);
        thread::Builder::new()
            .name(format!("hana {name}"))
            .spawn(move || run(session, &of_thread, &queue))?;
        Ok(Self { jobs, session: slot, next_id: Arc::new(AtomicU64::new(0)) })
    }

    /// Declares something. Does not block.
    pub(crate) fn declare<F>(&self, what: impl Into<String>, declare: F) -> Declaration
    where
        F: FnOnce(&Session) -> zenoh::Result<Declared> + Send + 'static,
    {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.send(Job::Declare { id, what: what.into(), declare: Box::new(declare) });
        Declaration { id, jobs: self.jobs.clone() }
    }

    /// Does something with the session, after all that was asked before. Does not block.
    pub(crate) fn run(&self, job: impl FnOnce(&Session) + Send + 'static) {
        self.send(Job::Run(Box::new(job)));
    }

    /// Takes everything back, closes the session and ends the thread; then calls `done`.
    pub(crate) fn leave(&self, done: impl FnOnce() + Send + 'static) {
        self.send(Job::Leave(Box::new(done)));
    }

    /// The session as it is now.
    pub(crate) fn session(&self) -> Option<Session> {
        self.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn send(&self, job: Job) {
        // After the thread has ended there is nothing left to do.
        self.jobs.send(job).ok();
    }
}

impl Drop for Declaration {
    fn drop(&mut self) {
        self.jobs.send(Job::Undeclare(self.id)).ok();
    }
}

fn run(session: Session, slot: &SessionSlot, queue: &flume::Receiver<Job>) {
    // Not read: what lies here is declared, and no longer when it is taken away.
    #[allow(clippy::collection_is_never_read)]
    let mut declared: BTreeMap<u64, Declared> = BTreeMap::new();
    for job in queue {
        match job {
            Job::Declare { id, what, declare } => match declare(&session) {
                Ok(handle) => {
                    declared.insert(id, handle);
                },
                Err(problem) => tracing::error!("{what}: Zenoh does not declare it: {problem}"),
            },
            Job::Undeclare(id) => {
                declared.remove(&id);
            },
            Job::Run(job) => job(&session),
            Job::Leave(done) => {
                declared.clear();
                *slot.write().unwrap_or_else(PoisonError::into_inner) = None;
                if let Err(problem) = session.close().wait() {
                    tracing::warn!("the session did not close in good order: {problem}");
                }
                done();
                return;
            },
        }
    }
}
