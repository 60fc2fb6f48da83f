use std::cmp::Ordering;
use std::collections::BTreeMap;

use hana_protocol::id::NodeId;
use hana_protocol::message::{HostTimeline, TimelineSource};
use hana_time::{
    ClockEstimate, LinkOrder, LinkReport, Slew, TempoMap, Timeline, TimelineError, TimelineStep,
};

/// Keeps the timeline of a host, following Ableton Link, another host or its own clock.
///
/// Pure: each call passes in the event and the time on the local clock and returns actions.
///
/// Of all hosts that can reach each other, one leads. The others follow its beat and its beat count, because Link
/// shares the position in the bar but not the number of the bar. Each host elects the leader independently, from the
/// timelines that all hosts publish four times a second, and all hosts reach the same result. The first of these
/// criteria in which two candidates differ decides between them:
///
/// 1. A host in a Link session with other peers wins, because that session cannot follow our beat.
/// 2. The host with more followers wins, so a machine that joins or returns does not reset a running group.
/// 3. The host whose timeline has been running for longer wins. A follower inherits the age of its leader's timeline
///    and keeps it when the leader is gone.
/// 4. The host whose timeline operators have changed more often wins.
/// 5. The host with the smaller id wins.
///
/// When the leader is gone, all hosts continue from the same beat, and one of them becomes the next leader. A leader
/// is replaced only after another host has been the better candidate for a second.
///
/// A host approaches another timeline gradually, by [`Slew`]. Where that is impossible, because two unrelated
/// timelines merge, the beat jumps and the jump is reported.
#[derive(Debug)]
pub struct TimelineSync {
    own: NodeId,
    course: TempoMap,
    began_us: i64,
    changes: u64,
    jump: Option<TimelineStep>,
    jumps: u64,
    hosts: BTreeMap<NodeId, PeerTimeline>,
    /// The host that this host follows; `None` while this host leads.
    follows: Option<NodeId>,
    /// The candidate that is to replace the current leader, and the time since which it has been preferred.
    preferred: Option<(NodeId, i64)>,
    link: Option<LinkState>,
    /// End of the period in which Link's reports may not yet reflect the last command.
    ordered_until_us: i64,
    /// Time at which Link and this timeline were last aligned; `i64::MIN` if never since `hana-link` ended.
    adopted_us: i64,
    /// Time at which this daemon started or woke up; for a while after it, the host follows a better leader at once.
    started_us: i64,
    seen_us: i64,
    say_us: i64,
    error_us: Option<u64>,
}

/// An action for the caller of a [`TimelineSync`].
#[derive(Debug, Clone, PartialEq)]
pub enum TimelineSyncAction {
    /// Publish this timeline.
    Say(Box<HostTimeline>),
    /// Send this command to `hana-link`.
    Link(LinkOrder),
    /// Report to the operators that the beat jumped.
    Jumped(TimelineStep),
}

/// An operator's change to the shared timeline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TransportRequest {
    /// Set the tempo, in beats per minute.
    Tempo(f64),
    /// Start playing.
    Play,
    /// Pause.
    Pause,
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Routing {
    /// The request was applied here and requires these actions.
    Done(Vec<TimelineSyncAction>),
    /// Forward the request to this host, which is the leader.
    Tell(NodeId),
}

/// The last timeline received from another host.
#[derive(Debug)]
struct PeerTimeline {
    said: HostTimeline,
    at_us: i64,
    /// Tempo map of the host, by the host's own clock.
    course: Option<TempoMap>,
    /// Offset of the host's clock; known only for the host that is followed.
    clock: Option<ClockEstimate>,
    /// Time since which both that host and this one have led, each preferring itself.
    disputes_us: Option<i64>,
}

#[derive(Debug)]
struct LinkState {
    report: LinkReport,
    heard_us: i64,
}

/// The properties of a candidate that decide the election.
struct Candidacy<'a> {
    is_in_link: bool,
    followers: u32,
    running_us: u64,
    changes: u64,
    id: &'a NodeId,
}

/// Interval at which a timeline is published and steered.
const PERIOD_US: i64 = 250_000;
/// Time without a message after which a host counts as gone.
const SILENT_US: i64 = 1_500_000;
/// Time without a report after which Link counts as gone; `hana-link` reports four times a second.
const LINK_SILENT_US: i64 = 2_000_000;
/// How long another candidate must have been better before it replaces the leader.
const PATIENCE_US: i64 = 1_000_000;
/// A host that started less than this ago and has no followers follows a better leader without the usual delay.
const WARM_UP_US: i64 = 3_000_000;
/// Pause between two rounds from which on this host counts as having been away: suspended or asleep.
const AWAY_US: i64 = 2_000_000;
/// Duration of a dispute after which the id alone decides.
const DISPUTE_US: i64 = 3_000_000;
/// Age difference, plus 1/500 of the greater age, up to which two timelines count as equally old.
///
/// It covers the inaccuracy of the clocks.
const OLDER_US: u64 = 1_000_000;
/// Upper bound of the time until Link's reports reflect a command to Link.
const ORDERED_US: i64 = 700_000;
/// Minimum interval between two corrections of Link while no other peer is in its session.
const ADOPT_US: i64 = 1_000_000;
/// Difference between Link's beat and ours, in microseconds, beyond which Link is corrected.
const ADOPT_OFF_US: f64 = 500.0;
/// Maximum number of other hosts whose timelines are kept.
const HOSTS: usize = 1024;

impl TimelineSync {
    /// Creates the timeline of host `own`, which starts as `first` at `now_us`.
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
            preferred: None,
            link: None,
            ordered_until_us: i64::MIN,
            adopted_us: i64::MIN,
            started_us: now_us,
            seen_us: now_us,
            say_us: now_us,
            error_us: None,
        }
    }

    /// Continues the timeline that an earlier instance of this daemon published, on the same clock.
    ///
    /// Returns `None` if that timeline is invalid or later than `now_us`, which means that the clock restarted.
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

    /// Returns the current tempo map.
    #[must_use]
    pub const fn course(&self) -> TempoMap {
        self.course
    }

    /// Returns the followed host, whose clock must therefore be measured, or `None` while this host leads.
    #[must_use]
    pub const fn follows(&self) -> Option<&NodeId> {
        self.follows.as_ref()
    }

    /// Returns the time of the next call of [`tick`](Self::tick), unless another event comes first.
    #[must_use]
    pub const fn next_us(&self) -> i64 {
        self.say_us
    }

    /// Handles a timeline published by another host.
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
        // Repetitions, and the timelines of hosts that are not followed, wait for the next round.
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

    /// Handles the loss of another host.
    pub fn lose(&mut self, host: &NodeId, now_us: i64) -> Vec<TimelineSyncAction> {
        if self.hosts.remove(host).is_some() { self.round(now_us) } else { vec![] }
    }

    /// Updates the clock offset of another host.
    pub fn clock(&mut self, host: &NodeId, clock: ClockEstimate) {
        if let Some(heard) = self.hosts.get_mut(host) {
            heard.clock = Some(clock);
        }
    }

    /// Handles the start of `hana-link`: sends it the timeline to use while no other peer is in its session.
    pub fn link_began(&mut self, now_us: i64) -> Vec<TimelineSyncAction> {
        self.adopted_us = now_us;
        self.ordered_until_us = now_us.saturating_add(ORDERED_US);
        let soon = now_us.saturating_add(Slew::LOOKAHEAD_US);
        vec![TimelineSyncAction::Link(LinkOrder::adopt(&self.course.at(soon).anchored_at(soon)))]
    }

    /// Handles a report of the Link session.
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

    /// Handles the end of `hana-link`.
    pub fn link_lost(&mut self, now_us: i64) -> Vec<TimelineSyncAction> {
        self.adopted_us = i64::MIN;
        if self.link.take().is_some() { self.round(now_us) } else { vec![] }
    }

    /// Applies an operator's request, or returns the leader to forward it to.
    ///
    /// # Errors
    ///
    /// Fails if the tempo is out of range.
    pub fn order(
        &mut self,
        order: TransportRequest,
        now_us: i64,
    ) -> Result<Routing, TimelineError> {
        let at_us = now_us.saturating_add(Slew::LOOKAHEAD_US);
        // The changed timeline uses the final rate, not the temporary rate of a slew in progress.
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

    /// Runs the next round if it is due.
    pub fn tick(&mut self, now_us: i64) -> Vec<TimelineSyncAction> {
        if now_us < self.say_us && now_us >= self.seen_us { vec![] } else { self.round(now_us) }
    }

    /// Expires silent peers, elects the leader, steers the timeline and publishes it.
    fn round(&mut self, now_us: i64) -> Vec<TimelineSyncAction> {
        let passed = now_us.saturating_sub(self.seen_us);
        self.seen_us = now_us;
        if !(0..AWAY_US).contains(&passed) {
            // After an absence all earlier reports are outdated, and former followers have continued without us.
            self.hosts.retain(|_, heard| heard.at_us == now_us);
            self.link = self.link.take().filter(|link| link.heard_us == now_us);
            self.started_us = now_us;
        }
        self.hosts.retain(|_, heard| now_us.saturating_sub(heard.at_us) < SILENT_US);
        if self
            .link
            .as_ref()
            .is_some_and(|link| now_us.saturating_sub(link.heard_us) >= LINK_SILENT_US)
        {
            self.link = None;
        }
        self.elect(now_us);
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

    /// Elects the host to follow.
    fn elect(&mut self, now_us: i64) {
        let followers = self.followers();
        let own = Candidacy {
            is_in_link: self.is_in_link(now_us),
            followers,
            running_us: self.running_us(now_us),
            changes: self.changes,
            id: &self.own,
        };
        let leads = self.follows.is_none();
        // Only a leader can be followed, so followers never form a circle.
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
            self.preferred = None;
            return;
        }
        let is_young = followers == 0 && now_us.saturating_sub(self.started_us) < WARM_UP_US;
        let stands = self
            .follows
            .as_ref()
            .map_or(!is_young, |leader| self.hosts.get(leader).is_some_and(PeerTimeline::leads));
        let candidate = wanted.clone().unwrap_or_else(|| self.own.clone());
        let since = match self.preferred.take() {
            Some((who, since)) if who == candidate => since,
            _ => now_us,
        };
        if stands && now_us.saturating_sub(since) < PATIENCE_US {
            self.preferred = Some((candidate, since));
        } else {
            // An older estimate of the new leader's clock may no longer be valid.
            if let Some(heard) = wanted.as_ref().and_then(|host| self.hosts.get_mut(host)) {
                heard.clock = None;
            }
            self.follows = wanted;
        }
    }

    /// Returns the leader's tempo map by the local clock; `None` if the offset of the leader's clock is unknown.
    fn of_leader(&self) -> Option<TempoMap> {
        let heard = self.hosts.get(self.follows.as_ref()?)?;
        Some(heard.course?.to_local(&heard.clock?))
    }

    /// Returns the source of the current timeline.
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

    /// Returns the timeline to approach, by the local clock, or `None` to continue the current one.
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
            // The report may predate the command. Without other peers, the session follows our beat anyway.
            if is_late || link.report.peers == 0 {
                return None;
            }
        }
        // Link shares only the position in the bar. The number of the bar comes from the leader, or from our own
        // timeline.
        let soon = now_us.saturating_add(Slew::LOOKAHEAD_US);
        let quantum = reported.quantum();
        let wanted = of_leader.unwrap_or(self.course);
        let off = wanted.at(soon).beat_at(soon) - reported.beat_at(soon);
        let nearest = (off / quantum).round();
        let left_us = nearest.mul_add(quantum, -off) * reported.us_per_beat();
        let is_near = left_us.abs() <= Slew::MOST_EASED_US;
        // Without a leader, a jump goes forward, so that no beat occurs twice.
        let bars = if is_near || of_leader.is_some() { nearest } else { (off / quantum).ceil() };
        Some(TempoMap::of(reported.shifted_by(bars * quantum)))
    }

    /// Moves the tempo map towards the goal.
    fn steer(&mut self, now_us: i64) -> Vec<TimelineSyncAction> {
        self.error_us = None;
        let Some(goal) = self.goal(now_us) else { return vec![] };
        let approach = Slew::new(&self.course, &goal, now_us);
        self.course = approach.apply_to(self.course);
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
            (Some(leader), TimelineSource::Mesh) => format!("follows '{leader}' now"),
            (Some(leader), _) => format!("uses the bar count of '{leader}' now"),
            (None, _) => "a session of Ableton Link has another beat".into(),
        };
        self.jumps += 1;
        let at_us = approach.timeline.origin().0;
        let jump = TimelineStep { number: self.jumps, at_us, beats: approach.jump, reason };
        self.jump = Some(jump.clone());
        vec![TimelineSyncAction::Jumped(jump)]
    }

    /// Aligns a Link session without other peers with our timeline, so that a peer that joins finds the current beat.
    fn align_link(&mut self, now_us: i64) -> Option<TimelineSyncAction> {
        let soon = now_us.saturating_add(Slew::LOOKAHEAD_US);
        let own = self.course.at(soon);
        let link = self.link.as_ref()?;
        let is_new = self.adopted_us == i64::MIN;
        let differs = (link.report.quantum - own.quantum()).abs() > 1e-9;
        if link.report.peers > 0 {
            self.adopted_us = now_us;
            // `steer` has already moved our timeline to the session's beat; only the length of the bar is set here.
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
        let coming = self.course.last_between(now_us, now_us.saturating_add(Slew::LOOKAHEAD_US));
        // A change that is about to take effect is published in advance; otherwise, the current state is published.
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

    /// Compares two candidates; the greater one is preferred as leader.
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

// An error bound in microseconds, rounded up.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
const fn whole(us: f64) -> u64 {
    us.ceil() as u64
}

#[cfg(test)]
mod tests;
