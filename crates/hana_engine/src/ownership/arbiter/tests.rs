use super::*;
use crate::ownership::mixer::MOST_CONTRIBUTIONS;
use crate::ownership::writers::MOST_APPS;

const OVER: Duration = Duration::from_secs(2);
const GRACE: Duration = OwnershipArbiter::GRACE;
const ZOOM: usize = 0;
const GLOW: usize = 1;

/// A visualization with two parameters: a zoom with one owner and a mixed glow.
struct Stage {
    arbiter: OwnershipArbiter,
    begun: Instant,
    now: Instant,
    zoom: f32,
}

fn id(text: &str) -> NodeId {
    NodeId::new(text).unwrap()
}

fn stamp(ms: u64, by: &str) -> Stamp {
    Stamp { ms, count: 0, by: id(by) }
}

fn declared() -> [Parameter; 2] {
    let name = |name| ParameterName::new(name).unwrap();
    let glow = Parameter { sharing: Sharing::Mix, ..Parameter::new(name("glow"), 0.25) };
    [Parameter::new(name("zoom"), 0.0), glow]
}

impl Stage {
    fn new() -> Self {
        let now = Instant::now();
        let mut arbiter = OwnershipArbiter::new(&declared());
        for app in ["knob", "desk", "osc"] {
            arbiter.token_added(&id(app), "1", now);
        }
        Self { arbiter, begun: now, now, zoom: 0.0 }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.arbiter.expire(self.now);
    }

    /// Plays a value of the zoom; returns the owner of the zoom if the value is refused.
    fn play(&mut self, by: Option<&str>, value: f32) -> Result<(), String> {
        let by = by.map(id);
        self.arbiter
            .may_play(ZOOM, by.as_ref(), self.now)
            .map_err(|held| format!("{} {:?}", held.by, held.how))?;
        self.arbiter.played(ZOOM, by.as_ref(), self.now);
        self.zoom = value;
        Ok(())
    }

    fn take(&mut self, by: &str, ms: u64, priority: i8) -> Result<(), String> {
        let taken = self.arbiter.take(ZOOM, &stamp(ms, by), Priority(priority), self.now);
        taken.map_err(|held| held.by.to_string())
    }

    fn holder(&self) -> Option<String> {
        let owners = self.arbiter.owners(self.now);
        let held = owners.owner_of(&declared()[ZOOM].name)?;
        Some(format!("{} {:?}", held.by, held.how))
    }

    fn told(&self) -> Vec<String> {
        let owners = self.arbiter.owners(self.now).owners;
        owners.iter().map(|held| format!("{} {:?}", held.by, held.how)).collect()
    }

    /// Returns the value of zoom at a time since the start, while values of vanished apps return to the default.
    fn eased(&mut self, after: Duration) -> f32 {
        let zoom = self.zoom;
        let eased = self.arbiter.fade_to_default(OVER, self.begun + after, |place| {
            (place == ZOOM).then_some((zoom, 0.0))
        });
        if let [(ZOOM, value)] = eased[..] {
            self.zoom = value;
        }
        self.zoom
    }
}

#[test]
fn playing_a_free_parameter_owns_it_until_a_pause() {
    let mut stage = Stage::new();
    stage.play(Some("knob"), 0.1).unwrap();
    assert_eq!(stage.play(Some("desk"), 0.2), Err("knob Active".into()));
    assert_eq!(stage.play(None, 0.2), Err("knob Active".into()), "nobody by name neither");
    stage.pass(OwnershipArbiter::IDLE_RELEASE / 2);
    stage.play(Some("knob"), 0.3).unwrap();
    stage.pass(OwnershipArbiter::IDLE_RELEASE.mul_f32(0.9));
    assert_eq!(stage.play(Some("desk"), 0.2), Err("knob Active".into()));
    stage.pass(OwnershipArbiter::IDLE_RELEASE / 2);
    assert_eq!(stage.holder(), None);
    stage.play(Some("desk"), 0.2).unwrap();
    assert_eq!(stage.holder().unwrap(), "desk Active");
}

#[test]
fn anonymous_writers_and_set_commands_own_nothing() {
    let mut stage = Stage::new();
    stage.play(None, 0.1).unwrap();
    stage.arbiter.was_set(ZOOM, Some(&id("desk")));
    assert_eq!(stage.holder(), None);
    stage.play(Some("knob"), 0.2).unwrap();
}

#[test]
fn claim_lasts_in_silence_until_released_or_taken() {
    let mut stage = Stage::new();
    stage.play(Some("knob"), 0.1).unwrap();
    stage.take("desk", 1, 0).unwrap();
    assert_eq!(stage.play(Some("knob"), 0.2), Err("desk Claimed".into()));
    stage.pass(Duration::from_hours(1));
    assert_eq!(stage.holder().unwrap(), "desk Claimed");
    stage.take("knob", 2, 0).unwrap();
    assert_eq!(stage.play(Some("desk"), 0.2), Err("knob Claimed".into()));
    // A delayed copy of the old claim arrives.
    assert_eq!(stage.take("desk", 1, 0), Err("knob".into()));
    stage.arbiter.release(ZOOM, &id("desk"), &stamp(3, "desk"));
    assert_eq!(stage.holder().unwrap(), "knob Claimed", "it is not the desk's to release");
    stage.arbiter.release(ZOOM, &id("knob"), &stamp(1, "knob"));
    assert_eq!(stage.holder().unwrap(), "knob Claimed", "it was taken after that release");
    stage.arbiter.release(ZOOM, &id("knob"), &stamp(4, "knob"));
    assert_eq!(stage.holder(), None);
    assert_eq!(stage.take("desk", 1, 0), Err("knob".into()), "older than what has ended since");
    stage.take("desk", 5, 0).unwrap();
}

#[test]
fn higher_priority_owns_while_playing_and_returns_on_pause() {
    let mut stage = Stage::new();
    stage.arbiter.has_priority(&id("desk"), Priority(5), stage.now);
    stage.take("knob", 1, 0).unwrap();
    stage.play(Some("desk"), 0.5).unwrap();
    assert_eq!(stage.told(), ["desk Active", "knob Claimed"]);
    assert_eq!(stage.play(Some("knob"), 0.1), Err("desk Active".into()));
    stage.pass(OwnershipArbiter::IDLE_RELEASE);
    assert_eq!(stage.holder().unwrap(), "knob Claimed");
    stage.take("desk", 2, 5).unwrap();
    assert_eq!(stage.take("knob", 3, 0), Err("desk".into()), "newer, and lower");
    assert_eq!(stage.play(Some("knob"), 0.1), Err("desk Claimed".into()));
}

#[test]
fn vanished_app_owns_for_the_grace_period_only() {
    let mut stage = Stage::new();
    stage.take("knob", 1, 0).unwrap();
    stage.arbiter.token_removed(&id("knob"), "1", stage.now);
    stage.pass(GRACE.mul_f32(0.9));
    assert_eq!(stage.holder().unwrap(), "knob Claimed");
    // The app's daemon is back, and so is the app.
    stage.arbiter.token_added(&id("knob"), "2", stage.now);
    stage.pass(GRACE * 2);
    assert_eq!(stage.holder().unwrap(), "knob Claimed");
    stage.arbiter.token_removed(&id("knob"), "2", stage.now);
    stage.pass(GRACE);
    assert_eq!(stage.told(), ["knob Abandoned"]);
    // No other controller has taken the parameter since, so the app's claim is valid when the app is back.
    stage.arbiter.token_added(&id("knob"), "3", stage.now);
    stage.take("knob", 1, 0).unwrap();
    stage.arbiter.token_removed(&id("knob"), "3", stage.now);
    stage.pass(GRACE);
    stage.take("desk", 2, 0).unwrap();
    stage.arbiter.release(ZOOM, &id("desk"), &stamp(3, "desk"));
    assert_eq!(stage.take("knob", 1, 0), Err("desk".into()), "it does not fight back");
}

#[test]
fn active_app_has_not_vanished_without_its_token() {
    let mut stage = Stage::new();
    stage.take("knob", 1, 0).unwrap();
    // Both daemons are down, but the direct link is up.
    stage.arbiter.reset_tokens("other way", stage.now);
    for _ in 0..10 {
        stage.pass(GRACE / 2);
        stage.play(Some("knob"), 0.5).unwrap();
    }
    assert_eq!(stage.holder().unwrap(), "knob Claimed");
    // An app whose token is not visible may take a parameter too.
    stage.take("stranger", 2, 0).unwrap();
    stage.pass(GRACE);
    assert_eq!(stage.told(), ["stranger Abandoned"]);
}

#[test]
fn preemption_by_a_command_lasts_until_the_player_pauses() {
    let mut stage = Stage::new();
    stage.take("knob", 1, 0).unwrap();
    assert_eq!(stage.arbiter.preempt(ZOOM, stamp(2, "hana-123"), stage.now), Some(id("knob")));
    assert_eq!(stage.told(), ["hana-123 Released"]);
    for _ in 0..10 {
        stage.pass(OwnershipArbiter::IDLE_RELEASE / 2);
        assert_eq!(stage.play(Some("knob"), 0.5), Err("hana-123 Released".into()));
    }
    assert_eq!(stage.take("knob", 1, 0), Err("hana-123".into()), "that take is over");
    stage.pass(OwnershipArbiter::IDLE_RELEASE);
    stage.play(Some("knob"), 0.5).unwrap();
    stage.arbiter.preempt(ZOOM, stamp(3, "hana-123"), stage.now);
    stage.take("knob", 4, 0).unwrap();
    stage.play(Some("knob"), 0.5).unwrap();
}

#[test]
fn contributions_add_up_and_leave_with_their_controllers() {
    let mut stage = Stage::new();
    let glow = &declared()[GLOW];
    for (by, value, sum) in [("knob", 0.5, 0.5), ("desk", 0.0, 0.25), ("osc", 1.0, 1.0)] {
        let by = id(by);
        stage.arbiter.may_play(GLOW, Some(&by), stage.now).unwrap();
        assert_eq!(stage.arbiter.mixed(GLOW, glow, Some(&by), value), sum);
        stage.arbiter.set_contribution(GLOW, Some(&by), value, stage.now);
        assert_eq!(stage.arbiter.mix(GLOW, glow), sum, "{by}");
    }
    assert_eq!(stage.arbiter.owners(stage.now).mixed[&glow.name].len(), 3);
    stage.arbiter.token_removed(&id("osc"), "1", stage.now);
    assert!(stage.arbiter.expire(stage.now + GRACE / 2).is_empty());
    assert_eq!(stage.arbiter.expire(stage.now + GRACE), [GLOW]);
    assert_eq!(stage.arbiter.mix(GLOW, glow), 0.25);
    assert!(stage.arbiter.remove_contribution(GLOW, &id("desk")));
    assert_eq!(stage.arbiter.mix(GLOW, glow), 0.5);
    stage.arbiter.set_mix(GLOW, -0.5, stage.now);
    assert_eq!(stage.arbiter.mix(GLOW, glow), -0.5, "what is set is all there is of it");
    // Both contributions are far off; only their sum is clamped.
    for (by, value) in [("knob", 1.0), ("desk", 1.0)] {
        stage.arbiter.set_contribution(GLOW, Some(&id(by)), value, stage.now);
    }
    assert_eq!(stage.arbiter.mix(GLOW, glow), 1.0);
}

#[test]
fn refusals_are_reported_at_intervals_with_their_number() {
    let mut stage = Stage::new();
    let mut told = vec![];
    for _ in 0..7000 {
        told.extend(stage.arbiter.refused(ZOOM, stage.now));
        stage.pass(Duration::from_millis(1));
    }
    assert_eq!(told, [1, 3000, 3000]);
}

#[test]
fn values_of_a_vanished_app_fade_to_default_unless_claimed() {
    let mut stage = Stage::new();
    stage.play(Some("knob"), 1.0).unwrap();
    stage.arbiter.token_removed(&id("knob"), "1", stage.begun);
    assert_eq!(stage.eased(GRACE.mul_f32(0.99)), 1.0);
    let way: Vec<f32> = (0_u32..=4).map(|part| stage.eased(GRACE + OVER / 4 * part)).collect();
    assert!(way.is_sorted_by(|a, b| a > b), "{way:?}");
    assert_eq!((way[0], way[2], way[4]), (1.0, 0.5, 0.0));
    // After the return to the default, the parameter has no owner.
    stage.zoom = 0.75;
    assert_eq!(stage.eased(GRACE + OVER * 2), 0.75);

    let mut stage = Stage::new();
    stage.play(Some("knob"), 1.0).unwrap();
    stage.arbiter.token_removed(&id("knob"), "1", stage.begun);
    stage.take("desk", 1, 0).unwrap();
    assert_eq!(stage.eased(GRACE + OVER), 1.0, "the look holds for who took over");
}

#[test]
fn app_back_within_the_grace_has_lost_nothing() {
    let mut stage = Stage::new();
    stage.play(Some("knob"), 1.0).unwrap();
    // The app reconnects: its new token may appear before the old one disappears.
    stage.arbiter.token_added(&id("knob"), "2", stage.begun);
    stage.arbiter.token_removed(&id("knob"), "1", stage.begun);
    assert_eq!(stage.eased(GRACE + OVER), 1.0);
    stage.arbiter.token_removed(&id("knob"), "2", stage.begun);
    stage.arbiter.token_added(&id("knob"), "3", stage.begun);
    assert_eq!(stage.eased(GRACE + OVER), 1.0);
    // This node reconnects and sees the app again.
    stage.arbiter.reset_tokens("other way", stage.begun);
    stage.arbiter.token_added(&id("knob"), "3", stage.begun);
    assert_eq!(stage.eased(GRACE + OVER), 1.0);
}

#[test]
fn playing_ends_the_fade_to_default() {
    for by in [Some("desk"), Some("knob"), None] {
        let mut stage = Stage::new();
        stage.play(Some("knob"), 1.0).unwrap();
        stage.arbiter.token_removed(&id("knob"), "1", stage.begun);
        assert_eq!(stage.eased(GRACE), 1.0);
        assert_eq!(stage.eased(GRACE + OVER / 2), 0.5);
        stage.now += GRACE + OVER / 2;
        stage.play(by, 0.75).unwrap();
        assert_eq!(stage.eased(GRACE + OVER), 0.75);
        // A value in transit from the vanished app returns to the default too: no controller keeps playing.
        let last = if by == Some("knob") { 0.0 } else { 0.75 };
        assert_eq!(stage.eased(GRACE * 3 + OVER * 5), if by == Some("knob") { 0.75 } else { last });
        assert_eq!(stage.eased(GRACE * 3 + OVER * 7), last, "{by:?}");
    }
}

#[test]
fn memory_is_bounded_for_made_up_names() {
    let mut stage = Stage::new();
    for number in 0..10_000 {
        let app = id(&format!("a{number}"));
        stage.arbiter.token_added(&app, "1", stage.now);
        stage.arbiter.take(ZOOM, &stamp(number, app.as_str()), Priority(1), stage.now).ok();
        stage.arbiter.set_contribution(GLOW, Some(&app), 0.5, stage.now);
    }
    assert!(stage.arbiter.writers.apps.len() <= MOST_APPS);
    assert!(stage.arbiter.slots[GLOW].contributions.apps().count() <= MOST_CONTRIBUTIONS);
    assert!(stage.arbiter.owners(stage.now).owners.len() <= 2);
}

#[test]
fn writers_are_watched_once_and_tokenless_ones_stay() {
    let mut stage = Stage::new();
    assert!(stage.arbiter.take_unwatched(stage.begun).is_empty(), "their tokens are seen already");
    stage.play(Some("late"), 1.0).unwrap();
    stage.take("pads", 1, 0).unwrap();
    assert_eq!(stage.arbiter.take_unwatched(stage.begun), [id("late"), id("pads")]);
    assert!(stage.arbiter.take_unwatched(stage.begun).is_empty());
    stage.arbiter.release(ZOOM, &id("pads"), &stamp(2, "pads"));
    stage.arbiter.reset_tokens("other way", stage.begun);
    assert_eq!(
        stage.eased(GRACE * 2 + OVER),
        1.0,
        "as a passing command, which leaves what it set"
    );
    stage.arbiter.token_added(&id("late"), "1", stage.begun);
    stage.arbiter.token_removed(&id("late"), "1", stage.begun);
    assert_eq!(stage.eased(GRACE), 1.0);
    assert_eq!(stage.eased(GRACE + OVER), 0.0);
}
