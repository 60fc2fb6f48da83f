use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hana_time::Timeline;

use crate::playback::automation::BeatInstant;
use crate::time::local_clock::local_us;
use crate::time::timeline_handle::TimelineHandle;

/// What the beat is on this machine, for what is shown.
///
/// Until somebody has said a timeline it is [`Timeline::DEFAULT`]: so that what moves by the beat moves, and all processes of
/// the machine agree.
pub(crate) struct BeatClock {
    watch: OnceLock<TimelineHandle>,
    shown_after_us: AtomicI64,
}

impl BeatClock {
    /// Frames are not seen later than this: what takes longer is no frame, and shall not be made up for.
    const LATEST: Duration = Duration::from_millis(100);

    pub(crate) const fn new() -> Self {
        Self { watch: OnceLock::new(), shown_after_us: AtomicI64::new(0) }
    }

    /// From now on, what `watch` says counts.
    pub(crate) fn follow(&self, watch: TimelineHandle) {
        // The first one stays: a node has one.
        self.watch.set(watch).ok();
    }

    /// What is read now is seen so much later.
    pub(crate) fn shown_after(&self, delay: Duration) {
        let delay = i64::try_from(delay.min(Self::LATEST).as_micros()).unwrap_or_default();
        self.shown_after_us.store(delay, Ordering::Relaxed);
    }

    /// Now.
    pub(crate) fn now(&self) -> BeatInstant {
        self.at(local_us())
    }

    /// When what is read now will be seen.
    pub(crate) fn shown(&self) -> BeatInstant {
        self.at(local_us().saturating_add(self.shown_after_us.load(Ordering::Relaxed)))
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
