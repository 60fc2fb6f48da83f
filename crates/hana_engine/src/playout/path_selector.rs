use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hana_protocol::message::{PlayPath, PlayStatus};

use crate::playout::receiver::ModulationReceiver;

/// The path selector of a play session: uses the direct link while it answers probes, else the mesh.
///
/// It sends small probes along the path in use, and along an open direct link even while the mesh is in use. An
/// unanswered probe indicates a blocked path. While a link is silent, the selector keeps probing it and also opens a
/// new one: after an outage, TCP may retransmit the data in the old connection only after another period as long as
/// the outage, because it backs off exponentially. After a switch, every value set since the last acknowledged one is
/// retransmitted over the new path. Pure: it takes events and the time, and returns actions.
#[derive(Debug)]
pub struct PathSelector {
    way: PlayPath,
    /// The time of the switch to the current path.
    turned: Instant,
    has_link: bool,
    /// The number of consecutive answers that are required before the link is used.
    needed: u32,
    direct: PathProbe,
    mesh: PathProbe,
    opening: Opening,
    pause: Duration,
    /// The interval between probes while values are set.
    every: Duration,
    next_number: u64,
    /// The time up to which all set values are known to have arrived.
    arrived: Option<Instant>,
    /// The time by which retransmitted values take effect; probes sent earlier do not confirm them.
    said: Instant,
    /// The time at which a value was last set.
    played: Option<Instant>,
    /// Whether the endpoint of the visualization is known.
    is_found: bool,
    was_direct: bool,
    switches: u32,
}

/// The input of a [`PathSelector`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathEvent {
    /// A new instance of the visualization was found.
    Found,
    /// The endpoints of the visualization changed.
    Moved,
    /// The requested link is open.
    Opened,
    /// The requested link could not be opened.
    NotOpened,
    /// The other end closed the link, whether or not it was in use.
    Closed,
    /// A value was set.
    Played,
    /// The probe of this number was answered.
    Answered(u64),
}

/// The output of a [`PathSelector`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathAction {
    /// Open a link and report the result.
    Open,
    /// Replace the current link by the one that was just opened.
    UseLink,
    /// Close the link that was just opened: it is no longer needed.
    Discard,
    /// Close the link.
    Close,
    /// Send a probe along a path.
    Probe {
        /// The path.
        way: PlayPath,
        /// The number of the probe.
        number: u64,
    },
    /// Play over this path from now on, and retransmit the values set since `since`, or all values if it is `None`.
    SwitchPath {
        /// The path.
        way: PlayPath,
        /// The time up to which all set values are known to have arrived.
        since: Option<Instant>,
    },
    /// Retransmit the values set since `since`, which may be lost.
    RetransmitSince {
        /// The time up to which all set values are known to have arrived.
        since: Option<Instant>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    No,
    At(Instant),
    UnderWay,
}

/// The probe state of one path.
#[derive(Debug, Default)]
struct PathProbe {
    /// The unanswered probes, the oldest first.
    asked: VecDeque<Probe>,
    /// The time of the next probe.
    next: Option<Instant>,
    /// The send time of the oldest unanswered probe since the last answer, even if the probe was given up.
    silent_since: Option<Instant>,
    /// Whether a probe was given up since the last answer.
    has_lost: bool,
    /// The number of consecutive answers in time.
    in_row: u32,
    /// One bit per recent probe, set if the probe was lost; the lowest bit is the newest probe.
    lost: u32,
    judged: u32,
    round_trip: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    number: u64,
    at: Instant,
}

impl PathSelector {
    /// The upper bound of the time from setting a value to sending it: ten times the usual wait for its batch.
    pub const SENT: Duration = Duration::from_millis(50);
    /// The upper bound of the time until a retransmitted value takes effect, if it arrives.
    ///
    /// The receiver defers stale values by [`ModulationReceiver::QUIET`], in case a newer value follows.
    pub const SAID: Duration =
        Self::SENT.saturating_add(ModulationReceiver::QUIET.saturating_mul(2));
    /// The interval between probes of the path in use, and of a link that may come into use, while values are set.
    ///
    /// In a debug build the probes take 2 % of a core, both ends together.
    pub const ASK: Duration = Duration::from_millis(100);
    /// The interval between probes while no values are set.
    pub const ASK_IDLE: Duration = Duration::from_secs(1);
    /// The time after the last set value during which the session counts as being played.
    pub const PLAYED: Duration = Duration::from_secs(2);
    /// The time without an answer, 2.5 probe intervals, after which a path is blocked.
    ///
    /// This is ten times the delay of a busy machine, or of the worst network that is usable for playing.
    pub const BLOCKED: Duration = Duration::from_millis(250);
    /// The probe interval per session of a program with many sessions, which limits the total rate of probes.
    pub const SHARE: Duration = Duration::from_millis(30);
    /// The time after which an unanswered probe counts as lost.
    pub const LOST: Duration = Duration::from_secs(1);
    /// The initial delay before a failed link is retried; it doubles up to [`LONGEST`](Self::LONGEST).
    pub const PAUSE: Duration = Duration::from_millis(200);
    /// The longest delay between two attempts to open a link.
    pub const LONGEST: Duration = Duration::from_secs(3);
    /// The number of consecutive answers after which a link that had fallen silent is used again.
    const SURE: u32 = 3;
    /// The number of recent probes that the loss statistics cover.
    const JUDGED: u32 = 32;

    /// Creates a selector that does not know the visualization's endpoint yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            way: PlayPath::Mesh,
            turned: now,
            has_link: false,
            needed: 1,
            direct: PathProbe::default(),
            mesh: PathProbe::default(),
            opening: Opening::No,
            pause: Self::PAUSE,
            every: Self::ASK,
            next_number: 0,
            arrived: None,
            said: now,
            played: None,
            is_found: false,
            was_direct: false,
            switches: 0,
        }
    }

    /// Sets the number of sessions in the program.
    ///
    /// Beyond three sessions, each session probes less often and detects a blocked path later.
    pub fn share_with(&mut self, sessions: usize) {
        let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
        self.every = Self::SHARE.saturating_mul(sessions).clamp(Self::ASK, Self::ASK_IDLE);
    }

    /// Returns the time without an answer after which a path is blocked.
    fn blocked_after(&self) -> Duration {
        self.every * 5 / 2
    }

    /// Returns the path in use.
    #[must_use]
    pub const fn way(&self) -> PlayPath {
        self.way
    }

    /// Returns the time up to which all set values are known to have arrived, if any have.
    #[must_use]
    pub const fn arrived(&self) -> Option<Instant> {
        self.arrived
    }

    /// Returns whether a value was set recently.
    #[must_use]
    pub fn is_played(&self, now: Instant) -> bool {
        self.played.is_some_and(|at| now.saturating_duration_since(at) < Self::PLAYED)
    }

    /// Returns the status to publish.
    #[must_use]
    pub fn status(&self, now: Instant) -> PlayStatus {
        let path = self.path(self.way);
        let answered = path.round_trip.filter(|_| !path.is_blocked(now, self.blocked_after()));
        PlayStatus {
            path: self.way,
            round_trip_us: answered.map(|of| u32::try_from(of.as_micros()).unwrap_or(u32::MAX)),
            loss_percent: path.loss_percent(),
            switches: self.switches,
        }
    }

    /// Returns the time of the next [`tick`](Self::tick), if no event comes first.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        if !self.is_found {
            return None;
        }
        let verdict =
            (self.has_link && self.opening == Opening::No && self.direct.silent_since.is_some())
                || self.way == PlayPath::Direct;
        let verdict = self.direct.silent_since.filter(|_| verdict);
        let verdict = verdict.map(|at| at + self.blocked_after());
        let opening = match self.opening {
            Opening::At(at) => Some(at),
            Opening::No | Opening::UnderWay => None,
        };
        let asks = [self.next_ask(PlayPath::Direct), self.next_ask(PlayPath::Mesh)];
        verdict.into_iter().chain(opening).chain(asks.into_iter().flatten()).min()
    }

    /// Handles an event.
    pub fn hear(&mut self, event: PathEvent, now: Instant) -> Vec<PathAction> {
        let mut actions = vec![];
        match event {
            PathEvent::Found => {
                self.drop_link(now, &mut actions);
                self.is_found = true;
                self.arrived = None;
                self.said = now + Self::SAID;
                self.mesh = PathProbe::default();
                self.open_soon(now, Duration::ZERO);
            },
            PathEvent::Moved => {
                if self.way != PlayPath::Direct {
                    self.open_soon(now, Duration::ZERO);
                }
            },
            PathEvent::Opened => {
                self.opening = Opening::No;
                if self.way == PlayPath::Direct {
                    actions.push(PathAction::Discard);
                } else {
                    actions.push(PathAction::UseLink);
                    self.has_link = true;
                    self.needed = 1;
                    self.direct = PathProbe::default();
                }
            },
            PathEvent::NotOpened => {
                self.opening = Opening::No;
                if self.way != PlayPath::Direct {
                    self.open_soon(now, self.pause);
                    self.pause = (self.pause * 2).min(Self::LONGEST);
                }
            },
            PathEvent::Closed => {
                if self.has_link {
                    self.drop_link(now, &mut actions);
                    self.open_soon(now, self.pause);
                }
            },
            PathEvent::Played => {
                if !self.is_played(now) {
                    self.direct.next = Some(now);
                    self.mesh.next = Some(now);
                }
                self.played = Some(now);
            },
            PathEvent::Answered(number) => self.answered(number, now, &mut actions),
        }
        self.look(now, &mut actions);
        actions
    }

    /// Handles the passing of time.
    pub fn tick(&mut self, now: Instant) -> Vec<PathAction> {
        let mut actions = vec![];
        self.look(now, &mut actions);
        actions
    }

    const fn path(&self, way: PlayPath) -> &PathProbe {
        match way {
            PlayPath::Direct => &self.direct,
            PlayPath::Mesh => &self.mesh,
        }
    }

    const fn path_mut(&mut self, way: PlayPath) -> &mut PathProbe {
        match way {
            PlayPath::Direct => &mut self.direct,
            PlayPath::Mesh => &mut self.mesh,
        }
    }

    /// Returns the time of the next probe along a path; `None` if the path is not probed.
    fn next_ask(&self, way: PlayPath) -> Option<Instant> {
        let is_asked = match way {
            PlayPath::Direct => self.has_link,
            PlayPath::Mesh => self.way == PlayPath::Mesh,
        };
        is_asked.then(|| self.path(way).next.unwrap_or(self.turned))
    }

    fn open_soon(&mut self, now: Instant, pause: Duration) {
        let at = now + pause;
        match self.opening {
            Opening::UnderWay => {},
            Opening::At(planned) if planned <= at => {},
            Opening::At(_) | Opening::No => self.opening = Opening::At(at),
        }
    }

    fn switch_to(&mut self, way: PlayPath, now: Instant, actions: &mut Vec<PathAction>) {
        if self.way == way {
            return;
        }
        self.way = way;
        self.turned = now;
        self.said = now + Self::SAID;
        if self.was_direct {
            self.switches = self.switches.saturating_add(1);
        }
        self.was_direct = true;
        self.path_mut(way).next = Some(now);
        actions.push(PathAction::SwitchPath { way, since: self.arrived });
    }

    /// Drops the link, which is closed or leads to an instance that has ended, and plays over the mesh.
    fn drop_link(&mut self, now: Instant, actions: &mut Vec<PathAction>) {
        if self.has_link {
            self.has_link = false;
            self.direct = PathProbe::default();
            actions.push(PathAction::Close);
        }
        self.switch_to(PlayPath::Mesh, now, actions);
    }

    fn look(&mut self, now: Instant, actions: &mut Vec<PathAction>) {
        if !self.is_found {
            return;
        }
        self.direct.give_up(now);
        self.mesh.give_up(now);
        if self.has_link && self.direct.is_blocked(now, self.blocked_after()) {
            if self.way == PlayPath::Direct {
                self.switch_to(PlayPath::Mesh, now, actions);
                // An answer over the mesh schedules the attempt earlier. Without such an answer, the visualization is
                // busy or gone, and another link would not help.
                self.open_soon(now, Self::LONGEST);
            } else if self.opening == Opening::No {
                self.open_soon(now, self.pause);
                self.pause = (self.pause * 2).min(Self::LONGEST);
            }
            self.needed = Self::SURE;
        }
        if matches!(self.opening, Opening::At(at) if at <= now) {
            self.opening = Opening::UnderWay;
            actions.push(PathAction::Open);
        }
        for way in [PlayPath::Direct, PlayPath::Mesh] {
            if self.next_ask(way).is_some_and(|at| at <= now) {
                // The mesh is probed even before a link exists: without a probe in transit, a loss would go unnoticed.
                let every = if self.is_played(now) { self.every } else { Self::ASK_IDLE };
                let number = self.next_number;
                self.next_number += 1;
                self.path_mut(way).ask(number, now, every);
                actions.push(PathAction::Probe { way, number });
            }
        }
    }

    fn answered(&mut self, number: u64, now: Instant, actions: &mut Vec<PathAction>) {
        let ways = [PlayPath::Direct, PlayPath::Mesh];
        let limit = self.blocked_after();
        let Some((way, answered)) = ways
            .into_iter()
            .find_map(|way| Some((way, self.path_mut(way).answered(number, now, limit)?)))
        else {
            return;
        };
        let is_in_doubt = self.has_link && self.direct.is_blocked(now, limit);
        if way == PlayPath::Mesh && answered.asked >= self.turned && is_in_doubt {
            self.open_soon(now, self.pause);
        }
        if way == self.way {
            if answered.was_silent {
                self.said = now + Self::SAID;
                actions.push(PathAction::RetransmitSince { since: self.arrived });
            } else if answered.asked >= self.said {
                self.arrived = self.arrived.max(Some(answered.asked));
            }
        } else if way == PlayPath::Direct && self.direct.in_row >= self.needed {
            self.switch_to(PlayPath::Direct, now, actions);
            self.pause = Self::PAUSE;
            if matches!(self.opening, Opening::At(_)) {
                self.opening = Opening::No;
            }
        }
    }
}

/// The result of an answered probe.
struct ProbeReply {
    /// The send time of the probe.
    asked: Instant,
    /// Whether the path had been blocked, or had lost a probe.
    was_silent: bool,
}

impl PathProbe {
    fn ask(&mut self, number: u64, now: Instant, every: Duration) {
        self.asked.push_back(Probe { number, at: now });
        self.silent_since.get_or_insert(now);
        self.next = Some(now + every);
    }

    /// Returns whether the path has been silent for at least `limit`.
    fn is_blocked(&self, now: Instant, limit: Duration) -> bool {
        self.silent_since.is_some_and(|since| now.saturating_duration_since(since) >= limit)
    }

    /// Gives up the probes that have been unanswered for [`PathSelector::LOST`].
    fn give_up(&mut self, now: Instant) {
        while let Some(first) = self.asked.front().copied()
            && now.saturating_duration_since(first.at) >= PathSelector::LOST
        {
            self.asked.pop_front();
            self.in_row = 0;
            self.has_lost = true;
            self.judge(true);
        }
    }

    fn judge(&mut self, is_lost: bool) {
        self.lost = (self.lost << 1) | u32::from(is_lost);
        self.judged = (self.judged + 1).min(PathSelector::JUDGED);
    }

    fn answered(&mut self, number: u64, now: Instant, limit: Duration) -> Option<ProbeReply> {
        let place = self.asked.iter().position(|asked| asked.number == number)?;
        let Probe { at, .. } = self.asked.remove(place)?;
        // Answers arrive in the order of the probes, so earlier unanswered probes are lost, and so may be the values
        // that were set around them.
        let is_gap = place > 0 || self.has_lost;
        let was_silent = is_gap || self.is_blocked(now, limit);
        for _ in 0..place {
            self.asked.pop_front();
            self.judge(true);
        }
        self.has_lost = false;
        let took = now.saturating_duration_since(at);
        self.judge(false);
        let is_good = !is_gap && took < limit;
        self.in_row = if is_good { self.in_row + 1 } else { 0 };
        // The weight of a new sample is a quarter: stable enough to read, and settled within a second.
        self.round_trip = Some(self.round_trip.map_or(took, |known| (known * 3 + took) / 4));
        self.silent_since = self.asked.front().map(|asked| asked.at);
        Some(ProbeReply { asked: at, was_silent })
    }

    fn loss_percent(&self) -> u8 {
        let mask = if self.judged >= 32 { u32::MAX } else { (1 << self.judged) - 1 };
        let lost = (self.lost & mask).count_ones();
        u8::try_from(lost * 100 / self.judged.max(1)).unwrap_or(100)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
