use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use hana_protocol::NodeId;
use hana_protocol::ParameterName;

/// What a visualization does with the parameters that an app had played last, once that app is gone: crashed, closed or
/// cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenAppVanishes {
    /// They stay as they are: what is seen does not change because somebody's laptop died.
    #[default]
    Hold,
    /// They go back to their defaults, as slowly as this. It begins once the app has been gone for
    /// [`WhenAppVanishes::GRACE`], and ends for each parameter as soon as somebody plays it.
    Ease(Duration),
}

impl WhenAppVanishes {
    /// An app whose daemon has crashed is back by itself before this.
    pub const GRACE: Duration = Duration::from_secs(6);
}

/// Who played which parameter last, and what becomes of it when he is gone. Pure.
#[derive(Debug)]
pub(crate) struct Hands {
    /// How slowly to ease.
    over: Duration,
    apps: BTreeMap<NodeId, App>,
    played: BTreeMap<ParameterName, Played>,
}

/// An app, by its tokens: while it changes its way onto the mesh it may have two.
#[derive(Debug, Default)]
struct App {
    tokens: BTreeSet<String>,
    gone: Option<Instant>,
}

#[derive(Debug)]
struct Played {
    by: NodeId,
    /// Where and when its way back began, once it has.
    from: Option<(f32, Instant)>,
}

/// Apps that are remembered: beyond, those that are there are not told from those that never were.
const MOST_APPS: usize = 256;

impl Hands {
    pub(crate) const fn new(over: Duration) -> Self {
        Self { over, apps: BTreeMap::new(), played: BTreeMap::new() }
    }

    /// A value was played or set; by nobody that is known, as by the program itself.
    pub(crate) fn played(&mut self, parameter: &ParameterName, by: Option<&NodeId>) {
        match (self.played.get_mut(parameter), by) {
            (Some(played), Some(by)) => {
                played.from = None;
                if played.by != *by {
                    played.by = by.clone();
                }
            },
            (None, Some(by)) => {
                self.played.insert(parameter.clone(), Played { by: by.clone(), from: None });
            },
            (Some(_), None) => drop(self.played.remove(parameter)),
            (None, None) => {},
        }
    }

    /// A token of an app is there.
    pub(crate) fn came(&mut self, app: &NodeId, token: &str) {
        if self.apps.len() >= MOST_APPS && !self.apps.contains_key(app) {
            self.apps.retain(|_, app| app.gone.is_none());
            if self.apps.len() >= MOST_APPS {
                return;
            }
        }
        let known = self.apps.entry(app.clone()).or_default();
        known.tokens.insert(token.into());
        known.gone = None;
        for played in self.played.values_mut().filter(|played| played.by == *app) {
            played.from = None;
        }
    }

    /// A token of an app is gone.
    pub(crate) fn went(&mut self, app: &NodeId, token: &str, now: Instant) {
        if let Some(known) = self.apps.get_mut(app) {
            known.tokens.remove(token);
            if known.tokens.is_empty() {
                known.gone.get_or_insert(now);
            }
        }
    }

    /// Tokens are looked for anew, since this node has another way onto the mesh: those that are there come again.
    pub(crate) fn look_anew(&mut self, now: Instant) {
        for app in self.apps.values_mut() {
            app.tokens.clear();
            app.gone.get_or_insert(now);
        }
    }

    /// Whether anything is on its way back, or may be soon.
    pub(crate) fn is_idle(&self) -> bool {
        self.apps.values().all(|app| app.gone.is_none()) || self.played.is_empty()
    }

    /// The values that are on their way back: which parameter, from its value and its default now to what. `value_of`
    /// says both.
    pub(crate) fn ease(
        &mut self,
        now: Instant,
        value_of: impl Fn(&ParameterName) -> Option<(f32, f32)>,
    ) -> Vec<(ParameterName, f32)> {
        let Self { over, apps, played } = self;
        let mut eased = vec![];
        played.retain(|name, played| {
            let gone = apps.get(&played.by).and_then(|app| app.gone);
            let is_due = |gone: Instant| now >= gone + WhenAppVanishes::GRACE;
            if !gone.is_some_and(is_due) {
                return true;
            }
            let Some((value, default)) = value_of(name) else { return false };
            // From where it is when that is first looked at, so that nothing ever jumps.
            let (from, begun) = *played.from.get_or_insert((value, now));
            let passed = now.saturating_duration_since(begun);
            let is_there = passed >= *over;
            let along = if is_there { 1.0 } else { passed.as_secs_f32() / over.as_secs_f32() };
            eased.push((name.clone(), (default - from).mul_add(smooth(along), from)));
            !is_there
        });
        eased
    }
}

/// Begins and ends gently; 0 to 1.
fn smooth(along: f32) -> f32 {
    along * along * 2.0_f32.mul_add(-along, 3.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests {
    use super::*;

    const OVER: Duration = Duration::from_secs(2);
    const GRACE: Duration = WhenAppVanishes::GRACE;

    struct Stage {
        hands: Hands,
        begun: Instant,
        values: BTreeMap<ParameterName, f32>,
    }

    fn name(text: &str) -> ParameterName {
        ParameterName::new(text).unwrap()
    }

    fn id(text: &str) -> NodeId {
        NodeId::new(text).unwrap()
    }

    impl Stage {
        fn new() -> Self {
            let mut hands = Hands::new(OVER);
            hands.came(&id("knob"), "1");
            Self { hands, begun: Instant::now(), values: BTreeMap::new() }
        }

        fn play(&mut self, parameter: &str, by: Option<&str>, value: f32) {
            self.hands.played(&name(parameter), by.map(id).as_ref());
            self.values.insert(name(parameter), value);
        }

        /// The value of zoom, whose default is 0, so long after the beginning.
        fn zoom(&mut self, after: Duration) -> f32 {
            let values = self.values.clone();
            let eased = self.hands.ease(self.begun + after, |name| Some((*values.get(name)?, 0.0)));
            self.values.extend(eased);
            self.values[&name("zoom")]
        }
    }

    #[test]
    fn what_a_vanished_app_played_goes_back_slowly_and_other_things_stay() {
        let mut stage = Stage::new();
        stage.play("zoom", Some("knob"), 1.0);
        stage.play("hue", Some("hana-123"), 0.5);
        stage.play("speed", None, 0.25);
        stage.hands.went(&id("knob"), "1", stage.begun);
        assert_eq!(stage.zoom(GRACE.mul_f32(0.99)), 1.0);
        let way: Vec<f32> = (0_u32..=4).map(|part| stage.zoom(GRACE + OVER / 4 * part)).collect();
        assert!(way.is_sorted_by(|a, b| a > b), "{way:?}");
        assert_eq!((way[0], way[2], way[4]), (1.0, 0.5, 0.0));
        assert_eq!((stage.values[&name("hue")], stage.values[&name("speed")]), (0.5, 0.25));
        // Once there, it is nobody's any more.
        stage.values.insert(name("zoom"), 0.75);
        assert_eq!(stage.zoom(GRACE + OVER * 2), 0.75);
    }

    #[test]
    fn an_app_that_is_back_in_time_has_lost_nothing() {
        let mut stage = Stage::new();
        stage.play("zoom", Some("knob"), 1.0);
        // By another way: the new token may come before the old one goes.
        stage.hands.came(&id("knob"), "2");
        stage.hands.went(&id("knob"), "1", stage.begun);
        assert_eq!(stage.zoom(GRACE + OVER), 1.0);
        stage.hands.went(&id("knob"), "2", stage.begun);
        stage.hands.came(&id("knob"), "3");
        assert_eq!(stage.zoom(GRACE + OVER), 1.0);
        // This node itself takes another way, and sees the app again.
        stage.hands.look_anew(stage.begun);
        stage.hands.came(&id("knob"), "3");
        assert_eq!(stage.zoom(GRACE + OVER), 1.0);
    }

    #[test]
    fn whoever_plays_it_meanwhile_has_it() {
        for by in [Some("other"), Some("knob"), None] {
            let mut stage = Stage::new();
            stage.play("zoom", Some("knob"), 1.0);
            stage.hands.went(&id("knob"), "1", stage.begun);
            assert_eq!(stage.zoom(GRACE), 1.0);
            assert_eq!(stage.zoom(GRACE + OVER / 2), 0.5);
            stage.play("zoom", by, 0.75);
            assert_eq!(stage.zoom(GRACE + OVER), 0.75);
            // What came from the vanished one itself was under way; nobody goes on with it.
            let last = if by == Some("knob") { 0.0 } else { 0.75 };
            assert_eq!(stage.zoom(GRACE + OVER * 3), last, "{by:?}");
        }
    }

    #[test]
    fn nothing_is_done_while_nobody_is_gone() {
        let mut stage = Stage::new();
        assert!(stage.hands.is_idle());
        stage.play("zoom", Some("knob"), 1.0);
        assert!(stage.hands.is_idle());
        stage.hands.went(&id("knob"), "1", stage.begun);
        assert!(!stage.hands.is_idle());
    }

    #[test]
    fn what_is_remembered_of_apps_is_bounded() {
        let mut stage = Stage::new();
        for number in 0..10_000 {
            stage.hands.came(&id(&format!("a{number}")), "1");
        }
        assert!(stage.hands.apps.len() <= MOST_APPS);
    }
}
