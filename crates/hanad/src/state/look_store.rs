use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use hana_network::{LastLook, Node, Pending, Received, Subscription};
use hana_protocol::contract::Topic;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::Look;

use crate::state::state_files::{FLUSH_TIMEOUT, Purpose, StateFiles, in_time};

/// A store of the last look of one visualization on disk, for its next instance.
pub(crate) struct LookStore {
    file: PathBuf,
    files: StateFiles,
    looks: Subscription<Received<Look>>,
    /// The pending query for the visualization's current look, sent when this daemon adopted the process.
    query: Option<Pending<Vec<Received<Look>>>>,
    last: LastLook,
    written: Option<(Look, Instant)>,
}

/// The least time between two writes while the look changes.
///
/// A crash of the visualization loses nothing, since the daemon has the newest look. If the daemon crashes too, the
/// changes within this time are lost.
const WRITE_INTERVAL: Duration = Duration::from_millis(250);
/// The time limit for a visualization to reply with its look.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

impl LookStore {
    /// Creates a store with the look on disk, if there is one.
    pub(crate) fn new(
        node: &Node<role::Daemon>,
        id: &NodeId,
        file: PathBuf,
        files: StateFiles,
    ) -> Self {
        let topic = Topic::<Look>::look(id.clone());
        let known = read(&file, id, &files);
        Self {
            looks: node.subscribe(topic.clone()),
            query: Some(node.query(topic, QUERY_TIMEOUT)),
            // The look is written again, so that the file is restored if it is deleted.
            written: None,
            last: LastLook { node: id.clone(), look: known.unwrap_or_default() },
            file,
            files,
        }
    }

    /// Waits briefly until the newest look is written, and returns its file for the next instance.
    ///
    /// If the file cannot be written, `fallback` is written and returned instead.
    pub(crate) fn ready_file(&self, fallback: Option<PathBuf>) -> PathBuf {
        self.files.check(&self.file);
        self.files.flush(FLUSH_TIMEOUT);
        let Some((look, fallback)) = self.files.unwritten(&self.file).zip(fallback) else {
            return self.file.clone();
        };
        let written = fallback.clone();
        match in_time(move || fs::write(&written, look)) {
            Some(Ok(())) => fallback,
            _ => self.file.clone(),
        }
    }

    /// Receives looks and writes the newest one if it has changed and the last write is not too recent. Does not
    /// block.
    pub(crate) fn poll(&mut self, now: Instant) {
        self.receive();
        let is_due =
            self.written.as_ref().is_none_or(|(_, at)| now.duration_since(*at) >= WRITE_INTERVAL);
        if is_due {
            self.write(now);
        }
    }

    /// Writes the last look at once, because the instance has ended.
    pub(crate) fn keep(&mut self, now: Instant) {
        self.receive();
        self.write(now);
    }

    fn receive(&mut self) {
        if let Some(replies) = self.query.as_ref().and_then(Pending::try_recv) {
            self.query = None;
            if let Some(received) = replies.into_iter().next() {
                self.last.look = received.message;
            }
        }
        while let Some(received) = self.looks.try_recv() {
            // A look that was published is newer than the reply to the query.
            self.query = None;
            self.last.look = received.message;
        }
    }

    fn write(&mut self, now: Instant) {
        let is_news = match &self.written {
            Some((written, _)) => *written != self.last.look,
            None => self.last.look != Look::default(),
        };
        if !is_news {
            return;
        }
        let purpose = Purpose {
            failure: format!("cannot save the look of '{}'", self.last.node),
            consequence: "after a restart it would begin with an older look",
        };
        match serde_json::to_vec(&self.last) {
            Ok(content) => {
                self.files.put(self.file.clone(), content, purpose);
                self.written = Some((self.last.look.clone(), now));
            },
            Err(problem) => tracing::warn!("{}: {problem}", purpose.failure),
        }
    }
}

/// Reads the look from disk if it belongs to this node. A damaged file is logged and removed.
fn read(file: &Path, node: &NodeId, files: &StateFiles) -> Option<Look> {
    let path = file.to_owned();
    let read = in_time(move || LastLook::read(&path));
    match read.unwrap_or_else(|| Err(io::Error::from(ErrorKind::TimedOut))) {
        Ok(last) => last.filter(|last| last.node == *node).map(|last| last.look),
        Err(problem) => {
            tracing::warn!("{}: the saved look is damaged and not used: {problem}", file.display());
            forget(file, files);
            None
        },
    }
}

/// Removes the look of an earlier instance, because a start by a person begins from scratch.
pub(crate) fn forget(file: &Path, files: &StateFiles) {
    files.remove(file.to_owned(), format!("{}: cannot remove the stale file", file.display()));
}
