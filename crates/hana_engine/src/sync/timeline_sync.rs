use std::cmp::Ordering;
use std::collections::BTreeMap;

use hana_protocol::id::NodeId;
use hana_protocol::message::{HostTimeline, TimelineSource};
use hana_time::{
    ClockEstimate, LinkOrder, LinkReport, Slew, TempoMap, Timeline, TimelineError, TimelineStep,
};

/// Keeps the timeline of a host, by Ableton Link, by another host or by its own clock.
///
/// Pure: it is told what happened and what time it is on the local clock, and says what to do.
///
/// Of all hosts that hear each other one leads. The others go by its beat, counted as it counts: Link tells where in the bar it
/// is, not which bar it is. Who leads is decided by each host for itself, from what all of them say four times a second, and
/// comes out alike:
///
/// 1. a host in a session of Link in which there are others, before one without: they cannot follow us;
/// 2. whom more hosts go by already: so a machine that comes, or comes back, resets nothing that runs;
/// 3. whose timeline has been going on for longer. It is handed on: who follows, and goes on when the leader is gone, counts on;
/// 4. whose timeline was changed more often by people;
/// 5. whose id is the smaller.
///
/// When the leader is gone all go on as they were; the next one leads, from the same beat. Whoever leads already is left only
/// for one who has been the better for a second.
///
/// A course is approached gently, [`Slew`]. Where that cannot be, because two timelines that had nothing to do with each
/// other become one, the beat jumps, and that is said.
#[derive(Debug)]
pub struct TimelineSync {
    own: NodeId,
    course: TempoMap,
    began_us: i64,
    changes: u64,
    jump: Option<TimelineStep>,
    jumps: u64,
    hosts: BTreeMap<NodeId, PeerTimeline>,
    /// The host it goes by; none while it leads.
    follows: Option<NodeId>,
    /// Whom it would rather go by, and since when.
    rather: Option<(NodeId, i64)>,
    link: Option<LinkState>,
    /// Until when what Link reports may be older than what was ordered.
    ordered_until_us: i64,
    /// When Link was told last where the beat is; `i64::MIN` for one that has not been told.
    adopted_us: i64,
    /// Since when it is awake: a daemon that has just begun, or that slept, has nothing that others should go by.
    woke_us: i64,
    seen_us: i64,
    say_us: i64,
    error_us: Option<u64>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum TimelineSyncAction {
    /// Say this to all.
    Say(Box<HostTimeline>),
    /// Give this order to `hana-link`.
    Link(LinkOrder),
    /// The beat has jumped: tell people.
    Jumped(TimelineStep),
}

/// What a person wants of the timeline that all share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TransportRequest {
    /// Another tempo, in beats a minute.
    Tempo(f64),
    /// It shall play.
    Play,
    /// It shall stand still.
    Pause,
}

/// What becomes of an order.
#[derive(Debug, Clone, PartialEq)]
pub enum Routing {
    /// It is carried out; what is to be done for it.
    Done(Vec<TimelineSyncAction>),
    /// This host leads, and is to be told.
    Tell(NodeId),
}

/// What was heard of another host.
#[derive(Debug)]
struct PeerTimeline {
    said: HostTimeline,
    at_us: i64,
    /// Its course, by its own clock.
    course: Option<TempoMap>,
    /// How its clock goes; known of the one that is followed.
    clock: Option<ClockEstimate>,
    /// Since when both of us lead, and each thinks that the other one should follow.
    disputes_us: Option<i64>,
}

#[derive(Debug)]
struct LinkState {
    report: LinkReport,
    heard_us: i64,
}

/// What decides who leads.
struct Candidacy<'a> {
    is_in_link: bool,
    followers: u32,
    running_us: u64,
    changes: u64,
    id: &'a NodeId,
}

/// How often a timeline is said, and steered.
const PERIOD_US: i64 = 250_000;
/// Who has been silent for so long is gone.
const SILENT_US: i64 = 1_500_000;
/// `hana-link` reports four times a second; what is silent for so long is gone.
const LINK_SILENT_US: i64 = 2_000_000;
/// Who leads is not left before another one has been the better for so long.
const PATIENCE_US: i64 = 1_000_000;
/// Who has been awake for less follows at once: nobody goes by him.
const YOUNG_US: i64 = 3_000_000;
/// Who was not asked for so long was away: the process was stopped, or the machine slept.
const AWAY_US: i64 = 2_000_000;
/// After so long a dispute the id decides alone.
const DISPUTE_US: i64 = 3_000_000;
/// How much longer a timeline must have been going on to count as older, whatever the clocks are.
const OLDER_US: u64 = 1_000_000;
/// How long an order to Link takes to be seen in its reports.
const ORDERED_US: i64 = 700_000;
/// How often Link is brought to where we are, while nobody else is in its session.
const ADOPT_US: i64 = 1_000_000;
/// How far Link may be off before it is.
const ADOPT_OFF_US: f64 = 500.0;
/// Hosts that are listened to.
const HOSTS: usize = 1024;

impl TimelineSync {
    /// Of the host `own`, beginning with `first` as it is at `now_us`.
    #[must_use]
    pub const fn new(own: NodeId, first: Timeline, now_us: i64) -> Self {
        Self {
            own,
            course: TempoMap::of(first.anchored_at(now_us)),
            began_us: now_us,
            changes: 0,
            jump: None,
            jumps: 0,
            hosts: BTreeMap::new(),
            follows: None,
            rather: None,
            link: None,
            ordered_until_us: i64::MIN,
            adopted_us: i64::MIN,
            woke_us: now_us,
            seen_us: now_us,
            say_us: now_us,
            error_us: None,
        }
    }

    /// Goes on from what an earlier run of this daemon said, on the same clock.
    #[must_use]
    pub fn resuming(own: NodeId, said: &HostTimeline, now_us: i64) -> Option<Self> {
        let first = said.timeline()?;
        let passed = now_us.checked_sub(said.at_us).filter(|passed| *passed >= 0)?;
        let running = i64::try_from(said.running_us).ok()?.checked_add(passed)?;
        let mut resumed = Self::new(own, first, now_us);
        resumed.began_us = now_us.checked_sub(running)?;
        resumed.changes = said.changes;
        resumed.jumps = said.jump.as_ref().map_or(0, |jump| jump.number);
        resumed.jump.clone_from(&said.jump);
        Some(resumed)
    }

    /// The way the timeline takes.
    #[must_use]
    pub const fn course(&self) -> TempoMap {
        self.course
    }

    /// Whom it goes by, whose clock is therefore to be known; none while it leads.
    #[must_use]
    pub const fn follows(&self) -> Option<&NodeId> {
        self.follows.as_ref()
    }

    /// When it is to be asked again, if nothing happens before.
    #[must_use]
    pub const fn next_us(&self) -> i64 {
        self.say_us
    }

    /// Another host says its timeline.
    pub fn hear(
        &mut self,
        host: &NodeId,
        said: HostTimeline,
        now_us: i64,
    ) -> Vec<TimelineSyncAction> {
        if *host == self.own || (self.hosts.len() >= HOSTS && !self.hosts.contains_key(host)) {
            return vec![];
        }
        let known = self.hosts.remove(host);
        let course = said.continues(known.as_ref().and_then(|known| known.course));
        let clock = known.as_ref().and_then(|known| known.clock);
        let disputes_us = known.as_ref().and_then(|known| known.disputes_us);
        // What is said anew without change, and what others say, waits for the next round.
        let is_news = self.follows.as_ref() == Some(host)
            && known.is_none_or(|known| {
                let of = |said: &HostTimeline| {
                    (said.changes, said.playing, said.bpm.to_bits(), said.quantum.to_bits())
                };
                of(&known.said) != of(&said)
            });
        let heard = PeerTimeline { said, at_us: now_us, course, clock, disputes_us };
        self.hosts.insert(host.clone(), heard);
        if is_news { self.round(now_us) } else { vec![] }
    }

    /// Another host is gone.
    pub fn lose(&mut self, host: &NodeId, now_us: i64) -> Vec<TimelineSyncAction> {
        if self.hosts.remove(host).is_some() { self.round(now_us) } else { vec![] }
    }

    /// How the clock of another host stands.
    pub fn clock(&mut self, host: &NodeId, clock: ClockEstimate) {
        if let Some(heard) = self.hosts.get_mut(host) {
            heard.clock = Some(clock);
        }
    }

    /// `hana-link` has begun: it is told what to go on from where nobody else is in its session.
    pub fn link_began(&mut self, now_us: i64) -> Vec<TimelineSyncAction> {
        self.adopted_us = now_us;
        self.ordered_until_us = now_us.saturating_add(ORDERED_US);
        let soon = now_us.saturating_add(Slew::LEAD_US);
        vec![TimelineSyncAction::Link(LinkOrder::adopt(&self.course.at(soon).anchored_at(soon)))]
    }

    /// `hana-link` says where its session stands.
    pub fn link(&mut self, report: LinkReport, now_us: i64) -> Vec<TimelineSyncAction> {
        let before = self.link.take();
        let is_news = before.as_ref().is_none_or(|before| {
            let is = |a: f64, b: f64| (a - b).abs() < 1e-6;
            !(is(before.report.bpm, report.bpm)
                && before.report.playing == report.playing
                && (before.report.peers == 0) == (report.peers == 0))
        });
        self.link = Some(LinkState { report, heard_us: now_us });
        if is_news { self.round(now_us) } else { vec![] }
    }

    /// `hana-link` has ended.
    pub fn link_lost(&mut self, now_us: i64) -> Vec<TimelineSyncAction> {
        self.adopted_us = i64::MIN;
        if self.link.take().is_some() { self.round(now_us) } else { vec![] }
    }

    /// Somebody wants something of the timeline.
    ///
    /// # Errors
    ///
    /// When it is a tempo that there is not.
    pub fn order(
        &mut self,
        order: TransportRequest,
        now_us: i64,
    ) -> Result<Routing, TimelineError> {
        let at_us = now_us.saturating_add(Slew::LEAD_US);
        // What it eases it does not go on with.
        let rate = self.course.last().rate();
        let before = self.course.at(at_us).with_rate(rate, at_us)?;
        let (changed, of_link) = match order {
            TransportRequest::Tempo(bpm) => {
                (before.with_tempo(bpm, at_us)?, LinkOrder::Tempo { bpm })
            },
            TransportRequest::Play => (before.with_playing(true), LinkOrder::Play {}),
            TransportRequest::Pause => (before.with_playing(false), LinkOrder::Pause {}),
        };
        let is_in_link = self.is_in_link(now_us);
        if let Some(leader) = self.follows.clone().filter(|_| !is_in_link) {
            return Ok(Routing::Tell(leader));
        }
        self.changes += 1;
        let mut actions = vec![];
        if self.link.is_some() {
            self.ordered_until_us = now_us.saturating_add(ORDERED_US);
            actions.push(TimelineSyncAction::Link(of_link));
        }
        self.course = self.course.then(changed);
        actions.push(self.say(now_us));
        Ok(Routing::Done(actions))
    }

    /// Time passes.
    pub fn tick(&mut self, now_us: i64) -> Vec<TimelineSyncAction> {
        if now_us < self.say_us && now_us >= self.seen_us { vec![] } else { self.round(now_us) }
    }

    /// Decides anew.
    fn round(&mut self, now_us: i64) -> Vec<TimelineSyncAction> {
        let passed = now_us.saturating_sub(self.seen_us);
        self.seen_us = now_us;
        if !(0..AWAY_US).contains(&passed) {
            // What was heard before says nothing of now; whoever went by us has gone on without.
            self.hosts.retain(|_, heard| heard.at_us == now_us);
            self.link = self.link.take().filter(|link| link.heard_us == now_us);
            self.woke_us = now_us;
        }
        self.hosts.retain(|_, heard| now_us.saturating_sub(heard.at_us) < SILENT_US);
        if self
            .link
            .as_ref()
            .is_some_and(|link| now_us.saturating_sub(link.heard_us) >= LINK_SILENT_US)
        {
            self.link = None;
        }
        self.choose(now_us);
        let mut actions = self.steer(now_us);
        actions.extend(self.align_link(now_us));
        actions.push(self.say(now_us));
        actions
    }

    fn is_in_link(&self, now_us: i64) -> bool {
        let is_fresh = |link: &&LinkState| now_us.saturating_sub(link.heard_us) < LINK_SILENT_US;
        self.link.as_ref().filter(is_fresh).is_some_and(|link| link.report.peers > 0)
    }

    fn running_us(&self, now_us: i64) -> u64 {
        u64::try_from(now_us.saturating_sub(self.began_us)).unwrap_or(0)
    }

    fn followers(&self) -> u32 {
        let of_us = |heard: &&PeerTimeline| heard.said.from.as_ref() == Some(&self.own);
        u32::try_from(self.hosts.values().filter(of_us).count()).unwrap_or(u32::MAX)
    }

    /// Whom to go by.
    fn choose(&mut self, now_us: i64) {
        let followers = self.followers();
        let own = Candidacy {
            is_in_link: self.is_in_link(now_us),
            followers,
            running_us: self.running_us(now_us),
            changes: self.changes,
            id: &self.own,
        };
        let leads = self.follows.is_none();
        // Only one that leads is gone by: nobody goes in a circle.
        let best = self
            .hosts
            .iter()
            .filter(|(_, heard)| heard.leads())
            .map(|(id, heard)| (Candidacy::of(id, heard, now_us), heard))
            .max_by(|(a, _), (b, _)| a.before(b));
        let wanted = best.and_then(|(claim, heard)| {
            let is_better = if leads && heard.is_disputed(now_us) {
                *claim.id < self.own
            } else {
                claim.before(&own) == Ordering::Greater
            };
            is_better.then(|| claim.id.clone())
        });
        for heard in self.hosts.values_mut() {
            let both_lead = leads && heard.leads();
            heard.disputes_us = both_lead.then(|| heard.disputes_us.unwrap_or(now_us));
        }
        if wanted == self.follows {
            self.rather = None;
            return;
        }
        let is_young = followers == 0 && now_us.saturating_sub(self.woke_us) < YOUNG_US;
        let stands = self
            .follows
            .as_ref()
            .map_or(!is_young, |leader| self.hosts.get(leader).is_some_and(PeerTimeline::leads));
        let candidate = wanted.clone().unwrap_or_else(|| self.own.clone());
        let since = match self.rather.take() {
            Some((who, since)) if who == candidate => since,
            _ => now_us,
        };
        if stands && now_us.saturating_sub(since) < PATIENCE_US {
            self.rather = Some((candidate, since));
        } else {
            // What was known of its clock a while ago may not hold any more.
            if let Some(heard) = wanted.as_ref().and_then(|host| self.hosts.get_mut(host)) {
                heard.clock = None;
            }
            self.follows = wanted;
        }
    }

    /// The course of the leader by the clock here, as far as its clock is known.
    fn of_leader(&self) -> Option<TempoMap> {
        let heard = self.hosts.get(self.follows.as_ref()?)?;
        Some(heard.course?.here(&heard.clock?))
    }

    /// Where the timeline comes from.
    fn source(&self) -> TimelineSource {
        let is_of_link = |link: &LinkState| {
            link.report.peers > 0 || (self.follows.is_none() && self.adopted_us != i64::MIN)
        };
        if self.link.as_ref().is_some_and(is_of_link) {
            TimelineSource::Link
        } else if self.of_leader().is_some() {
            TimelineSource::Mesh
        } else {
            TimelineSource::Internal
        }
    }

    /// The timeline that is to be approached, by the local clock; none where the own one is to go on.
    fn goal(&self, now_us: i64) -> Option<TempoMap> {
        let of_leader = self.of_leader();
        let (TimelineSource::Link, Some(link)) = (self.source(), &self.link) else {
            return of_leader;
        };
        let reported = link.report.timeline().ok()?;
        let own = self.course.last();
        if now_us < self.ordered_until_us {
            let is_late = (own.bpm() - reported.bpm()).abs() > 0.01
                || own.is_playing() != reported.is_playing();
            // Alone in its session it was told where the beat is.
            if is_late || link.report.peers == 0 {
                return None;
            }
        }
        // Link shares where in the bar it is. Which bar it is, the leader says, or what was before.
        let soon = now_us.saturating_add(Slew::LEAD_US);
        let quantum = reported.quantum();
        let wanted = of_leader.unwrap_or(self.course);
        let off = wanted.at(soon).beat_at(soon) - reported.beat_at(soon);
        let nearest = (off / quantum).round();
        let left_us = nearest.mul_add(quantum, -off) * reported.us_per_beat();
        let is_near = left_us.abs() <= Slew::MOST_EASED_US;
        // Where it has to jump, no beat comes twice.
        let bars = if is_near || of_leader.is_some() { nearest } else { (off / quantum).ceil() };
        Some(TempoMap::of(reported.moved_by(bars * quantum)))
    }

    /// Brings the course to where it should be.
    fn steer(&mut self, now_us: i64) -> Vec<TimelineSyncAction> {
        self.error_us = None;
        let Some(goal) = self.goal(now_us) else { return vec![] };
        let approach = Slew::new(&self.course, &goal, now_us);
        self.course = approach.taken_by(self.course);
        let leader = self.follows.as_ref().and_then(|leader| self.hosts.get(leader));
        if let Some(leader) = leader {
            self.began_us = now_us.saturating_sub(leader.running_us(now_us));
            self.changes = leader.said.changes;
            self.error_us = leader.clock.map(|clock| {
                let (at_us, _) = approach.timeline.origin();
                let shown = self.course.at(now_us).beat_at(now_us);
                let off = (goal.at(now_us).beat_at(now_us) - shown).abs();
                let off_us = off * goal.at(at_us).us_per_beat();
                whole(clock.error_us(now_us) + off_us)
            });
        }
        if approach.jump.abs() < f64::EPSILON {
            return vec![];
        }
        let reason = match (&self.follows, self.source()) {
            (Some(leader), TimelineSource::Mesh) => format!("goes by '{leader}' now"),
            (Some(leader), _) => format!("counts the bars as '{leader}' does now"),
            (None, _) => "a session of Ableton Link has another beat".into(),
        };
        self.jumps += 1;
        let at_us = approach.timeline.origin().0;
        let jump = TimelineStep { number: self.jumps, at_us, beats: approach.jump, reason };
        self.jump = Some(jump.clone());
        vec![TimelineSyncAction::Jumped(jump)]
    }

    /// Has a session of Link in which nobody else is go along, so that whoever joins it finds the beat that there is.
    fn align_link(&mut self, now_us: i64) -> Option<TimelineSyncAction> {
        let soon = now_us.saturating_add(Slew::LEAD_US);
        let own = self.course.at(soon);
        let link = self.link.as_ref()?;
        let is_new = self.adopted_us == i64::MIN;
        let differs = (link.report.quantum - own.quantum()).abs() > 1e-9;
        if link.report.peers > 0 {
            self.adopted_us = now_us;
            // A jump to the session's beat is made already; the length of the bar is ours.
            return (is_new || differs)
                .then(|| TimelineSyncAction::Link(LinkOrder::Quantum { beats: own.quantum() }));
        }
        let reported = link.report.timeline().ok()?;
        let off = (own.beat_at(soon) - reported.beat_at(soon)).rem_euclid(own.quantum());
        let off_us = off.min(own.quantum() - off) * own.us_per_beat();
        let is_off = differs
            || off_us > ADOPT_OFF_US
            || (own.bpm() - reported.bpm()).abs() > 0.01
            || own.is_playing() != reported.is_playing();
        let is_due = is_new || now_us.saturating_sub(self.adopted_us) >= ADOPT_US;
        let is_ours = is_new || self.follows.is_some();
        (is_off && is_due && is_ours).then(|| {
            self.adopted_us = now_us;
            self.ordered_until_us = now_us.saturating_add(ORDERED_US);
            TimelineSyncAction::Link(LinkOrder::adopt(&own.anchored_at(soon)))
        })
    }

    fn say(&mut self, now_us: i64) -> TimelineSyncAction {
        self.say_us = now_us.saturating_add(PERIOD_US);
        self.course = self.course.since(now_us);
        let coming = self.course.last_between(now_us, now_us.saturating_add(Slew::LEAD_US));
        // What is to come is said as it will be, what is under way as it is.
        let (shown, easing) = coming.map_or_else(
            || (self.course.at(now_us).anchored_at(now_us), self.course.easing_at(now_us)),
            |coming| (coming, self.course.easing_at(coming.origin().0)),
        );
        let (at_us, beat) = shown.origin();
        let last = self.course.last();
        TimelineSyncAction::Say(Box::new(HostTimeline {
            bpm: last.bpm(),
            beat,
            at_us,
            rate: last.rate(),
            easing,
            quantum: last.quantum(),
            playing: last.is_playing(),
            source: self.source(),
            peers: self.link.as_ref().map_or(0, |link| link.report.peers),
            from: self.follows.clone(),
            error_us: self.error_us,
            running_us: self.running_us(now_us),
            followers: self.followers(),
            changes: self.changes,
            jump: self.jump.clone(),
        }))
    }
}

impl PeerTimeline {
    const fn leads(&self) -> bool {
        self.said.from.is_none()
    }

    fn is_disputed(&self, now_us: i64) -> bool {
        self.disputes_us.is_some_and(|since| now_us.saturating_sub(since) >= DISPUTE_US)
    }

    fn running_us(&self, now_us: i64) -> i64 {
        let since = now_us.saturating_sub(self.at_us).max(0);
        i64::try_from(self.said.running_us).unwrap_or(i64::MAX).saturating_add(since)
    }
}

impl<'a> Candidacy<'a> {
    fn of(id: &'a NodeId, heard: &PeerTimeline, now_us: i64) -> Self {
        Self {
            is_in_link: heard.said.is_in_link(),
            followers: heard.said.followers,
            running_us: u64::try_from(heard.running_us(now_us)).unwrap_or(0),
            changes: heard.said.changes,
            id,
        }
    }

    /// Which of two rather leads: the greater.
    fn before(&self, other: &Self) -> Ordering {
        let (age, other_age) = (self.running_us, other.running_us);
        let margin = OLDER_US.saturating_add(age.max(other_age) / 500);
        let by_age =
            if age.abs_diff(other_age) <= margin { Ordering::Equal } else { age.cmp(&other_age) };
        (self.is_in_link, self.followers)
            .cmp(&(other.is_in_link, other.followers))
            .then(by_age)
            .then(self.changes.cmp(&other.changes))
            .then_with(|| other.id.cmp(self.id))
    }
}

// A bound in microseconds, rounded up.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
const fn whole(us: f64) -> u64 {
    us.ceil() as u64
}

#[cfg(test)]
mod tests;
