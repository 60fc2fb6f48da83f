use proptest::prelude::*;

use super::*;
use crate::message::control::Set;
use crate::parameter::modulator::period::Period;
use crate::parameter::modulator::wave::Wave;
use crate::parameter::parameter::ParameterName;
use crate::wire::codec;
use crate::wire::codec::Encoding;

/// Returns a timeline at two beats a second, with beat 0 at time 0 and bars of four.
fn at_120() -> Timeline {
    Timeline::new(120.0, 0, 0.0).unwrap()
}

fn zoom() -> Parameter {
    Parameter::new(ParameterName::new("zoom").unwrap(), 0.0)
}

fn flash() -> Parameter {
    Parameter::unipolar(ParameterName::new("flash").unwrap(), 0.0)
}

fn source(text: &str) -> Modulator {
    text.parse().unwrap()
}

/// Returns the values at the given beats.
fn values<const N: usize>(text: &str, of: &Parameter, beats: [f64; N]) -> [f32; N] {
    let (timeline, source) = (at_120(), source(text));
    beats.map(|beat| {
        let value = source.value_at(of, &timeline, timeline.time_at(beat));
        // Rounded to four decimal places.
        (value * 1e4).round() / 1e4
    })
}

#[test]
fn each_wave_has_the_shape_of_its_name() {
    let quarters = [0.0, 1.0, 2.0, 3.0, 4.0];
    assert_eq!(values("lfo:sine:1bar", &zoom(), quarters), [0.0, 1.0, 0.0, -1.0, 0.0]);
    assert_eq!(values("lfo:triangle:1bar", &zoom(), quarters), [0.0, 1.0, 0.0, -1.0, 0.0]);
    assert_eq!(values("lfo:triangle:1bar", &zoom(), [0.5, 1.5, 3.5]), [0.5, 0.5, -0.5]);
    assert_eq!(values("lfo:saw:1bar", &zoom(), quarters), [-1.0, -0.5, 0.0, 0.5, -1.0]);
    assert_eq!(values("lfo:square:1bar", &zoom(), [0.0, 1.9, 2.0, 3.9]), [1.0, 1.0, -1.0, -1.0]);
    let held = values("lfo:sample-and-hold:1beat", &zoom(), [7.0, 7.5, 7.99, 8.0]);
    assert!(held[0] == held[1] && held[1] == held[2] && held[2] != held[3], "{held:?}");
    let other = values("lfo:sample-and-hold:1beat:seed=1", &zoom(), [7.0]);
    assert_ne!(held[0], other[0]);
}

#[test]
fn lengths_are_beats_bars_and_seconds_also_before_beat_0() {
    assert_eq!(values("lfo:saw:2beats", &zoom(), [0.5, 2.5, -1.5]), [-0.5, -0.5, -0.5]);
    assert_eq!(values("lfo:saw:1/2beat", &zoom(), [0.125, 8.125]), [-0.5, -0.5]);
    assert_eq!(values("lfo:saw:2bars", &zoom(), [2.0, 10.0]), [-0.5, -0.5]);
    // Two beats last a second.
    assert_eq!(values("lfo:saw:4s", &zoom(), [2.0, 10.0]), [-0.5, -0.5]);
    assert_eq!(values("lfo:saw:500ms", &zoom(), [0.25, 1.25]), [-0.5, -0.5]);
}

#[test]
fn phase_depth_and_offset_apply_within_the_range() {
    assert_eq!(values("lfo:sine:1bar:phase=0.25", &zoom(), [0.0, 1.0]), [1.0, 0.0]);
    assert_eq!(values("lfo:sine:1bar:depth=0.5:offset=0.25", &zoom(), [1.0, 3.0]), [0.75, -0.25]);
    assert_eq!(values("lfo:saw:1bar:depth=-1", &zoom(), [0.0, 3.0]), [1.0, -0.5]);
    assert_eq!(values("lfo:square:1bar:offset=0.5", &zoom(), [0.0, 2.0]), [1.0, -0.5]);
}

#[test]
fn modulator_uses_the_range_of_its_parameter() {
    let mut speed = zoom();
    (speed.min, speed.max) = (0.0, 10.0);
    assert_eq!(values("lfo:sine:1bar", &speed, [0.0, 1.0, 3.0]), [5.0, 10.0, 0.0]);
    let lit = Parameter::toggle(ParameterName::new("lit").unwrap(), false);
    assert_eq!(values("lfo:square:1bar", &lit, [0.0, 1.9, 2.0]), [1.0, 1.0, 0.0]);
    let choices = ["rings", "spiral", "rain", "snow"].map(String::from).to_vec();
    let mode = Parameter::choice(ParameterName::new("mode").unwrap(), choices, 0);
    let seen = values("lfo:saw:1bar", &mode, [0.1, 0.9, 1.1, 1.9, 2.1, 2.9, 3.1, 3.9]);
    assert_eq!(seen, [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0], "a beat each");
}

#[test]
fn envelope_rises_and_falls_from_rest() {
    let text = "env:2bars:attack=1beat:decay=2beats:sustain=0.5:hold=1beat:release=1beat";
    let beats = [0.0, 0.5, 1.0, 2.0, 3.0, 3.9, 4.5, 5.0, 7.9, 8.5];
    assert_eq!(values(text, &flash(), beats), [0.0, 0.5, 1.0, 0.75, 0.5, 0.5, 0.25, 0.0, 0.0, 0.5]);
    assert_eq!(values("env:1beat", &flash(), [0.0, 0.25, 0.75, 1.0]), [1.0, 0.75, 0.25, 1.0]);
    // A bipolar parameter rests at 0; half a second is one beat.
    assert_eq!(values("env:1bar:decay=0.5s", &zoom(), [0.0, 0.5, 2.0]), [1.0, 0.5, 0.0]);
    assert_eq!(values("env:1bar:depth=-1", &zoom(), [0.0, 0.5, 2.0]), [-1.0, -0.5, 0.0]);
    assert_eq!(values("env:at=8", &flash(), [0.0, 7.9, 8.0, 8.5, 9.0, 16.0]), {
        [0.0, 0.0, 1.0, 0.5, 0.0, 0.0]
    });
}

#[test]
fn one_shot_envelope_starts_where_it_comes_into_force() {
    let once = source("env:once:decay=2beats");
    assert_eq!(once.value_at(&flash(), &at_120(), 0), 0.0);
    let begun = once.starting_at(12.0);
    assert_eq!(begun, source("env:at=12:decay=2beats"));
    assert_eq!(begun.starting_at(16.0), begun, "and nowhere else afterwards");
    assert_eq!(source("lfo:sine").starting_at(3.0), source("lfo:sine:1bar"));
}

#[test]
fn malformed_text_error_names_the_expected_form() {
    let told = |text: &str| text.parse::<Modulator>().unwrap_err().to_string();
    assert_eq!(
        told("lf:sine"),
        "'lf:sine' is not a modulator; write it like lfo:sine:1bar or env:1beat"
    );
    assert_eq!(
        told("lfo:sin:1bar"),
        "'sin' is neither a wave nor a length of time; waves are sine, triangle, saw, square, sample-and-hold, lengths such as 1bar, 2beats, 1/2beat, 3s"
    );
    for text in ["lfo:3", "lfo:bar", "lfo:1bars/2", "lfo:1/0x", "env:x", "env:decay=3"] {
        assert!(told(text).contains("such as 1bar") || told(text).contains("like 1bar"), "{text}");
    }
    assert_eq!(told("lfo:0beats"), "'period' is 0.015625beats to 65536beats here, not 0beats");
    assert_eq!(told("lfo:1ms"), "'period' is 0.01s to 86400s here, not 0.001s");
    assert_eq!(told("env:-1beats"), "'every' is 0.015625beats to 65536beats here, not -1beats");
    assert_eq!(
        told("lfo:NaNbeats"),
        "'NaNbeats' is neither a wave nor a length of time; waves are sine, triangle, saw, square, sample-and-hold, lengths such as 1bar, 2beats, 1/2beat, 3s"
    );
    assert_eq!(told("lfo:sine:depth=2"), "'depth' is a number from -1 to 1, not 2");
    assert_eq!(told("lfo:sine:phase=x"), "'phase' is a number from -1 to 1, not x");
    assert_eq!(told("lfo:sine:offset=nan"), "'offset' is a number from -1 to 1, not NaN");
    assert_eq!(
        told("lfo:sine:speed=1"),
        "'speed' is not a setting here; there are phase, depth, offset, seed, such as depth=0.5"
    );
    assert!(told("env:1bar:phase=1").contains("attack"));
    assert!(Modulator::looks_like_modulator("lfo:x") && !Modulator::looks_like_modulator("0.5"));
}

#[test]
fn modulator_is_a_map_on_the_wire_and_text_is_read_too() {
    let map = r#"{"modulators": {"zoom": {"lfo": {"wave": "saw", "period": {"beats": 2}}}}}"#;
    let word = r#"{"modulators": {"zoom": "lfo:saw:2beats"}}"#;
    let read = |text: &str| codec::decode_value::<Set>(text.as_bytes(), Encoding::Json, 4096);
    let set = read(map).unwrap();
    assert_eq!(set, read(word).unwrap());
    let packed = codec::encode(&set).unwrap();
    assert_eq!(codec::decode_value::<Set>(&packed, Encoding::MessagePack, 4096).unwrap(), set);
    for (wrong, said) in [
        (r#"{"modulators": {"zoom": "lfo:sin"}}"#, "neither a wave"),
        (r#"{"modulators": {"zoom": {"lfo": {"wave": "saw"}}}}"#, "period"),
        (
            r#"{"modulators": {"zoom": {"lfo": {"wave": "saw", "period": {"bars": 0}}}}}"#,
            "'period'",
        ),
        (r#"{"modulators": {"zoom": 0.5}}"#, "a text such as lfo:sine:1bar"),
    ] {
        let told = read(wrong).unwrap_err().to_string();
        assert!(told.contains(said), "{wrong}: {told}");
    }
}

fn periods() -> impl Strategy<Value = Period> {
    prop_oneof![
        (0.02..100.0_f64).prop_map(Period::Beats),
        (0.02..100.0_f64).prop_map(Period::Bars),
        (0.02..100.0_f64).prop_map(Period::Seconds),
    ]
}

fn lfos() -> impl Strategy<Value = Lfo> {
    let wave = prop::sample::select(Wave::ALL.to_vec());
    let numbers = (-1.0..1.0_f64, -1.0..=1.0_f32, -1.0..=1.0_f32, 0..3_u32);
    (wave, periods(), numbers).prop_map(|(wave, period, (phase, depth, offset, seed))| Lfo {
        wave,
        period,
        phase,
        depth,
        offset,
        seed,
    })
}

fn envelopes() -> impl Strategy<Value = Adsr> {
    let trigger = prop_oneof![
        periods().prop_map(Trigger::Every),
        (-100.0..100.0_f64).prop_map(Trigger::At),
        Just(Trigger::Once),
    ];
    let levels = (0.0..=1.0_f32, -1.0..=1.0_f32, -2.0..=2.0_f32);
    (trigger, [periods(), periods(), periods(), periods()], levels).prop_map(
        |(trigger, [attack, decay, hold, release], (sustain, depth, offset))| Adsr {
            trigger,
            attack,
            decay,
            sustain,
            hold,
            release,
            depth,
            offset,
        },
    )
}

fn sources() -> impl Strategy<Value = Modulator> {
    prop_oneof![lfos().prop_map(Modulator::Lfo), envelopes().prop_map(Modulator::Env)]
}

fn timelines() -> impl Strategy<Value = Timeline> {
    (20.0..=999.0_f64, -1_000_000_000..1_000_000_000_i64, -1e4..1e4_f64, 1..=9_u8).prop_map(
        |(bpm, at, beat, quantum)| {
            Timeline::new(bpm, at, beat).unwrap().with_quantum(f64::from(quantum)).unwrap()
        },
    )
}

proptest! {
    #![proptest_config(hana_random::cases(256))]

    #[test]
    fn value_is_one_that_the_parameter_accepts(
        source in sources(), timeline in timelines(), at: i64,
        min in -100.0..0.0_f32, span in 0.0..200.0_f32,
    ) {
        let range = Parameter { min, max: min + span, ..zoom() };
        let toggle = Parameter::toggle(ParameterName::new("lit").unwrap(), false);
        for parameter in [range, toggle, zoom(), flash()] {
            let value = source.value_at(&parameter, &timeline, at);
            prop_assert_eq!(parameter.check(value), Ok(value));
        }
    }

    #[test]
    fn wave_repeats_after_its_period(lfo in lfos(), timeline in timelines(), beat in -1e4..1e4_f64) {
        prop_assume!(lfo.wave != Wave::SampleAndHold);
        let waves = |at: f64| lfo.wave.height(at, 0);
        let period = lfo.period.in_beats(&timeline);
        let (then, later) = (beat / period, (beat + period) / period);
        // Rounding may move a step to either side of the two times.
        let near_step = |waves: f64| ((waves * 2.0).round() / 2.0 - waves).abs() < 1e-6;
        prop_assume!(!near_step(then));
        prop_assert!((waves(then) - waves(later)).abs() < 1e-4);
    }

    #[test]
    fn sine_and_triangle_never_jump(
        lfo in lfos(), timeline in timelines(), at in -1_000_000_000..1_000_000_000_i64, bpm in 20.0..=999.0_f64,
    ) {
        prop_assume!(matches!(lfo.wave, Wave::Sine | Wave::Triangle));
        let source = Modulator::Lfo(lfo);
        let value = |timeline: &Timeline, at| source.value_at(&zoom(), timeline, at);
        let before = value(&timeline, at);
        // At most 100 periods a second, each with a slope of 2 pi, so the change within 10 us is small.
        let least = lfo.period.in_beats(&timeline) / timeline.bpm() * 60.0;
        let most = 2.0 * std::f64::consts::TAU * 1e-5 / least + 1e-3;
        prop_assert!(f64::from((value(&timeline, at + 10) - before).abs()) < most);
        let other_tempo = timeline.with_tempo(bpm, at).unwrap();
        prop_assert!((value(&other_tempo, at) - before).abs() < 1e-3, "nor when the tempo changes");
    }

    #[test]
    fn hosts_with_different_clocks_agree(
        source in sources(), timeline in timelines(), at in -1_000_000_000..1_000_000_000_i64, ahead in -1_000_000_000_000..1_000_000_000_000_i64,
    ) {
        let in_seconds = |period: &Period| matches!(period, Period::Seconds(_));
        let by_local_clock = match &source {
            Modulator::Lfo(lfo) => in_seconds(&lfo.period),
            Modulator::Env(Adsr { trigger: Trigger::Every(every), .. }) => in_seconds(every),
            Modulator::Env(_) => false,
        };
        prop_assume!(!by_local_clock);
        let here = source.value_at(&zoom(), &timeline, at);
        let there = source.value_at(&zoom(), &timeline.on_clock(ahead), at + ahead);
        prop_assert_eq!(here, there);
    }

    #[test]
    fn modulator_survives_text_and_wire(source in sources()) {
        prop_assert_eq!(source.to_string().parse::<Modulator>().unwrap(), source);
        let set = Set::default().with_modulator(zoom().name, source);
        let packed = codec::encode(&set).unwrap();
        prop_assert_eq!(codec::decode_value(&packed, Encoding::MessagePack, 4096), Ok(set));
    }

    #[test]
    fn no_text_causes_a_panic(text in "(lfo|env)(:[a-z0-9=./-]{0,12}){0,5}") {
        if let Ok(source) = text.parse::<Modulator>() {
            let value = source.value_at(&zoom(), &at_120(), 12_345);
            prop_assert!((-1.0..=1.0).contains(&value));
        }
    }
}
