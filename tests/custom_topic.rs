//! A message type of its own, published by a visualization on one host and heard by one on another.
#![cfg(target_os = "linux")]
#![allow(clippy::panic, clippy::unwrap_used)]

use std::time::Duration;

use hana_tests::Lab;
use hana_tests::eventually;
use hana_tests::show::Lines;
use hana_tests::show::Show;
use hana_tests::show::hana;
use hana_tests::show::hana_goes_on;
use hana_tests::show::nodes;
use hana_tests::show::start;

const SOON: Duration = Duration::from_secs(10);

const CATALOGUE: &str = r#"
[visualizations.thrower]
program = "spark_thrower"

[visualizations.catcher]
program = "spark_catcher"
"#;

#[test]
fn sparks_fly_from_one_host_to_another_and_can_be_watched() {
    let Some(lab) = Lab::new("sparks") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2", "h3"], CATALOGUE);
    let [h1, h2, h3] = show.hosts() else { unreachable!() };
    start(h3, h1, "thrower");
    start(h3, h2, "catcher");

    let caught = eventually(SOON, "the catcher to catch", || {
        let log = hana(h3, ["logs", "catcher"]).ok().stdout;
        let sparks: Vec<u64> = log
            .lines()
            .filter(|line| line.contains("from thrower"))
            .filter_map(|line| line.strip_prefix("spark ")?.split(' ').next()?.parse().ok())
            .collect();
        if sparks.len() >= 3 { Ok(sparks) } else { Err(log) }
    });
    assert!(caught.is_sorted_by(|earlier, later| earlier < later), "each once: {caught:?}");

    // Decoded for whoever watches, though `hana` was not built with this type.
    let watch = hana_goes_on(h3, ["watch", "hana/*/topic/*", "--json"]);
    let mut messages = Lines::of(watch);
    let (_, spark) = messages.wait_for(SOON, "a spark", |_| true);
    assert_eq!(
        (&spark["key"], &spark["type"]),
        (&"hana/thrower/topic/spark".into(), &"spark".into())
    );
    assert_eq!(spark["from"], "thrower");
    let fields: Vec<&String> = spark["value"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["angle", "energy", "number"]);
    let number = spark["value"]["number"].as_u64().unwrap();
    messages.wait_for(SOON, "the next", |line| line["value"]["number"] == number + 1);

    // Its parameter reaches what it throws.
    hana(h2, ["set", "thrower", "energy=-1"]).ok();
    messages.wait_for(SOON, "a dark one", |line| line["value"]["energy"] == 0.0);
    assert_eq!(nodes(h1).len(), 5);
}

#[test]
fn a_thrower_that_comes_back_is_heard_again() {
    let Some(lab) = Lab::new("again") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let [h1, h2] = show.hosts() else { unreachable!() };
    start(h1, h1, "thrower");
    start(h1, h2, "catcher");
    let follower = hana_goes_on(h1, ["logs", "catcher", "--follow"]);
    eventually(SOON, "a spark", || follower.stdout().contains("from thrower"));
    hana(h2, ["stop", "thrower"]).ok();
    let before = follower.stdout().len();
    hana(h2, ["start", "thrower", "--host", "h1"]).ok();
    eventually(SOON, "a spark of the new one", || {
        follower.stdout()[before..].contains("spark 1 from thrower")
    });
}
