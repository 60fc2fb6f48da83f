use std::hint::black_box;
use std::time::{Duration, Instant};

use hana_protocol::id::NodeId;
use hana_protocol::message::ModulationBatch;
use hana_protocol::wire::Envelope;

use crate::playout::jitter_buffer::{JitterBuffer, JitterBufferSettings};
use crate::playout::sender_clock::{ClockObservation, SenderClock};

/// Plays what several senders send for the parameters of a visualization, as single values and in frames.
///
/// All times are brought to one clock, the local one, so that the value that was sent last is the one that counts,
/// whoever sent it. What is older than [`STALE`](Self::STALE) when it comes, or when this program looks again after it
/// hung, had piled up somewhere: it is not shown. Only the last of it is, once nothing newer has come for [`QUIET`](Self::QUIET), since
/// a value that nobody changed afterwards is meant still. Pure; in the steady state nothing of it allocates.
#[derive(Debug)]
pub struct ModulationReceiver {
    epoch: Instant,
    /// What a frame looks at, of each parameter.
    tracks: Vec<Track>,
    /// What only what arrives is compared with, of each parameter.
    arrivals: Vec<Arrivals>,
    senders: Vec<Sender>,
    /// When it was looked at last.
    advanced: Instant,
}

/// What became of what arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiveOutcome {
    /// Values that are played, or that wait until it is known whether they are the last ones.
    pub taken: u64,
    /// Values that are never shown, since they came too late.
    pub late: u64,
}

#[derive(Debug)]
struct Track {
    playout: JitterBuffer,
    /// What was shown last, as bits.
    shown: u32,
    /// Something of it is parked.
    is_parked: bool,
    /// Nothing changes until something comes.
    is_settled: bool,
}

#[derive(Debug, Default)]
struct Arrivals {
    newest: Option<Newest>,
    /// Of which run of a sender the last value was, and its time there: a frame may say it again.
    last: Option<(u64, i64)>,
    /// What came too late, and may yet be all that comes.
    parked: Option<Deferred>,
}

#[derive(Debug, Clone, Copy)]
struct Deferred {
    value: f32,
    since: Instant,
    /// What is known of when it was sent: what was sent after it, and comes even later, counts.
    sent: Option<Newest>,
}

/// When the newest value was sent.
#[derive(Debug, Clone, Copy)]
struct Newest {
    local_us: i64,
    /// The run that sent it and its time there, which tells what is newer also where its clock is not known.
    sent: Option<(u64, i64)>,
}

#[derive(Debug)]
struct Sender {
    id: NodeId,
    instance: u64,
    map: SenderClock,
    heard: Instant,
}

/// A value on its way to its track.
#[derive(Debug, Clone, Copy)]
struct Arriving {
    /// The run of its sender, and its time there.
    sent: (u64, i64),
    /// Its time here; none while the sender's clock is not known.
    local_us: Option<i64>,
    value: f32,
}

impl ModulationReceiver {
    /// What is older than this when it arrives, by its sender's clock, is not played. More than any network that one
    /// would play over delays for long, less than a person would take for the present.
    pub const STALE: Duration = Duration::from_millis(250);
    /// After so long without a newer value the last one is shown, however old.
    pub const QUIET: Duration = Duration::from_millis(100);
    /// Senders whose clocks are followed; beyond, the one that was silent for longest is forgotten.
    pub const MAX_SENDERS: usize = 16;

    /// Plays so many parameters as there are settings, beginning with `values`.
    #[must_use]
    pub fn new(settings: &[JitterBufferSettings], values: &[f32], now: Instant) -> Self {
        let tracks = settings.iter().zip(values).map(|(settings, value)| {
            let mut playout = JitterBuffer::new(*settings);
            playout.begin_with(*value);
            let shown = value.to_bits();
            Track { playout, shown, is_parked: false, is_settled: true }
        });
        let tracks: Vec<Track> = tracks.collect();
        let arrivals = tracks.iter().map(|_| Arrivals::default()).collect();
        Self { epoch: now, tracks, arrivals, senders: vec![], advanced: now }
    }

    /// A value has come for the parameter `index`. Without an envelope it is shown at once.
    pub fn put(
        &mut self,
        index: usize,
        envelope: Option<&Envelope>,
        value: f32,
        now: Instant,
    ) -> ReceiveOutcome {
        let Some(envelope) = envelope else {
            self.show(index, value, now);
            return ReceiveOutcome { taken: 1, late: 0 };
        };
        let (sender, reading) = self.sender(envelope, now);
        let local_us = self.local_of(sender, reading, envelope.at, now);
        let sent = (envelope.instance, envelope.at);
        self.take(index, Arriving { sent, local_us, value }, now)
    }

    /// A frame has come whose indices and values were found to be right. Without an envelope its last values are shown
    /// at once.
    pub fn frame(
        &mut self,
        envelope: Option<&Envelope>,
        frame: &ModulationBatch,
        now: Instant,
    ) -> ReceiveOutcome {
        let mut taken = ReceiveOutcome::default();
        let Some(envelope) = envelope else {
            for (index, value) in frame.last_values() {
                self.show(index, value, now);
                taken.taken += 1;
            }
            return taken;
        };
        let (sender, reading) = self.sender(envelope, now);
        for (index, at, value) in frame.values() {
            let local_us = self.local_of(sender, reading, at, now);
            let sent = (envelope.instance, at);
            let of_value = self.take(index, Arriving { sent, local_us, value }, now);
            taken.taken += of_value.taken;
            taken.late += of_value.late;
        }
        taken
    }

    /// A value was set by command or by the program itself, and is shown already. What was sent before is late.
    pub fn set(&mut self, index: usize, value: f32, now: Instant) {
        self.show(index, value, now);
        if let Some(track) = self.tracks.get_mut(index) {
            track.shown = value.to_bits();
        }
    }

    /// Something else has moved a parameter to `value` meanwhile, without a sender: what comes is played from there.
    pub fn resume_from(&mut self, index: usize, value: f32) {
        if let Some((track, arrivals)) = self.of(index) {
            track.playout.reset();
            track.playout.begin_with(value);
            track.shown = value.to_bits();
            arrivals.take_parked(track);
        }
    }

    fn show(&mut self, index: usize, value: f32, now: Instant) {
        let local = self.local(now);
        let Some((track, arrivals)) = self.of(index) else { return };
        track.playout.show(local, value);
        arrivals.newest = Some(Newest { local_us: local, sent: None });
        arrivals.take_parked(track);
        track.is_settled = false;
    }

    /// What is to be shown at `now`: tells `changed` of each parameter that shows another value than before.
    pub fn advance(&mut self, now: Instant, mut changed: impl FnMut(usize, f32)) {
        let local = self.local(now);
        let passed = now.saturating_duration_since(self.advanced);
        let hung = passed > Self::STALE;
        self.advanced = now;
        self.fetch();
        for (index, (track, arrivals)) in self.tracks.iter_mut().zip(&mut self.arrivals).enumerate()
        {
            if track.is_settled {
                continue;
            }
            if hung {
                arrivals.wake_up(track, local, now);
            }
            if track.is_parked
                && let Some(parked) = arrivals.parked
                && now.saturating_duration_since(parked.since) >= Self::QUIET
            {
                arrivals.take_parked(track);
                let sent = parked.sent.unwrap_or(Newest { local_us: local, sent: None });
                // As of when it was sent: what was sent after it, and is under way still, is newer.
                track.playout.show(sent.local_us, parked.value);
                arrivals.newest = Some(sent);
            }
            if let Some(value) = track.playout.value(local, passed)
                && std::mem::replace(&mut track.shown, value.to_bits()) != value.to_bits()
            {
                changed(index, value);
            }
            track.is_settled = !track.is_parked && track.playout.is_settled();
        }
    }

    /// Touches what [`advance`](Self::advance) is about to need. Another thread has just written most of it, so that it has to be
    /// fetched from another core's cache: all of it at once takes a fraction of one after the other.
    fn fetch(&self) {
        let touch = |track: &Track| track.playout.touch() ^ i64::from(track.is_settled);
        black_box(self.tracks.iter().fold(0, |all, track| all ^ touch(track)));
    }

    fn of(&mut self, index: usize) -> Option<(&mut Track, &mut Arrivals)> {
        self.tracks.get_mut(index).zip(self.arrivals.get_mut(index))
    }

    fn local(&self, now: Instant) -> i64 {
        let passed = now.saturating_duration_since(self.epoch).as_micros();
        i64::try_from(passed).unwrap_or(i64::MAX)
    }

    /// Which sender it is, and what is known of its clock.
    fn sender(&mut self, envelope: &Envelope, now: Instant) -> (usize, ClockObservation) {
        let Envelope { from, instance, .. } = envelope;
        let is_it = |of: &Sender| of.instance == *instance && of.id == *from;
        let place = self.senders.iter().position(is_it).unwrap_or_else(|| {
            if self.senders.len() >= Self::MAX_SENDERS {
                let silent = self.senders.iter().enumerate().min_by_key(|(_, of)| of.heard);
                if let Some(place) = silent.map(|(place, _)| place) {
                    self.senders.swap_remove(place);
                }
            }
            self.senders.push(Sender {
                id: envelope.from.clone(),
                instance: envelope.instance,
                map: SenderClock::new(self.epoch),
                heard: now,
            });
            self.senders.len() - 1
        });
        let sender = &mut self.senders[place];
        sender.heard = now;
        (place, sender.map.observe(envelope.at, now))
    }

    /// When what was sent at `at` should have come. Nothing comes from the future.
    fn local_of(
        &self,
        sender: usize,
        reading: ClockObservation,
        at: i64,
        now: Instant,
    ) -> Option<i64> {
        let local = self.senders[sender].map.local_us(at)?;
        (reading == ClockObservation::Known).then(|| local.min(self.local(now)))
    }

    fn take(&mut self, index: usize, arriving: Arriving, now: Instant) -> ReceiveOutcome {
        // Who brings it may have been stopped on the way here: it is no fresher than what is looked at.
        let now = now.max(self.advanced);
        let now_us = self.local(now);
        let mut taken = ReceiveOutcome::default();
        let Some((track, arrivals)) = self.of(index) else { return taken };
        let Arriving { sent, local_us, value } = arriving;
        if arrivals.last == Some(sent) {
            return taken;
        }
        let is_newest = arrivals.newest.is_none_or(|newest| newest.is_before(local_us, sent));
        let limit = Self::STALE.max(track.playout.delay()).as_micros();
        let fresh = local_us.filter(|at| u128::from(now_us.abs_diff(*at)) <= limit);
        let was_taken = match fresh {
            Some(at) => {
                let at = arrivals.newest.map_or(at, |newest| newest.in_order(at, sent));
                taken.late += u64::from(arrivals.take_parked(track).is_some());
                if arrivals.newest.is_none_or(|newest| at > newest.local_us) {
                    arrivals.newest = Some(Newest { local_us: at, sent: Some(sent) });
                }
                track.playout.push(at, value)
            },
            None if is_newest => {
                let before = arrivals.take_parked(track);
                // Where its sender's clock is not known, it counts as of now.
                let sent = Newest { local_us: local_us.unwrap_or(now_us), sent: Some(sent) };
                arrivals.park(track, Deferred { value, since: now, sent: Some(sent) });
                taken.late += u64::from(before.is_some());
                true
            },
            None => false,
        };
        if was_taken {
            taken.taken += 1;
            arrivals.last = Some(sent);
            track.is_settled = false;
        } else {
            taken.late += 1;
        }
        taken
    }
}

impl Newest {
    /// When a value was sent, but never before one that its run sent earlier: while a clock is not known well, the first of what
    /// piled up somewhere is taken for fresh, and all of it comes at once.
    fn in_order(self, local_us: i64, sent: (u64, i64)) -> i64 {
        match self.sent {
            Some((run, at)) if run == sent.0 && at < sent.1 => {
                local_us.max(self.local_us.saturating_add(1))
            },
            _ => local_us,
        }
    }

    /// Whether a value is newer, as far as is known.
    fn is_before(self, local_us: Option<i64>, sent: (u64, i64)) -> bool {
        let is_later = |(run, at): (u64, i64)| run == sent.0 && sent.1 > at;
        self.sent.is_some_and(is_later) || local_us.is_none_or(|at| at > self.local_us)
    }
}

impl Arrivals {
    /// Nobody has looked for so long that what waited is old by now.
    fn wake_up(&mut self, track: &mut Track, local: i64, now: Instant) {
        let limit = ModulationReceiver::STALE + track.playout.delay();
        let limit = i64::try_from(limit.as_micros()).unwrap_or(i64::MAX);
        if let Some(value) = track.playout.forget_before(local.saturating_sub(limit))
            && track.shown != value.to_bits()
            && self.parked.is_none()
        {
            self.park(track, Deferred { value, since: now, sent: None });
        }
    }

    const fn park(&mut self, track: &mut Track, parked: Deferred) {
        self.parked = Some(parked);
        track.is_parked = true;
    }

    const fn take_parked(&mut self, track: &mut Track) -> Option<Deferred> {
        track.is_parked = false;
        self.parked.take()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests;
