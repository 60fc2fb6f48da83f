use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bevy_ecs::prelude::*;
use hana_network::local_us;

use crate::timeline::frame_timing::FrameTiming;

/// The times at which frames begin and are seen.
#[derive(Default)]
pub(crate) struct FrameClock {
    last_frames: FrameTiming,
    /// The time at which the current frame began.
    begun_us: i64,
    /// The expected delay between the beginning of the current frame and its presentation.
    shown_after: Duration,
    /// The measured delay between the beginning of a frame and its presentation; 0 if it is not measured.
    presented: PresentedAt,
}

/// Times shared with the renderer, which may work on the previous frame in its own thread.
///
/// Clones share the same times.
#[derive(Resource, Clone, Default)]
pub(crate) struct PresentedAt(Arc<FrameTimes>);

#[derive(Default)]
struct FrameTimes {
    /// The beginning of the current frame.
    begun_us: AtomicI64,
    /// The delay between the beginning of the last frame and its presentation; 0 if it is not measured.
    after_us: AtomicI64,
}

impl PresentedAt {
    /// Records that a frame that began at `begun_us` is presented now.
    #[cfg(feature = "ui")]
    pub(crate) fn now(&self, begun_us: i64) {
        let after_us = local_us().saturating_sub(begun_us).max(1);
        self.0.after_us.store(after_us, Ordering::Relaxed);
    }

    /// The beginning of the current frame.
    #[cfg(feature = "ui")]
    pub(crate) fn begun_us(&self) -> i64 {
        self.0.begun_us.load(Ordering::Relaxed)
    }
}

impl FrameClock {
    pub(crate) fn new(presented: PresentedAt) -> Self {
        Self { presented, ..Self::default() }
    }

    /// Begins a frame.
    pub(crate) fn begins(&mut self, at_us: i64) {
        self.last_frames.begins(at_us);
        self.begun_us = at_us;
        self.presented.0.begun_us.store(at_us, Ordering::Relaxed);
        self.shown_after = self.last_frames.middle();
    }

    /// Ends the current frame. Without a screen, the frame counts as seen at this time.
    pub(crate) fn frame_ends(&mut self) {
        let presented = self.presented.0.after_us.load(Ordering::Relaxed);
        let since_begun = || local_us().saturating_sub(self.begun_us);
        let after = if presented > 0 { presented } else { since_begun() };
        self.last_frames.was_shown_after(after);
    }

    /// The time at which the current frame began.
    pub(crate) const fn begun_us(&self) -> i64 {
        self.begun_us
    }

    /// The expected delay between the beginning of the current frame and its presentation.
    pub(crate) const fn shown_after(&self) -> Duration {
        self.shown_after
    }
}
