use bevy_app::App;
use bevy_ecs::prelude::*;
use hana_network::Node;
use hana_protocol::id::role::{NodeRole, Role};
use hana_time::BeatDetector;

use crate::timeline::frame_clock::{FrameClock, PresentedAt};

/// Tempo and beat of this frame: updated by the plugins before `Update`.
///
/// The beat is that of the moment at which this frame is expected to be seen, so an effect that begins on a beat is
/// seen on that beat, not a frame later. While no node publishes a timeline, a local timeline of 120 beats per minute
/// is used.
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
    /// The role whose node drives the timeline, if the program has two nodes.
    keeper: Option<Role>,
}

impl Default for Timeline {
    fn default() -> Self {
        let current = hana_time::Timeline::DEFAULT;
        Self { current, at_us: 0, is_shared: false, watch: BeatDetector::new(), keeper: None }
    }
}

impl Timeline {
    /// Beats per minute.
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

    /// The position in the bar, in beats: from 0 up to, not including, the quantum.
    #[must_use]
    pub fn phase(&self) -> f64 {
        self.current.phase_at(self.at_us)
    }

    /// Whether the transport plays. Beats advance in any case.
    #[must_use]
    pub const fn is_playing(&self) -> bool {
        self.current.is_playing()
    }

    /// Whether the timeline comes from the mesh instead of only from this machine.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Whether a multiple of `every` beats begins with this frame: [`on_beat`] as a method.
    #[must_use]
    pub fn begins(&self, every: f64) -> bool {
        self.watch.crossed(every)
    }

    /// The moment to which these values refer, in microseconds of this machine's clock ([`hana_network::local_us`]).
    #[must_use]
    pub const fn at_us(&self) -> i64 {
        self.at_us
    }

    /// Returns the plain timeline, to convert other beats and times.
    #[must_use]
    pub const fn get(&self) -> &hana_time::Timeline {
        &self.current
    }

    /// Begins a frame: updates the values to the moment at which the frame is expected to be seen.
    pub(crate) fn follow<R: NodeRole>(&mut self, node: Option<&Node<R>>, clock: &FrameClock) {
        if *self.keeper.get_or_insert(R::ROLE) != R::ROLE {
            return;
        }
        let ahead = i64::try_from(clock.shown_after().as_micros()).unwrap_or_default();
        let shown_us = clock.begun_us().saturating_add(ahead);
        self.look(node.and_then(|node| node.timeline().at(shown_us)), shown_us);
    }

    /// Begins a frame: updates the values to the moment `at_us`.
    pub(crate) fn look(&mut self, shared: Option<hana_time::Timeline>, at_us: i64) {
        self.is_shared = shared.is_some();
        self.current = shared.unwrap_or(hana_time::Timeline::DEFAULT);
        self.at_us = at_us;
        self.watch.look(&self.current, at_us);
    }
}

/// A run condition: a multiple of `every` beats begins with this frame.
///
/// `on_beat(1.0)` is true once a beat, `on_beat(0.5)` twice a beat. Each multiple makes the condition true in exactly
/// one frame, even if the tempo changes; several multiples within one long frame count once.
pub fn on_beat(every: f64) -> impl Fn(Res<Timeline>) -> bool + Clone {
    move |timeline: Res<Timeline>| timeline.begins(every)
}

/// A run condition: a bar begins with this frame.
#[must_use]
pub fn on_bar(timeline: Res<Timeline>) -> bool {
    timeline.begins(timeline.quantum())
}

pub(crate) fn build(app: &mut App) {
    if app.world().contains_resource::<Timeline>() {
        return;
    }
    app.init_resource::<Timeline>().init_resource::<PresentedAt>();
    #[cfg(feature = "ui")]
    crate::timeline::presentation::build(app);
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

    /// An app with frames at given moments.
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
    fn systems_on_the_beat_run_once_across_a_tempo_change() {
        let mut stage = Stage::new();
        let mut counted = (0, 0, 0);
        for at in (100..8_050).step_by(16) {
            counted = stage.frame(at);
        }
        // 16 beats in 8 seconds, not counting beat 0.
        assert_eq!(counted, (15 + 1, 32, 4));
        stage.current = stage.current.with_tempo(60.0, 8_050_000).unwrap();
        for at in (8_050..16_200).step_by(16) {
            counted = stage.frame(at);
        }
        assert_eq!(counted, (16 + 8, 32 + 16, 6));
    }

    #[test]
    fn slow_frame_runs_beat_systems_once() {
        let mut stage = Stage::new();
        stage.frame(100);
        assert_eq!(stage.frame(3_100), (1, 1, 1));
        assert_eq!(stage.frame(3_116), (1, 1, 1));
        assert_eq!(stage.frame(3_501), (2, 2, 1));
    }
}
