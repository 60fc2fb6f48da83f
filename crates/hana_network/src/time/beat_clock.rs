use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hana_time::Timeline;

use crate::clock::local_clock::local_us;
use crate::time::beat_instant::BeatInstant;
use crate::time::timeline_handle::TimelineHandle;

/// The beat on this machine, for rendering.
///
/// Until a timeline is received, it uses [`Timeline::DEFAULT`], so that beat-driven parameters move, and are the same
/// in all processes of the machine.
pub(crate) struct BeatClock {
    watch: OnceLock<TimelineHandle>,
    presentation_delay_us: AtomicI64,
}

impl BeatClock {
    /// The maximum presentation delay. A longer delay is not caused by a frame, so it is not compensated.
    const LATEST: Duration = Duration::from_millis(100);

    pub(crate) const fn new() -> Self {
        Self { watch: OnceLock::new(), presentation_delay_us: AtomicI64::new(0) }
    }

    /// Uses the timeline of `watch` in place of the default timeline.
    pub(crate) fn follow(&self, watch: TimelineHandle) {
        // The first handle is kept, since a node has only one timeline.
        self.watch.set(watch).ok();
    }

    /// Sets the delay between reading a value and its presentation.
    pub(crate) fn set_presentation_delay(&self, delay: Duration) {
        let delay = i64::try_from(delay.min(Self::LATEST).as_micros()).unwrap_or_default();
        self.presentation_delay_us.store(delay, Ordering::Relaxed);
    }

    /// Returns the current beat.
    pub(crate) fn now(&self) -> BeatInstant {
        self.at(local_us())
    }

    /// Returns the beat at the time at which values read now will be presented.
    pub(crate) fn shown(&self) -> BeatInstant {
        self.at(local_us().saturating_add(self.presentation_delay_us.load(Ordering::Relaxed)))
    }

    fn at(&self, at_us: i64) -> BeatInstant {
        let said = self.watch.get().and_then(|watch| watch.at(at_us));
        BeatInstant { timeline: said.unwrap_or(Timeline::DEFAULT), at_us }
    }
}

impl fmt::Debug for BeatClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BeatClock").field("now", &self.now()).finish_non_exhaustive()
    }
}
