use std::hint::black_box;
use std::time::{Duration, Instant};

use hana_protocol::id::NodeId;
use hana_protocol::message::ModulationBatch;
use hana_protocol::wire::Envelope;

use crate::playout::jitter_buffer::{JitterBuffer, JitterBufferSettings};
use crate::playout::sender_clock::{ClockObservation, SenderClock};

/// The receive side of modulation: plays single values and batches of several senders for a visualization's
/// parameters.
///
/// All timestamps are converted to the local clock, so the value that was sent last wins, whichever sender it came
/// from. A value older than [`STALE`](Self::STALE) belongs to a backlog and is not shown, whether it is that old on
/// arrival or becomes that old while this program hangs. The last value of a backlog is an exception, because it is
/// still valid: it is shown once no newer value has arrived for [`QUIET`](Self::QUIET). Pure; does not allocate in
/// the steady state.
#[derive(Debug)]
pub struct ModulationReceiver {
    epoch: Instant,
    /// The per-parameter state that every frame reads.
    tracks: Vec<Track>,
    /// The per-parameter state that is only needed on arrival.
    arrivals: Vec<Arrivals>,
    senders: Vec<SenderState>,
    /// The time of the last call of [`advance`](Self::advance).
    advanced: Instant,
}

/// The numbers of received values that were accepted and that were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiveOutcome {
    /// The values that are played, or deferred until it is known whether a newer one follows.
    pub taken: u64,
    /// The values that arrived too late and are never shown.
    pub late: u64,
}

#[derive(Debug)]
struct Track {
    playout: JitterBuffer,
    /// The bits of the last shown value.
    shown: u32,
    /// Whether a value of this parameter is deferred.
    is_parked: bool,
    /// Whether the shown value stays the same until another value arrives.
    is_settled: bool,
}

#[derive(Debug, Default)]
struct Arrivals {
    newest: Option<Newest>,
    /// The sender's instance and timestamp of the last value; a batch may repeat that value.
    last: Option<(u64, i64)>,
    /// A value that arrived too late but may turn out to be the last one.
    parked: Option<Deferred>,
}

#[derive(Debug, Clone, Copy)]
struct Deferred {
    value: f32,
    since: Instant,
    /// The send time, if known. A value that was sent later wins, even if it arrives after this one is shown.
    sent: Option<Newest>,
}

/// The send time of the newest value.
#[derive(Debug, Clone, Copy)]
struct Newest {
    local_us: i64,
    /// The sender's instance and timestamp: they order the values of one instance even if its clock is not known.
    sent: Option<(u64, i64)>,
}

#[derive(Debug)]
struct SenderState {
    id: NodeId,
    instance: u64,
    map: SenderClock,
    heard: Instant,
}

/// A received value that is not assigned to its track yet.
#[derive(Debug, Clone, Copy)]
struct Arriving {
    /// The sender's instance and timestamp.
    sent: (u64, i64),
    /// The timestamp on the local clock; `None` while the sender's clock is not known.
    local_us: Option<i64>,
    value: f32,
}

impl ModulationReceiver {
    /// The age, by the sender's clock, above which an arriving value is not played.
    ///
    /// It is longer than any lasting delay of a usable network, and shorter than a delay that an operator notices.
    pub const STALE: Duration = Duration::from_millis(250);
    /// The time without a newer value after which a deferred value is shown, however old it is.
    pub const QUIET: Duration = Duration::from_millis(100);
    /// The maximum number of tracked sender clocks; beyond it, the sender that has been silent for longest is dropped.
    pub const MAX_SENDERS: usize = 16;

    /// Creates a receiver with one parameter per entry of the settings, starting with `values`.
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

    /// Takes a single value of the parameter `index`. A value without an envelope is shown at once.
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

    /// Takes a batch whose indices and values are valid. The last values of a batch without an envelope are shown at
    /// once.
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

    /// Records a value that a command or the program itself set and that is already shown. Values sent before it are
    /// late.
    pub fn set(&mut self, index: usize, value: f32, now: Instant) {
        self.show(index, value, now);
        if let Some(track) = self.tracks.get_mut(index) {
            track.shown = value.to_bits();
        }
    }

    /// Continues from `value`, to which the parameter was moved without a sender.
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

    /// Advances playback to `now` and calls `changed` for each parameter whose value changes.
    pub fn advance(&mut self, now: Instant, mut changed: impl FnMut(usize, f32)) {
        let local = self.local(now);
        let passed = now.saturating_duration_since(self.advanced);
        let hung = passed > Self::STALE;
        self.advanced = now;
        self.prefetch();
        for (index, (track, arrivals)) in self.tracks.iter_mut().zip(&mut self.arrivals).enumerate()
        {
            if track.is_settled {
                continue;
            }
            if hung {
                arrivals.drop_backlog(track, local, now);
            }
            if track.is_parked
                && let Some(parked) = arrivals.parked
                && now.saturating_duration_since(parked.since) >= Self::QUIET
            {
                arrivals.take_parked(track);
                let sent = parked.sent.unwrap_or(Newest { local_us: local, sent: None });
                // The value counts as sent at its send time, so a value that was sent later and is still in transit is
                // newer.
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

    /// Touches the memory that [`advance`](Self::advance) is about to read.
    ///
    /// Another thread has just written most of it, so it comes from another core's cache. Fetching all of it at once
    /// takes a fraction of the time of fetching it piece by piece.
    fn prefetch(&self) {
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

    /// Returns the index of the sender, and the observation of its clock.
    fn sender(&mut self, envelope: &Envelope, now: Instant) -> (usize, ClockObservation) {
        let Envelope { from, instance, .. } = envelope;
        let is_it = |of: &SenderState| of.instance == *instance && of.id == *from;
        let place = self.senders.iter().position(is_it).unwrap_or_else(|| {
            if self.senders.len() >= Self::MAX_SENDERS {
                let silent = self.senders.iter().enumerate().min_by_key(|(_, of)| of.heard);
                if let Some(place) = silent.map(|(place, _)| place) {
                    self.senders.swap_remove(place);
                }
            }
            self.senders.push(SenderState {
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

    /// Converts the send time `at` to the expected local arrival time, which is never in the future.
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
        // The receiving thread may have been suspended: its `now` must not be earlier than the last frame.
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
                // Without a known sender clock, the value counts as sent now.
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
    /// Returns the send time of a value, clamped so that the values of one instance stay in order.
    ///
    /// Until the sender's clock is known, the first values of a backlog look fresh; the rest arrives in the same burst.
    fn in_order(self, local_us: i64, sent: (u64, i64)) -> i64 {
        match self.sent {
            Some((run, at)) if run == sent.0 && at < sent.1 => {
                local_us.max(self.local_us.saturating_add(1))
            },
            _ => local_us,
        }
    }

    /// Returns whether a value is newer than this one, as far as is known.
    fn is_before(self, local_us: Option<i64>, sent: (u64, i64)) -> bool {
        let is_later = |(run, at): (u64, i64)| run == sent.0 && sent.1 > at;
        self.sent.is_some_and(is_later) || local_us.is_none_or(|at| at > self.local_us)
    }
}

impl Arrivals {
    /// Discards waiting values that became too old while the program hung, and defers the newest of them.
    fn drop_backlog(&mut self, track: &mut Track, local: i64, now: Instant) {
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
