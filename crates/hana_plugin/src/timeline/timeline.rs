use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bevy_app::{App, Last};
use bevy_ecs::prelude::*;
use hana_network::{Node, local_us};
use hana_protocol::id::role;
use hana_protocol::id::role::{NodeRole, Role};
use hana_time::BeatDetector;

use crate::session::MeshSession;
use crate::timeline::frame_timing::FrameTiming;

/// Tempo and beat of this frame: kept up to date by the plugins, before `Update`.
///
/// It is the beat at the moment at which this frame will be seen, as far as that is known: so what begins with a beat is
/// seen with it, and not a frame later. While nobody has said a timeline, it is one of this machine's own, of 120 beats a
/// minute.
///
/// ```no_run
/// use bevy_app::{App, Update};
/// use bevy_ecs::prelude::*;
/// use hana_plugin::{Timeline, on_bar, on_beat};
///
/// fn swing(timeline: Res<Timeline>) { let angle = timeline.phase() / timeline.quantum(); }
/// fn flash() {}
/// fn change() {}
///
/// App::new().add_systems(Update, (swing, flash.run_if(on_beat(1.0)), change.run_if(on_bar)));
/// ```
#[derive(Resource, Debug, Clone, Copy)]
pub struct Timeline {
    current: hana_time::Timeline,
    at_us: i64,
    is_shared: bool,
    watch: BeatDetector,
    /// Of a program with two nodes, one keeps the time.
    keeper: Option<Role>,
}

impl Default for Timeline {
    fn default() -> Self {
        let current = hana_time::Timeline::DEFAULT;
        Self { current, at_us: 0, is_shared: false, watch: BeatDetector::new(), keeper: None }
    }
}

impl Timeline {
    /// Beats a minute.
    #[must_use]
    pub const fn bpm(&self) -> f64 {
        self.current.bpm()
    }

    /// Beats in a bar.
    #[must_use]
    pub const fn quantum(&self) -> f64 {
        self.current.quantum()
    }

    /// The beat, with its fraction; may be negative.
    #[must_use]
    pub const fn beat(&self) -> f64 {
        self.current.beat_at(self.at_us)
    }

    /// How far into the bar it is, in beats: from 0 up to, not including, the quantum.
    #[must_use]
    pub fn phase(&self) -> f64 {
        self.current.phase_at(self.at_us)
    }

    /// Whether the transport plays. Beats go on in any case.
    #[must_use]
    pub const fn is_playing(&self) -> bool {
        self.current.is_playing()
    }

    /// Whether somebody has said it. Else it is this machine's own.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Whether a multiple of `every` beats begins with this frame; [`on_beat`] as a question.
    #[must_use]
    pub fn begins(&self, every: f64) -> bool {
        self.watch.begins(every)
    }

    /// The moment that all this is of, in microseconds of this machine's clock ([`hana_network::local_us`]).
    #[must_use]
    pub const fn at_us(&self) -> i64 {
        self.at_us
    }

    /// The same as plain arithmetic: other beats, other times.
    #[must_use]
    pub const fn get(&self) -> &hana_time::Timeline {
        &self.current
    }

    /// A frame begins; it is of the moment at which it will be seen.
    pub(crate) fn follow<R: NodeRole>(&mut self, node: Option<&Node<R>>, pace: &FrameTimingMode) {
        if *self.keeper.get_or_insert(R::ROLE) != R::ROLE {
            return;
        }
        let ahead = i64::try_from(pace.shown_after.as_micros()).unwrap_or_default();
        let shown_us = pace.begun_us.saturating_add(ahead);
        self.look(node.and_then(|node| node.timeline().at(shown_us)), shown_us);
    }

    /// A frame begins; it is of that moment.
    pub(crate) fn look(&mut self, said: Option<hana_time::Timeline>, at_us: i64) {
        self.is_shared = said.is_some();
        self.current = said.unwrap_or(hana_time::Timeline::DEFAULT);
        self.at_us = at_us;
        self.watch.look(&self.current, at_us);
    }
}

/// A run condition: a multiple of so many beats begins with this frame.
///
/// `on_beat(1.0)` is each beat, `on_beat(0.5)` twice a beat. In exactly one frame, whatever the tempo does; a frame that takes
/// longer than a beat is one, not several.
pub fn on_beat(every: f64) -> impl Fn(Res<Timeline>) -> bool + Clone {
    move |timeline: Res<Timeline>| timeline.begins(every)
}

/// A run condition: a bar begins with this frame.
#[must_use]
pub fn on_bar(timeline: Res<Timeline>) -> bool {
    timeline.begins(timeline.quantum())
}

/// When frames begin, and when they are seen.
#[derive(Default)]
pub(crate) struct FrameTimingMode {
    last_frames: FrameTiming,
    /// The frame at work.
    begun_us: i64,
    /// How long after its beginning it will be seen.
    shown_after: Duration,
    /// How long after its beginning a frame was handed to the screen, if something sees to that; else 0.
    presented: PresentedAt,
}

/// What the renderer is told, and tells: it may work on the frame before meanwhile, in a thread of its own. Clones share it.
#[derive(Resource, Clone, Default)]
pub(crate) struct PresentedAt(Arc<Times>);

#[derive(Default)]
struct Times {
    /// The beginning of the frame at work.
    begun_us: AtomicI64,
    /// How long after its beginning the last one was handed to the screen, if something sees to that; else 0.
    after_us: AtomicI64,
}

impl PresentedAt {
    /// A frame that began at `begun_us` is handed to the screen now.
    #[cfg(feature = "ui")]
    pub(crate) fn now(&self, begun_us: i64) {
        let after_us = local_us().saturating_sub(begun_us).max(1);
        self.0.after_us.store(after_us, Ordering::Relaxed);
    }

    /// The beginning of the frame at work.
    #[cfg(feature = "ui")]
    pub(crate) fn begun_us(&self) -> i64 {
        self.0.begun_us.load(Ordering::Relaxed)
    }
}

impl FrameTimingMode {
    pub(crate) fn new(presented: PresentedAt) -> Self {
        Self { presented, ..Self::default() }
    }

    /// A frame begins.
    pub(crate) fn begins(&mut self, at_us: i64) {
        self.last_frames.begins(at_us);
        self.begun_us = at_us;
        self.presented.0.begun_us.store(at_us, Ordering::Relaxed);
        self.shown_after = self.last_frames.middle();
    }

    /// The frame at work has come to its end. Without a screen, that is when it is seen.
    pub(crate) fn frame_ends(&mut self) {
        let presented = self.presented.0.after_us.load(Ordering::Relaxed);
        let since_begun = || local_us().saturating_sub(self.begun_us);
        let after = if presented > 0 { presented } else { since_begun() };
        self.last_frames.was_shown_after(after);
    }

    /// How long after its beginning the frame at work will be seen.
    pub(crate) const fn shown_after(&self) -> Duration {
        self.shown_after
    }
}

pub(crate) fn build(app: &mut App) {
    if app.world().contains_resource::<Timeline>() {
        return;
    }
    app.init_resource::<Timeline>().init_resource::<PresentedAt>();
    #[cfg(feature = "ui")]
    crate::visualization::presentation::build(app);
}

/// For programs that do nothing else with the end of a frame.
pub(crate) fn build_frame_end(app: &mut App) {
    app.add_systems(Last, |mut link: ResMut<MeshSession<role::App>>| link.pace.frame_ends());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Resource, Default)]
    struct Counted {
        beats: usize,
        halves: usize,
        bars: usize,
    }

    /// An app whose frames are of those moments.
    struct Stage {
        app: App,
        current: hana_time::Timeline,
    }

    impl Stage {
        fn new() -> Self {
            let mut app = App::new();
            app.init_resource::<Timeline>().init_resource::<Counted>().add_systems(
                bevy_app::Update,
                (
                    (|mut counted: ResMut<Counted>| counted.beats += 1).run_if(on_beat(1.0)),
                    (|mut counted: ResMut<Counted>| counted.halves += 1).run_if(on_beat(0.5)),
                    (|mut counted: ResMut<Counted>| counted.bars += 1).run_if(on_bar),
                ),
            );
            Self { app, current: hana_time::Timeline::DEFAULT }
        }

        fn frame(&mut self, at_ms: i64) -> (usize, usize, usize) {
            let mut timeline = self.app.world_mut().resource_mut::<Timeline>();
            timeline.look(Some(self.current), at_ms * 1000);
            self.app.update();
            let Counted { beats, halves, bars } = self.app.world().resource();
            (*beats, *halves, *bars)
        }
    }

    #[test]
    fn systems_on_the_beat_run_in_one_frame_of_each_also_across_a_change_of_tempo() {
        let mut stage = Stage::new();
        let mut counted = (0, 0, 0);
        for at in (100..8_050).step_by(16) {
            counted = stage.frame(at);
        }
        // 16 beats in 8 seconds, 0 not among them.
        assert_eq!(counted, (15 + 1, 32, 4));
        stage.current = stage.current.with_tempo(60.0, 8_050_000).unwrap();
        for at in (8_050..16_200).step_by(16) {
            counted = stage.frame(at);
        }
        assert_eq!(counted, (16 + 8, 32 + 16, 6));
    }

    #[test]
    fn a_slow_frame_sees_a_beat_once() {
        let mut stage = Stage::new();
        stage.frame(100);
        assert_eq!(stage.frame(3_100), (1, 1, 1));
        assert_eq!(stage.frame(3_116), (1, 1, 1));
        assert_eq!(stage.frame(3_501), (2, 2, 1));
    }
}
