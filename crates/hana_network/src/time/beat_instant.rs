use hana_time::Timeline;

/// A moment, as a beat and as a time of this machine's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BeatInstant {
    /// The timeline that applies at that moment.
    pub(crate) timeline: Timeline,
    /// The moment in microseconds, on the timeline's clock.
    pub(crate) at_us: i64,
}

impl BeatInstant {
    pub(crate) const fn beat(&self) -> f64 {
        self.timeline.beat_at(self.at_us)
    }
}
