use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use hana_engine::sync::{Routing, TimelineSync, TimelineSyncAction, TransportRequest};
use hana_network::{
    ClockSync, CommandError, Node, Pending, QueryableGuard, Request, StatePublisher, local_us,
    unix_ms,
};
use hana_protocol::contract::Topic;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{Accepted, Control, HostTimeline, Pause, Play, Tempo};
use hana_protocol::wire::error_chain;
use hana_time::{LinkOrder, Timeline};
use serde::{Deserialize, Serialize};

use crate::state::clock_anchor::Boot;
use crate::state::state_files::{Purpose, StateFiles};

/// Maintains the timeline of this host.
///
/// It carries out the actions of [`TimelineSync`] on the mesh, the clock and the disk.
pub(crate) struct Timekeeper {
    sync: TimelineSync,
    publisher: StatePublisher<HostTimeline>,
    /// The clock of the followed host.
    clock: Option<(NodeId, ClockSync)>,
    /// The destination of commands for `hana-link`.
    link: Box<dyn Fn(LinkOrder) + Send>,
    memory: TimelineMemory,
    /// Commands forwarded to the leading host.
    forwarded: Vec<(Request, Pending<Result<Accepted, CommandError>>)>,
    _answering: QueryableGuard,
}

/// The time limit for the leading host to carry out a command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
/// How often forwarded commands are polled.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

impl Timekeeper {
    /// Continues from the timeline in `file`. Without one, starts at beat 0 with the tempo and bar of `first`.
    pub(crate) fn new(
        node: &Node<role::Daemon>,
        first: Timeline,
        (file, files): (PathBuf, StateFiles),
        link: impl Fn(LinkOrder) + Send + 'static,
    ) -> Self {
        let now = local_us();
        let host = node.host().clone();
        let (memory, before) = TimelineMemory::of(file, files);
        let resumed = before.and_then(|said| TimelineSync::resuming(host.clone(), &said, now));
        let begins = || TimelineSync::new(host.clone(), first.shifted_by(-first.beat_at(now)), now);
        Self {
            sync: resumed.unwrap_or_else(begins),
            publisher: node.state_publisher(&Topic::timeline(host.clone())),
            clock: None,
            link: Box::new(link),
            memory,
            forwarded: vec![],
            _answering: node.reply_to_clock_queries(),
        }
    }

    /// Returns the timeline in effect at the time `at_us` of this machine's clock.
    pub(crate) fn timeline(&self, at_us: i64) -> Timeline {
        self.sync.course().at(at_us)
    }

    /// Returns the time until the next call of [`Self::tick`] is due.
    pub(crate) fn next_in(&self) -> Duration {
        let us = self.sync.next_us().saturating_sub(local_us());
        let next = Duration::from_micros(u64::try_from(us).unwrap_or(0));
        if self.forwarded.is_empty() { next } else { next.min(POLL_INTERVAL) }
    }

    /// Passes an event to [`TimelineSync`] and carries out its actions.
    pub(crate) fn update(
        &mut self,
        node: &Node<role::Daemon>,
        change: impl FnOnce(&mut TimelineSync, i64) -> Vec<TimelineSyncAction>,
    ) {
        if let Some((host, clock)) = &self.clock
            && let Some(estimate) = clock.estimate()
        {
            self.sync.clock(host, estimate);
        }
        let actions = change(&mut self.sync, local_us());
        self.apply(actions);
        let follows = self.sync.follows();
        if self.clock.as_ref().map(|(host, _)| host) != follows {
            self.clock = follows.map(|host| (host.clone(), node.watch_clock(host)));
        }
    }

    /// Carries out all actions that are due.
    pub(crate) fn tick(&mut self, node: &Node<role::Daemon>) {
        if local_us() >= self.sync.next_us() {
            self.update(node, TimelineSync::tick);
        }
        self.reply_to_forwarded();
    }

    /// Carries out a command, or forwards it to the leading host.
    pub(crate) fn on_request(&mut self, node: &Node<role::Daemon>, request: Request) {
        let command = match request.control() {
            Control::Tempo(tempo) => TransportRequest::Tempo(tempo.bpm),
            Control::Play(_) => TransportRequest::Play,
            Control::Pause(_) => TransportRequest::Pause,
            _ => return,
        };
        match self.sync.order(command, local_us()) {
            Ok(Routing::Done(actions)) => {
                self.apply(actions);
                request.accept(Accepted {});
            },
            Ok(Routing::Tell(leader)) => {
                let reply = match command {
                    TransportRequest::Tempo(bpm) => {
                        node.command::<role::Daemon, _>(&leader, Tempo { bpm }, COMMAND_TIMEOUT)
                    },
                    TransportRequest::Play => {
                        node.command::<role::Daemon, _>(&leader, Play {}, COMMAND_TIMEOUT)
                    },
                    TransportRequest::Pause => {
                        node.command::<role::Daemon, _>(&leader, Pause {}, COMMAND_TIMEOUT)
                    },
                };
                self.forwarded.push((request, reply));
            },
            Err(problem) => request.refuse(problem.to_string()),
        }
    }

    fn reply_to_forwarded(&mut self) {
        for (request, reply) in std::mem::take(&mut self.forwarded) {
            match reply.try_recv() {
                Some(Ok(accepted)) => request.accept(accepted),
                Some(Err(CommandError::Refused { reason, .. })) => request.refuse(reason),
                Some(Err(problem)) => request.refuse(format!(
                    "the leading host did not carry out the command: {}; retry in a moment",
                    error_chain(&problem)
                )),
                None if reply.is_cancelled() => request.refuse("this daemon is ending"),
                None => self.forwarded.push((request, reply)),
            }
        }
    }

    fn apply(&mut self, actions: Vec<TimelineSyncAction>) {
        for action in actions {
            match action {
                TimelineSyncAction::Say(timeline) => {
                    self.memory.keep(&timeline);
                    if let Err(problem) = self.publisher.set(&timeline) {
                        tracing::warn!("cannot publish the timeline: {problem}");
                    }
                },
                TimelineSyncAction::Link(command) => (self.link)(command),
                TimelineSyncAction::Jumped(jump) => {
                    tracing::info!("the beat jumps by {:.2}: {}", jump.beats, jump.reason);
                },
            }
        }
    }
}

/// The saved timeline, from which a restarted daemon continues.
struct TimelineMemory {
    file: PathBuf,
    files: StateFiles,
    kept: Option<HostTimeline>,
}

/// The content of the file.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The time at which the file was written, to detect a clock that has restarted since then.
    unix_ms: u64,
    local_us: i64,
    /// The id of the boot during which the file was written, if the system has boot ids.
    #[serde(default)]
    boot: Option<String>,
    said: HostTimeline,
}

impl Kept {
    fn now(said: HostTimeline) -> Self {
        let boot = Boot::now().map(|boot| boot.id);
        Self { unix_ms: unix_ms(), local_us: local_us(), boot, said }
    }

    /// Returns whether the machine's clock has continued, without a reboot, since this content was written.
    ///
    /// If the system has a boot id, the wall clock is not considered, since it may have been set.
    fn is_of_this_boot(&self, now: &Self) -> bool {
        let passed = now.local_us.checked_sub(self.local_us).and_then(|us| u64::try_from(us).ok());
        if let (Some(before), Some(boot)) = (&self.boot, &now.boot) {
            return before == boot && passed.is_some();
        }
        let by_wall = now.unix_ms.checked_sub(self.unix_ms).map(|ms| ms.saturating_mul(1000));
        passed.zip(by_wall).is_some_and(|(a, b)| a.abs_diff(b) < SAME_BOOT_US)
    }
}

/// The difference between the beat and the saved one, in microseconds, beyond which the timeline is saved again.
const WRITTEN_US: f64 = 2_000.0;
/// The most, in microseconds, by which wall clock and local clock may diverge within the same boot.
const SAME_BOOT_US: u64 = 3_000_000;

impl TimelineMemory {
    /// Returns the memory, and the saved timeline if it was written during this boot.
    fn of(file: PathBuf, files: StateFiles) -> (Self, Option<HostTimeline>) {
        let read = Self::read(&file).unwrap_or_else(|problem| {
            tracing::warn!("{}: cannot read the last beat: {problem}", file.display());
            None
        });
        let is_of_this_boot = |kept: &Kept| kept.is_of_this_boot(&Kept::now(kept.said.clone()));
        let before = read.filter(is_of_this_boot).map(|kept| kept.said);
        (Self { file, files, kept: None }, before)
    }

    fn read(file: &Path) -> io::Result<Option<Kept>> {
        match fs::read(file) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(problem) if problem.kind() == ErrorKind::NotFound => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Saves the timeline unless it can be calculated from the saved one.
    fn keep(&mut self, said: &HostTimeline) {
        let follows = |kept: &HostTimeline| {
            let (Some(kept_line), Some(line)) = (kept.timeline(), said.timeline()) else {
                return false;
            };
            let off = (kept_line.beat_at(said.at_us) - said.beat).abs() * line.us_per_beat();
            let is_same = (kept.playing, kept.changes, kept.bpm.to_bits(), kept.quantum.to_bits())
                == (said.playing, said.changes, said.bpm.to_bits(), said.quantum.to_bits());
            is_same && off < WRITTEN_US
        };
        if self.kept.as_ref().is_some_and(follows) {
            return;
        }
        let kept = Kept::now(said.clone());
        let purpose = Purpose {
            failure: format!("{}: cannot save the beat", self.file.display()),
            consequence: "a restarted daemon begins with an older one, or at 0",
        };
        match serde_json::to_vec(&kept) {
            Ok(content) => self.files.put(self.file.clone(), content, purpose),
            Err(problem) => tracing::warn!("{}: {problem}", purpose.failure),
        }
        self.kept = Some(said.clone());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hana_protocol::message::TimelineSource;

    use super::*;

    #[test]
    fn timeline_is_resumed_and_rewritten_only_when_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("timeline.json");
        let files = StateFiles::start();
        let reread = || {
            assert!(files.flush(Duration::from_secs(20)));
            TimelineMemory::of(file.clone(), StateFiles::start()).1
        };
        let (mut memory, before) = TimelineMemory::of(file.clone(), files.clone());
        assert_eq!(before, None);
        let now = local_us();
        let mut said = HostTimeline {
            bpm: 140.0,
            beat: 7.0,
            at_us: now,
            rate: 1.0,
            easing: None,
            quantum: 4.0,
            playing: true,
            source: TimelineSource::Internal,
            peers: 0,
            from: None,
            error_us: None,
            running_us: 1,
            followers: 0,
            changes: 0,
            jump: None,
        };
        memory.keep(&said);
        let before = reread();
        assert_eq!(before.as_ref(), Some(&said));
        let first = said.clone();
        (said.at_us, said.beat) = (now + 60_000_000, 147.0);
        memory.keep(&said);
        assert_eq!(reread(), Some(first), "it follows from what is written");
        said.playing = false;
        memory.keep(&said);
        assert_eq!(reread(), Some(said.clone()));
        // The file was written before a reboot, by another daemon.
        files.remove(file.clone(), String::new());
        assert!(files.flush(Duration::from_secs(20)));
        let write = |kept: Kept| fs::write(&file, serde_json::to_vec(&kept).unwrap()).unwrap();
        let hour_ago = unix_ms() - 3_600_000;
        let kept = || Kept { unix_ms: hour_ago, local_us: now, ..Kept::now(said.clone()) };
        write(Kept { boot: None, ..kept() });
        assert_eq!(reread(), None);
        write(Kept { boot: Some("another".into()), ..kept() });
        assert_eq!(reread(), None);
        // The boot is the same, but the wall clock was set in the meantime.
        write(kept());
        let told = Boot::now().map(|_| said.clone());
        assert_eq!(reread(), told);
        fs::write(&file, "{").unwrap();
        assert_eq!(reread(), None);
    }
}
