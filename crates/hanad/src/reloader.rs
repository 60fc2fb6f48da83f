//! Reads the catalogue and the settings again, on a separate thread, since their disk may hang.

use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::Duration;
use std::{io, thread};

use hana_network::Request;
use hana_protocol::wire::error_chain;

use crate::config::DaemonConfig;
use crate::daemon::DaemonEvent;
use crate::file_watch::{FileWatch, look_at};

/// The cause of a reload.
pub(crate) enum ReloadCause {
    /// The files have changed.
    Changed,
    /// SIGHUP.
    Signal,
    /// `hana reload`.
    Command(Request),
    /// A start of a program that is not in the catalogue.
    Start(Request),
}

/// The result of a reload: `None` if the files are unchanged, otherwise the configuration or an error.
pub(crate) struct Reloaded {
    pub(crate) cause: ReloadCause,
    pub(crate) outcome: Result<Option<Box<DaemonConfig>>, String>,
}

/// A handle to the reload thread.
pub(crate) struct Reloader {
    asked: Sender<ReloadCause>,
}

/// How often the files are checked.
const POLL: Duration = Duration::from_millis(500);

impl Reloader {
    /// Starts to watch the files of `config`. `named` is the file given on the command line.
    pub(crate) fn start(
        named: Option<PathBuf>,
        config: &DaemonConfig,
        events: SyncSender<DaemonEvent>,
    ) -> io::Result<Self> {
        let files = config.files(named.as_deref());
        let watch = FileWatch::new(look_at(&files));
        let catalogue = config.catalogue_file.clone();
        let worker = Worker { named, files, watch, catalogue, failed: false, events };
        let (asked, questions) = mpsc::channel();
        thread::Builder::new().name("reload".into()).spawn(move || worker.run(&questions))?;
        Ok(Self { asked })
    }

    /// Requests a reload. Its result comes as an event.
    pub(crate) fn ask(&self, cause: ReloadCause) {
        self.asked.send(cause).ok();
    }
}

struct Worker {
    named: Option<PathBuf>,
    files: Vec<PathBuf>,
    watch: FileWatch,
    /// The file of the catalogue in force.
    catalogue: Option<PathBuf>,
    /// Whether the last reload failed.
    failed: bool,
    events: SyncSender<DaemonEvent>,
}

impl Worker {
    fn run(mut self, questions: &Receiver<ReloadCause>) {
        loop {
            let (cause, outcome) = match questions.recv_timeout(POLL) {
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    if !self.watch.see(look_at(&self.files)) {
                        continue;
                    }
                    (ReloadCause::Changed, self.load())
                },
                Ok(cause) => {
                    let now = look_at(&self.files);
                    let is_same = !self.failed && !self.watch.is_news(&now);
                    self.watch.take(now);
                    let skips = is_same && matches!(cause, ReloadCause::Start(_));
                    let outcome = if skips { Ok(None) } else { self.load() };
                    (cause, outcome)
                },
            };
            if self.events.send(DaemonEvent::Reloaded(Reloaded { cause, outcome })).is_err() {
                return;
            }
        }
    }

    fn load(&mut self) -> Result<Option<Box<DaemonConfig>>, String> {
        let loaded = self.load_whole();
        self.failed = loaded.is_err();
        let config = loaded?;
        let files = config.files(self.named.as_deref());
        if files != self.files {
            self.watch.take(look_at(&files));
            self.files = files;
        }
        self.catalogue.clone_from(&config.catalogue_file);
        Ok(Some(Box::new(config)))
    }

    fn load_whole(&self) -> Result<DaemonConfig, String> {
        // Without it, another catalogue that is not meant to be used would be found.
        if let Some(file) = self.catalogue.as_ref().filter(|file| !file.exists()) {
            return Err(format!(
                "the catalogue {} is gone; put it there again, or start hanad again without it",
                file.display()
            ));
        }
        DaemonConfig::find(self.named.as_deref()).map_err(|problem| error_chain(&problem))
    }
}
