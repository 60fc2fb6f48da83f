use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hana_protocol::message::{PlayPath, PlayStatus};

use crate::playout::receiver::ModulationReceiver;

/// Decides by which way a visualization is played: over the direct link while that answers, else over the mesh.
///
/// Small questions go along the way that is used, and along the direct link while it is not used; what does not come back
/// says that something is in the way. A link that fell silent is tried again, and a new one is opened beside it, since what
/// got stuck in the old one (TCP waits ever longer) may take as long to go on as it stood still. What was set after the
/// last thing that is known to have arrived is said again by the new way. Pure: it is told what happened and what time it
/// is, and says what to do.
#[derive(Debug)]
pub struct PathSelector {
    way: PlayPath,
    /// Since when this way is used.
    turned: Instant,
    has_link: bool,
    /// So many answers in a row, and the link is used.
    needed: u32,
    direct: PathProbe,
    mesh: PathProbe,
    opening: Opening,
    pause: Duration,
    /// From one question to the next while something is played.
    every: Duration,
    next_number: u64,
    /// What was set before this has arrived.
    arrived: Option<Instant>,
    /// When what was said again last is shown at the latest: what was asked before says nothing of it.
    said: Instant,
    /// When something was set last.
    played: Option<Instant>,
    /// Whether it is known where the visualization listens.
    is_found: bool,
    was_direct: bool,
    switches: u32,
}

/// What a [`PathSelector`] is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathEvent {
    /// A run of the visualization was found that is another than before.
    Found,
    /// It is reached at other places than before.
    Moved,
    /// The link that was to be opened is open.
    Opened,
    /// It could not be opened.
    NotOpened,
    /// The link in use, or beside it, was closed by the other end.
    Closed,
    /// Something was set.
    Played,
    /// The question of this number was answered.
    Answered(u64),
}

/// What a [`PathSelector`] says is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathAction {
    /// Open a link; tell how that went.
    Open,
    /// Take the link that was opened instead of the one before.
    Adopt,
    /// Close the link that was opened: it is not needed any more.
    Discard,
    /// Close the link.
    Close,
    /// Ask along a way.
    Ask {
        /// Which way.
        way: PlayPath,
        /// The number of the question.
        number: u64,
    },
    /// Play by this way from now on, beginning with what was set since then; without a time, with all that was ever set.
    TurnTo {
        /// Which way.
        way: PlayPath,
        /// What was set before this has arrived.
        since: Option<Instant>,
    },
    /// Say again what was set since then: it may not have arrived.
    SayAgain {
        /// What was set before this has arrived.
        since: Option<Instant>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    No,
    At(Instant),
    UnderWay,
}

/// What is known of a way by what was asked along it.
#[derive(Debug, Default)]
struct PathProbe {
    /// What was not answered yet, the earliest first.
    asked: VecDeque<Probe>,
    /// When to ask next.
    next: Option<Instant>,
    /// When the first question was asked since the last one that was answered.
    silent_since: Option<Instant>,
    /// Whether a question was given up since then.
    has_lost: bool,
    /// So many were answered in time, one after the other.
    in_row: u32,
    /// Of the last questions, which ones were lost; the newest is the lowest bit.
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
    /// What is set is on its way after this time at the latest: ten times what a value waits for its frame.
    pub const SENT: Duration = Duration::from_millis(50);
    /// What is said again is shown after this time at the latest, if it arrives: one that is old by then waits for
    /// [`ModulationReceiver::QUIET`] whether something newer comes.
    pub const SAID: Duration =
        Self::SENT.saturating_add(ModulationReceiver::QUIET.saturating_mul(2));
    /// From one question to the next along the way in use, and along a link that may come into use, while something is played.
    /// In a debug build both ends together spend two per cent of a core on it.
    pub const ASK: Duration = Duration::from_millis(100);
    /// The same while nothing is played.
    pub const ASK_IDLE: Duration = Duration::from_secs(1);
    /// So long after the last value it counts as played.
    pub const PLAYED: Duration = Duration::from_secs(2);
    /// A way along which nothing came back for this long, two and a half questions, is blocked. Ten times what a busy machine, or
    /// a bad network that one would play over, takes.
    pub const BLOCKED: Duration = Duration::from_millis(250);
    /// What asking may take of a program that plays many: so long for each question of each session.
    pub const SHARE: Duration = Duration::from_millis(30);
    /// What was not answered after this time is lost.
    pub const LOST: Duration = Duration::from_secs(1);
    /// After a link could not be opened it is tried again so soon, and ever later up to [`LONGEST`](Self::LONGEST).
    pub const PAUSE: Duration = Duration::from_millis(200);
    /// The longest pause between two attempts to open a link.
    pub const LONGEST: Duration = Duration::from_secs(3);
    /// A link that had fallen silent is used again after so many answers in a row.
    const SURE: u32 = 3;
    /// Questions whose outcome is remembered.
    const JUDGED: u32 = 32;

    /// Nothing is known of the visualization yet.
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

    /// How many sessions the program has: of more than three each asks less often, and takes longer to find a way blocked.
    pub fn share_with(&mut self, sessions: usize) {
        let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
        self.every = Self::SHARE.saturating_mul(sessions).clamp(Self::ASK, Self::ASK_IDLE);
    }

    /// After so long without an answer a way is blocked.
    fn blocked_after(&self) -> Duration {
        self.every * 5 / 2
    }

    /// The way that is used.
    #[must_use]
    pub const fn way(&self) -> PlayPath {
        self.way
    }

    /// What was set before this is known to have arrived.
    #[must_use]
    pub const fn arrived(&self) -> Option<Instant> {
        self.arrived
    }

    /// Whether anything was set of late.
    #[must_use]
    pub fn is_played(&self, now: Instant) -> bool {
        self.played.is_some_and(|at| now.saturating_duration_since(at) < Self::PLAYED)
    }

    /// How it is, for others.
    #[must_use]
    pub fn status(&self, now: Instant) -> PlayStatus {
        let path = self.path(self.way);
        let answered = path.round_trip.filter(|_| !path.is_blocked(now, self.blocked_after()));
        PlayStatus {
            way: self.way,
            round_trip_us: answered.map(|of| u32::try_from(of.as_micros()).unwrap_or(u32::MAX)),
            loss_percent: path.loss_percent(),
            switches: self.switches,
        }
    }

    /// When [`tick`](Self::tick) is to be called next, if nothing happens before.
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

    /// Something happened.
    pub fn hear(&mut self, event: PathEvent, now: Instant) -> Vec<PathAction> {
        let mut actions = vec![];
        match event {
            PathEvent::Found => {
                self.lose_link(now, &mut actions);
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
                    actions.push(PathAction::Adopt);
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
                    self.lose_link(now, &mut actions);
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

    /// Time has passed.
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

    /// When to ask along a way next; none where nobody wants to know.
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

    fn turn(&mut self, way: PlayPath, now: Instant, actions: &mut Vec<PathAction>) {
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
        actions.push(PathAction::TurnTo { way, since: self.arrived });
    }

    /// The link is gone, or leads to a run that is.
    fn lose_link(&mut self, now: Instant, actions: &mut Vec<PathAction>) {
        if self.has_link {
            self.has_link = false;
            self.direct = PathProbe::default();
            actions.push(PathAction::Close);
        }
        self.turn(PlayPath::Mesh, now, actions);
    }

    fn look(&mut self, now: Instant, actions: &mut Vec<PathAction>) {
        if !self.is_found {
            return;
        }
        self.direct.give_up(now);
        self.mesh.give_up(now);
        if self.has_link && self.direct.is_blocked(now, self.blocked_after()) {
            if self.way == PlayPath::Direct {
                self.turn(PlayPath::Mesh, now, actions);
                // Sooner where the mesh answers: else it is busy, or away, and one more link is no help.
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
                // Also before there is a link: what is lost without a question on its way is not missed.
                let every = if self.is_played(now) { self.every } else { Self::ASK_IDLE };
                let number = self.next_number;
                self.next_number += 1;
                self.path_mut(way).ask(number, now, every);
                actions.push(PathAction::Ask { way, number });
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
                actions.push(PathAction::SayAgain { since: self.arrived });
            } else if answered.asked >= self.said {
                self.arrived = self.arrived.max(Some(answered.asked));
            }
        } else if way == PlayPath::Direct && self.direct.in_row >= self.needed {
            self.turn(PlayPath::Direct, now, actions);
            self.pause = Self::PAUSE;
            if matches!(self.opening, Opening::At(_)) {
                self.opening = Opening::No;
            }
        }
    }
}

/// What an answer says.
struct ProbeReply {
    /// When it was asked.
    asked: Instant,
    /// Whether nothing had come back for long.
    was_silent: bool,
}

impl PathProbe {
    fn ask(&mut self, number: u64, now: Instant, every: Duration) {
        self.asked.push_back(Probe { number, at: now });
        self.silent_since.get_or_insert(now);
        self.next = Some(now + every);
    }

    /// Whether nothing came back for so long.
    fn is_blocked(&self, now: Instant, limit: Duration) -> bool {
        self.silent_since.is_some_and(|since| now.saturating_duration_since(since) >= limit)
    }

    /// What was asked too long ago is not waited for any more.
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
        // Answers come in the order of the questions: what was asked before is lost, and what was set then may be.
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
        // A quarter of what is new: calm enough to be read, and there within a second.
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
