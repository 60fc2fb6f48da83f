//! Message types defined by visualizations, between hosts: published, sent to one node, and sent to a kind of node.
//!
//! Some programs have the type, some do not have it, and some have another type with the same name.

use std::time::Duration;

use hana_lab::show::{Lines, Show, hana, nodes, spawn_hana, start};
use hana_lab::{Host, Lab, Output, eventually, foreign};

const SOON: Duration = Duration::from_secs(10);

const CATALOGUE: &str = r#"
[visualizations.thrower]
program = "spark_thrower"

[visualizations.catcher]
program = "spark_catcher"

[visualizations.old]
program = "old_spark_catcher"
"#;

/// Returns the output of a node so far.
#[track_caller]
fn log(from: &Host, node: &str) -> String {
    hana(from, ["logs", node]).ok().stdout
}

/// Waits for an output line of a node that `is_expected` accepts, and returns the first such line.
#[track_caller]
fn written(from: &Host, node: &str, awaited: &str, is_expected: impl Fn(&str) -> bool) -> String {
    eventually(SOON, awaited, || {
        let log = log(from, node);
        log.lines().find(|line| is_expected(line)).map(String::from).ok_or(log)
    })
}

/// Repeats `hana send` until it succeeds, since the receiver may not have announced its subscriptions yet.
#[track_caller]
fn send(from: &Host, words: &[&str]) -> Output {
    let words: Vec<&str> = [&["send"], words].concat();
    eventually(SOON, "a message to be sent", || {
        let output = hana(from, &words);
        if output.code() == Some(0) { Ok(output) } else { Err(output.stderr) }
    })
}

#[test]
fn custom_messages_reach_topic_kind_and_node_and_are_watched() {
    let Some(lab) = Lab::new("sparks") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2", "h3"], CATALOGUE);
    let [h1, h2, h3] = show.hosts() else { unreachable!() };
    start(h3, h1, "thrower");
    start(h3, h2, "catcher");

    let caught = eventually(SOON, "three sparks at the catcher", || {
        let log = log(h3, "catcher");
        let sparks: Vec<u64> = log
            .lines()
            .filter(|line| line.contains("from thrower") && line.contains("to Some(Everybody)"))
            .filter_map(|line| line.strip_prefix("spark ")?.split(' ').next()?.parse().ok())
            .collect();
        if sparks.len() >= 3 { Ok(sparks) } else { Err(log) }
    });
    assert!(caught.is_sorted_by(|earlier, later| earlier < later), "each one once: {caught:?}");
    // Flares are sent to the kind of the catcher, which runs under another id. The catcher replies only to the
    // thrower.
    written(h3, "catcher", "a flare", |line| line.starts_with("flare 1: Red, to Some(Kind)"));
    written(h3, "thrower", "the reply", |line| line == "flare 1 was caught by catcher");

    // `hana watch` decodes the messages, although `hana` was built without these types.
    let mut messages = Lines::of(spawn_hana(h3, ["watch", "--json"]));
    let (_, spark) = messages.wait_for(SOON, "a spark", |line| line["type"] == "Spark");
    assert_eq!(spark["key"], "hana/thrower/topic/spark");
    assert_eq!((&spark["version"], &spark["from"]), (&2.into(), &"thrower".into()));
    let fields: Vec<&String> = spark["value"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["angle", "energy", "number"]);
    let number = spark["value"]["number"].as_u64().unwrap();
    messages.wait_for(SOON, "the next", |line| {
        line["type"] == "Spark" && line["value"]["number"] == number + 1
    });
    let (_, flare) = messages.wait_for(SOON, "a flare", |line| line["type"] == "Flare");
    assert_eq!(flare["key"], "hana/_spark-catcher/inbox/flare");
    assert!(["red", "green"].contains(&flare["value"]["colour"].as_str().unwrap()), "{flare}");
    let (_, caught) = messages.wait_for(SOON, "a reply", |line| line["type"] == "Caught");
    assert_eq!(caught["key"], "hana/thrower/inbox/caught");
    assert_eq!((&caught["from"], &caught["version"]), (&"catcher".into(), &1.into()));

    // A parameter of the thrower changes the thrower's sparks.
    hana(h2, ["set", "thrower", "energy=-1"]).ok();
    messages.wait_for(SOON, "a dark spark", |line| line["value"]["energy"] == 0.0);
    assert_eq!(nodes(h1).len(), 5);
}

#[test]
fn messages_of_a_restarted_publisher_are_received_again() {
    let Some(lab) = Lab::new("again") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let [h1, h2] = show.hosts() else { unreachable!() };
    start(h1, h1, "thrower");
    start(h1, h2, "catcher");
    let follower = spawn_hana(h1, ["logs", "catcher", "--follow"]);
    eventually(SOON, "a spark", || follower.stdout().contains("from thrower"));
    hana(h2, ["stop", "thrower"]).ok();
    let before = follower.stdout().len();
    hana(h2, ["start", "thrower", "--host", "h1"]).ok();
    eventually(SOON, "a spark of the new instance", || {
        follower.stdout()[before..].contains("spark 1 from thrower")
    });
}

#[test]
fn incompatible_schema_names_the_field_and_mutes_one_topic() {
    let Some(lab) = Lab::new("shape") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2", "h3"], CATALOGUE);
    let [h1, h2, h3] = show.hosts() else { unreachable!() };
    let mut messages = Lines::of_messages(h3, &["h1", "h2", "h3"]);
    start(h3, h2, "catcher");
    start(h3, h3, "old");
    start(h3, h1, "thrower");

    let words = "hana/thrower/topic/spark: 'old' reads energy as a text, 'thrower' (version 2) sends energy as a number; ignoring its messages on this topic until it restarts with a compatible schema";
    let (_, event) = messages.wait_for(SOON, "the mismatch", |line| {
        line["key"] == "hana/old/event" && line["value"]["kind"] == "message_refused"
    });
    assert_eq!(event["value"]["text"], words);
    // The program itself receives the mismatch too.
    written(h3, "old", "the mismatch", |line| line == format!("mismatch: {words}"));

    // Other messages are not affected: other topics of this node, and the same topic of other nodes.
    let last_number = |log: &str, what: &str| {
        let numbers =
            log.lines().filter_map(|line| line.strip_prefix(what)?.split([' ', ':']).next());
        numbers.filter_map(|number| number.parse::<u64>().ok()).max().unwrap_or_default()
    };
    let flares = last_number(&log(h3, "old"), "flare ");
    let sparks = last_number(&log(h3, "catcher"), "spark ");
    eventually(SOON, "two more flares there, four more sparks elsewhere", || {
        let (there, elsewhere) = (log(h3, "old"), log(h3, "catcher"));
        let goes_on = last_number(&there, "flare ") >= flares + 2
            && last_number(&elsewhere, "spark ") >= sparks + 4;
        if goes_on { Ok(there) } else { Err(format!("{there}\n{elsewhere}")) }
    });
    let there = log(h3, "old");
    assert_eq!(there.lines().filter(|line| line.starts_with("mismatch")).count(), 1, "{there}");
    assert!(!there.contains("spark 1"), "{there}");
    // The mismatch is reported once. The sparks received since then are counted in the health message.
    let malformed = |line: &serde_json::Value| line["value"]["counters"]["malformed"].as_u64();
    messages.wait_for(SOON, "four sparks that were not read", |line| {
        let again = line["key"] == "hana/old/event" && line["at"] != event["at"];
        assert!(!again, "a second report: {line}");
        line["key"] == "hana/old/health" && malformed(line) >= Some(4)
    });

    // A restarted sender is checked again: its first spark is compared and reported again.
    let mut messages = Lines::of_messages(h3, &["h1", "h2", "h3"]);
    hana(h3, ["restart", "thrower"]).ok();
    let (_, event) = messages.wait_for(SOON, "the mismatch again", |line| {
        line["key"] == "hana/old/event" && line["value"]["kind"] == "message_refused"
    });
    assert_eq!(event["value"]["text"], words);
}

#[test]
fn send_checks_messages_of_types_it_does_not_know() {
    let Some(lab) = Lab::new("send") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2", "h3"], CATALOGUE);
    let [h1, h2, h3] = show.hosts() else { unreachable!() };
    start(h3, h1, "catcher");
    start(h3, h2, "catcher");

    // `hana send NODE` lists the accepted messages, each with an example that works without changes.
    let offered = eventually(SOON, "the catcher to announce its subscriptions", || {
        let output = hana(h3, ["send", "catcher"]);
        if output.code() == Some(0) { Ok(output.stdout) } else { Err(output.stderr) }
    });
    assert!(offered.contains("spark: Spark, version 2, unreliable_unordered\n"), "{offered}");
    assert!(offered.contains("Number of sparks that flew before it."), "{offered}");
    let example = offered.lines().find(|line| line.contains("hana send catcher spark")).unwrap();
    assert_eq!(
        example.trim(),
        r#"hana send catcher spark '{"angle":0.0,"energy":0.0,"number":0}'"#
    );
    let offered = hana(h3, ["send", "catcher", "flare", "--json"]).ok().json();
    assert_eq!(offered[0]["type"], "Flare");
    assert_eq!(offered[0]["schema"]["properties"]["number"]["format"], "uint64");

    // The message is sent to one node, which replies. It is watched on a host that has none of the types.
    let mut watch = Lines::of(spawn_hana(h2, ["watch", "--json"]));
    watch.wait_for(SOON, "anything", |_| true);
    let spark = r#"{"number": 7, "angle": 0.5, "energy": 1}"#;
    let sent = send(h3, &["catcher", "spark", spark, "--json"]).json();
    assert_eq!((&sent["answer"], &sent["type"]), (&"accepted".into(), &"Spark".into()));
    let line = written(h3, "catcher", "the spark", |line| line.starts_with("spark 7 from hana-"));
    assert!(line.ends_with(": 0.50 rad, energy 1.00, to Some(Node)"), "{line}");
    let (_, passing) =
        watch.wait_for(SOON, "the spark", |line| line["key"] == "hana/catcher/inbox/spark");
    assert_eq!((&passing["type"], &passing["version"]), (&"Spark".into(), &2.into()));
    assert_eq!(passing["value"]["number"], 7);
    assert!(passing["from"].as_str().unwrap().starts_with("hana-"), "{passing}");
    let words = send(h3, &["catcher", "spark", spark]).stdout;
    assert_eq!(words.trim(), "'catcher' accepted the Spark (version 2)");

    // The message is sent to all nodes of a kind, on any host.
    let flare = r#"{"number": 90, "colour": "green"}"#;
    let sent = eventually(SOON, "a flare to two", || {
        let sent = send(h3, &["--kind", "spark-catcher", "flare", flare, "--json"]).json();
        if sent["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2) {
            Ok(sent)
        } else {
            Err(sent)
        }
    });
    assert_eq!(sent["nodes"], serde_json::json!(["catcher", "catcher-2"]));
    for node in ["catcher", "catcher-2"] {
        written(h3, node, "the flare", |line| line == "flare 90: Green, to Some(Kind)");
    }
    let (_, passing) =
        watch.wait_for(SOON, "the flare", |line| line["key"] == "hana/_spark-catcher/inbox/flare");
    assert_eq!(passing["type"], "Flare");

    // A message that does not fit is not sent, and the error names the field.
    for (words, error) in [
        (
            ["catcher", "spark", r#"{"number": 1, "angle": 0, "energy": "high"}"#].as_slice(),
            r#"not a valid Spark for 'catcher' (version 2): field 'energy': expected a number, found the text "high"; `hana send catcher spark` shows an example"#,
        ),
        (
            &["catcher", "spark", r#"{"number": -1, "angle": 0, "energy": 0}"#],
            "field 'number': expected a whole number, 0 or more, found the number -1",
        ),
        (
            &["catcher", "spark", r#"{"number": 1, "angle": 0}"#],
            "field 'energy': expected a number, found nothing",
        ),
        (
            &["--kind", "spark-catcher", "flare", r#"{"number": 1, "colour": "blue"}"#],
            r#"field 'colour': expected "red" or "green", found the text "blue""#,
        ),
        (
            &["catcher", "caught", "{}"],
            "'catcher' does not subscribe to 'caught'; it subscribes to spark, flare",
        ),
        (
            &["catcher", "sprak"],
            "'catcher' does not subscribe to 'sprak'; it subscribes to spark, flare",
        ),
        (
            &["h1", "spark", "{}"],
            "'h1' does not subscribe to 'spark'; it subscribes to no custom messages",
        ),
        (&["nobody", "spark", "{}"], "there is no 'nobody' on the mesh"),
        (&["--kind", "nobody", "spark", "{}"], "there is no node of the kind 'nobody' on the mesh"),
    ] {
        let output = hana(h3, [&["send"], words].concat());
        assert_eq!(output.code(), Some(1), "{words:?}: {output:?}");
        assert!(output.stderr.contains(error), "{words:?}: {}", output.stderr);
        assert_eq!(output.stderr.trim_end().lines().count(), 1, "{}", output.stderr);
    }
    let output = hana(h3, ["send", "catcher", "spark", "{number: 7}"]);
    assert_eq!(output.code(), Some(2), "{output:?}");
    assert!(!log(h3, "catcher").contains("spark 1 "));

    // A message to a node that hangs is not reported as delivered.
    let pid = nodes(h3).iter().find(|node| node["node"] == "catcher-2").unwrap()["pid"].as_i64();
    let pid = i32::try_from(pid.unwrap()).unwrap();
    h2.kill(hana_lab::Signal::STOP, pid);
    let output = hana(h3, ["send", "catcher-2", "spark", spark]);
    assert_ne!(output.code(), Some(0), "{output:?}");
    h2.kill(hana_lab::Signal::CONT, pid);
}

#[test]
fn app_without_the_types_shows_and_sends_messages() {
    let Some(lab) = Lab::new("message_monitor") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2", "h3"], CATALOGUE);
    let [h1, h2, h3] = show.hosts() else { unreachable!() };
    start(h3, h1, "thrower");
    start(h3, h2, "catcher");
    let app = |id: &str, words: &[&str]| {
        let mut command = h3.command("message_monitor");
        command.args(words).env("HANA_NODE", id);
        h3.spawn(command)
    };
    let app_1 = app("app-1", &["catcher", "flare", r#"{"number": 70, "colour": "red"}"#]);
    let app_2 = app("app-2", &["catcher", "flare", r#"{"number": "x", "colour": "red"}"#]);
    eventually(SOON, "the flare to be accepted", || {
        let printed = app_1.stdout();
        if printed.contains("'catcher' has taken the flare") { Ok(()) } else { Err(printed) }
    });
    written(h3, "catcher", "the flare", |line| line == "flare 70: Red, to Some(Node)");
    eventually(SOON, "the sparks to be shown", || {
        let printed = app_1.stdout();
        if printed.contains("thrower Spark v2: {\"angle\":") { Ok(()) } else { Err(printed) }
    });
    eventually(SOON, "the wrong flare to be refused", || {
        let printed = app_2.stdout();
        let words = "field 'number': expected a whole number, 0 or more, found the text \"x\"";
        if printed.contains(words) { Ok(()) } else { Err(printed) }
    });
}

#[test]
fn foreign_client_sends_a_message_and_gets_the_error() {
    let Some(lab) = Lab::new("foreign") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let [h1, h2] = show.hosts() else { unreachable!() };
    start(h1, h1, "catcher");
    let query = |message: &str| {
        let mut command = h2.command(foreign::zenoh());
        command.args(["--mode", "client", "get", "-s", "hana/catcher/inbox/spark"]);
        command.args(["-v", message, "--decoder", "hana"]);
        h2.run_within(SOON, command).ok().stdout
    };
    eventually(SOON, "a spark to be accepted", || {
        let answer = query(r#"{"number": 5, "angle": 0, "energy": 1}"#);
        if answer.contains(r#"{"accepted": {}}"#) { Ok(()) } else { Err(answer) }
    });
    let line = written(h2, "catcher", "the spark", |line| line.starts_with("spark 5 from "));
    assert!(line.starts_with("spark 5 from an unnamed sender: "), "{line}");
    let answer = query(r#"{"number": 6, "angle": 0, "energy": "high"}"#);
    assert!(answer.contains(r#"{"refused": "#) && answer.contains("field 'energy'"), "{answer}");

    // A put to the node or to its kind is accepted as well. An unreadable message is reported in an event.
    let mut messages = Lines::of_messages(h2, &["h1", "h2", "catcher"]);
    for (key, number) in [
        ("hana/catcher/inbox/spark", 7),
        ("hana/_spark-catcher/inbox/spark", 8),
        ("hana/x/topic/spark", 9),
    ] {
        let mut command = h2.command(foreign::zenoh());
        let spark = format!(r#"{{"number": {number}, "angle": 0, "energy": 1}}"#);
        command.args(["--mode", "client", "put", "-k", key, "-v", &spark]);
        h2.run_within(SOON, command).ok();
        let begin = format!("spark {number} from an unnamed sender: ");
        written(h2, "catcher", "the spark", |line| line.starts_with(&begin));
    }
    let mut command = h2.command(foreign::zenoh());
    command.args(["--mode", "client", "put", "-k", "hana/x/topic/spark", "-v", r#"{"number": 1}"#]);
    h2.run_within(SOON, command).ok();
    let (_, event) = messages.wait_for(SOON, "an event", |line| {
        line["key"] == "hana/catcher/event"
            && line["value"]["text"]
                .as_str()
                .is_some_and(|text| text.contains("hana/x/topic/spark"))
    });
    let text = event["value"]["text"].as_str().unwrap();
    let words = "hana/x/topic/spark: the Spark from an unnamed sender cannot be used: missing field `angle`";
    assert!(text.starts_with(words), "{text}");
}
