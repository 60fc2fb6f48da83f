//! Reads the catalogue and the settings again, on a separate thread, since their disk may not respond.

use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;
use std::{io, thread};

use hana_network::Request;
use hana_protocol::wire::error_chain;

use crate::config::DaemonConfig;
use crate::reload::file_watch::{FileWatch, fingerprints_of};

/// The cause of a reload.
pub(crate) enum ReloadCause {
    /// The files have changed.
    Changed,
    /// The daemon received SIGHUP.
    Signal,
    /// A person requested it with `hana reload`.
    Command(Request),
    /// A person requested a start of a program that is not in the catalogue.
    Start(Request),
}

/// The result of a reload: the configuration or an error, or `None` if the files are unchanged.
pub(crate) struct Reloaded {
    pub(crate) cause: ReloadCause,
    pub(crate) outcome: Result<Option<Box<DaemonConfig>>, String>,
}

/// A handle to the reload thread.
pub(crate) struct Reloader {
    causes: Sender<ReloadCause>,
}

/// How often the files are checked.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

impl Reloader {
    /// Starts to watch the files of `config`. `named` is the file given on the command line.
    ///
    /// `on_reloaded` receives each result and returns whether to continue watching.
    pub(crate) fn start(
        named: Option<PathBuf>,
        config: &DaemonConfig,
        on_reloaded: impl FnMut(Reloaded) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let files = config.files(named.as_deref());
        let watch = FileWatch::new(fingerprints_of(&files));
        let catalogue = config.catalogue_file.clone();
        let worker = Worker { named, files, watch, catalogue, failed: false };
        let (cause_tx, cause_rx) = mpsc::channel();
        thread::Builder::new()
            .name("reload".into())
            .spawn(move || worker.run(&cause_rx, on_reloaded))?;
        Ok(Self { causes: cause_tx })
    }

    /// Requests a reload. Its result goes to `on_reloaded`.
    pub(crate) fn request(&self, cause: ReloadCause) {
        self.causes.send(cause).ok();
    }
}

struct Worker {
    named: Option<PathBuf>,
    files: Vec<PathBuf>,
    watch: FileWatch,
    /// The file of the current catalogue.
    catalogue: Option<PathBuf>,
    /// Whether the last reload failed.
    failed: bool,
}

impl Worker {
    fn run(
        mut self,
        causes: &Receiver<ReloadCause>,
        mut on_reloaded: impl FnMut(Reloaded) -> bool,
    ) {
        loop {
            let (cause, outcome) = match causes.recv_timeout(POLL_INTERVAL) {
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    if !self.watch.poll(fingerprints_of(&self.files)) {
                        continue;
                    }
                    (ReloadCause::Changed, self.load())
                },
                Ok(cause) => {
                    let now = fingerprints_of(&self.files);
                    let is_same = !self.failed && !self.watch.has_changed(&now);
                    self.watch.accept(now);
                    let skips = is_same && matches!(cause, ReloadCause::Start(_));
                    let outcome = if skips { Ok(None) } else { self.load() };
                    (cause, outcome)
                },
            };
            if !on_reloaded(Reloaded { cause, outcome }) {
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
            self.watch.accept(fingerprints_of(&files));
            self.files = files;
        }
        self.catalogue.clone_from(&config.catalogue_file);
        Ok(Some(Box::new(config)))
    }

    fn load_whole(&self) -> Result<DaemonConfig, String> {
        // If the current catalogue is missing, the search would find another one that is not intended.
        if let Some(file) = self.catalogue.as_ref().filter(|file| !file.exists()) {
            return Err(format!(
                "the catalogue {} is missing; restore it, or restart hanad without it",
                file.display()
            ));
        }
        DaemonConfig::find(self.named.as_deref()).map_err(|problem| error_chain(&problem))
    }
}
