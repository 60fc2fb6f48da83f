use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use hana_network::LastLook;
use hana_network::Node;
use hana_network::Pending;
use hana_network::Received;
use hana_network::Subscription;
use hana_protocol::Look;
use hana_protocol::NodeId;
use hana_protocol::Topic;
use hana_protocol::role;

use crate::complaint::Complaint;

/// Keeps the last look of one visualization on disk, to give it back to the next run.
pub(crate) struct LookKeeper {
    file: PathBuf,
    looks: Subscription<Received<Look>>,
    /// What it shows already, asked when this daemon took it over.
    asked: Option<Pending<Vec<Received<Look>>>>,
    last: LastLook,
    written: Option<(Look, Instant)>,
    complaint: Complaint,
}

/// From one writing to the next while the look moves. What a crash of the visualization can cost is nothing, since the
/// daemon knows the newest; one of both at once costs this.
const BETWEEN: Duration = Duration::from_millis(250);
/// How long a visualization may take to say what it shows.
const ASK: Duration = Duration::from_secs(2);

impl LookKeeper {
    /// Begins with what is on disk, if anything is.
    pub(crate) fn new(node: &Node<role::Daemon>, id: &NodeId, file: PathBuf) -> Self {
        let topic = Topic::<Look>::look(id.clone());
        let known = read(&file, id);
        Self {
            looks: node.subscribe(topic.clone()),
            asked: Some(node.ask(topic, ASK)),
            written: known.clone().map(|look| (look, Instant::now())),
            last: LastLook { node: id.clone(), look: known.unwrap_or_default() },
            file,
            complaint: Complaint::default(),
        }
    }

    /// The file, for the next run.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Hears what is shown, and writes it down if it has changed, not too often. Does not wait for anybody.
    pub(crate) fn poll(&mut self, now: Instant) {
        self.hear();
        let is_due = self.written.as_ref().is_none_or(|(_, at)| now.duration_since(*at) >= BETWEEN);
        if is_due {
            self.write(now);
        }
    }

    /// The run has ended: what it showed last is written down at once.
    pub(crate) fn keep(&mut self, now: Instant) {
        self.hear();
        self.write(now);
    }

    fn hear(&mut self) {
        if let Some(answers) = self.asked.as_ref().and_then(Pending::take) {
            self.asked = None;
            if let Some(received) = answers.into_iter().next() {
                self.last.look = received.message;
            }
        }
        while let Some(received) = self.looks.try_recv() {
            // What it says now is newer than what it answers.
            self.asked = None;
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
        let written = self
            .file
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| self.last.write(&self.file));
        match written {
            Ok(()) => self.written = Some((self.last.look.clone(), now)),
            Err(problem) => {
                if self.complaint.is_news(&problem) {
                    tracing::warn!(
                        "the look of '{}' is not kept ({problem}): after a restart it would begin with its defaults; mend the state directory, or set HANA_STATE to another",
                        self.last.node
                    );
                }
            },
        }
    }
}

/// The look on disk, if it can be read and is of this one. What cannot be read is told, once: it is removed.
fn read(file: &Path, node: &NodeId) -> Option<Look> {
    match LastLook::read(file) {
        Ok(last) => last.filter(|last| last.node == *node).map(|last| last.look),
        Err(problem) => {
            tracing::warn!("{}: this look is damaged and is not used: {problem}", file.display());
            forget(file);
            None
        },
    }
}

/// What is started by a person begins anew: removes what was kept of an earlier run.
pub(crate) fn forget(file: &Path) {
    if let Err(problem) = fs::remove_file(file)
        && problem.kind() != ErrorKind::NotFound
    {
        tracing::warn!("{}: what an earlier run left stays: {problem}", file.display());
    }
}
