//! Ten controllers each play all thirty visualizations on five hosts, which makes three hundred play sessions.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use hana_lab::show::{Show, figure, node, nodes};
use hana_lab::{Ensemble, Host, Lab, eventually};
use serde_json::Value;

const HOSTS: [&str; 5] = ["h1", "h2", "h3", "h4", "h5"];
const VISUALIZATIONS: usize = 30;
const CONTROLLERS: usize = 10;
/// The time limit for all links to be direct.
///
/// Ten programs open three hundred links on two cores, which also run five daemons and thirty visualizations.
const ALL_DIRECT: Duration = Duration::from_mins(3);
const SOON: Duration = Duration::from_mins(1);

fn visualizations() -> Vec<String> {
    (0..VISUALIZATIONS).map(|number| format!("v{number}")).collect()
}

fn controllers() -> Vec<String> {
    (0..CONTROLLERS).map(|number| format!("a{number}")).collect()
}

/// The controller of each parameter of each visualization, according to one host.
type Players = BTreeMap<String, BTreeMap<String, String>>;

fn players(host: &Host) -> Players {
    let word = |held: &Value, name: &str| held[name].as_str().unwrap_or_default().to_owned();
    let of = |node: &Value| {
        let held = node["owners"].as_array().cloned().unwrap_or_default();
        let playing = held.into_iter().filter(|held| held["how"] == "active");
        playing.map(|held| (word(&held, "parameter"), word(&held, "by"))).collect()
    };
    let nodes = nodes(host);
    let visualizations = nodes.iter().filter(|node| node["role"] == "visualization");
    visualizations.map(|node| (word(node, "node"), of(node))).collect()
}

fn words(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

#[test]
fn ten_controllers_and_thirty_nodes_agree_on_owners() {
    let Some(lab) = Lab::new("crowd") else { return };
    let show = Show::of(&lab, &HOSTS);
    for name in HOSTS {
        eventually(SOON, "the hosts to find each other", || {
            let nodes = nodes(show.host(name));
            if HOSTS.iter().all(|of| node(&nodes, of).is_some()) { Ok(()) } else { Err(nodes) }
        });
    }
    let (vizs, ids) = (visualizations(), controllers());
    let each = |all: &[String], host: usize| -> Vec<String> {
        all.iter().skip(host).step_by(HOSTS.len()).cloned().collect()
    };
    let begun = Instant::now();
    let stages: Vec<Ensemble> = HOSTS
        .iter()
        .enumerate()
        .map(|(place, name)| {
            let more = format!("--parameters {CONTROLLERS} --look-us 20000");
            Ensemble::stage(show.host(name), &words(&each(&vizs, place)), &more)
        })
        .collect();
    // Each controller plays a different parameter on every visualization. Two of the ten are bridges.
    let players_of: Vec<Ensemble> = HOSTS
        .iter()
        .enumerate()
        .map(|(place, name)| {
            let own: Vec<String> = ids.iter().skip(place * 2).take(2).cloned().collect();
            let bridge = if place == 4 { " --bridge" } else { "" };
            let more = format!("--from {} --per-second 5{bridge}", place * 2);
            Ensemble::controllers(show.host(name), &words(&own), &words(&vizs), &more)
        })
        .collect();
    eventually(ALL_DIRECT, "three hundred sessions to be direct", || {
        let mut missing = vec![];
        for (number, id) in ids.iter().enumerate() {
            let last = players_of[number / 2].last(id).unwrap_or_default();
            let direct = |viz: &&String| last["plays"][viz.as_str()]["path"] != "direct";
            missing.extend(vizs.iter().filter(direct).map(|viz| format!("{id} {viz}")));
        }
        if missing.is_empty() { Ok(()) } else { Err(format!("{} {missing:?}", missing.len())) }
    });
    figure(&format!(
        "{} sessions were direct {:.1} s after their programs had been started",
        VISUALIZATIONS * CONTROLLERS,
        begun.elapsed().as_secs_f64()
    ));
    let heard = |viz: &str| -> Vec<u64> {
        let stage = &stages[vizs.iter().position(|of| of == viz).unwrap() % HOSTS.len()];
        let last = stage.last(viz).unwrap_or_default();
        let count = |number: usize| last["heard"][format!("p{number}")]["count"].as_u64();
        (0..CONTROLLERS).map(|number| count(number).unwrap_or(0)).collect()
    };
    let before: BTreeMap<&str, Vec<u64>> =
        vizs.iter().map(|viz| (viz.as_str(), heard(viz))).collect();
    eventually(SOON, "every visualization to receive values of every controller", || {
        for (viz, before) in &before {
            let now = heard(viz);
            if now.iter().zip(before).any(|(now, before)| *now < before + 5) {
                return Err(format!("{viz}: {now:?}, and {before:?} before"));
            }
        }
        Ok(())
    });
    let own: BTreeMap<String, String> =
        ids.iter().enumerate().map(|(number, id)| (format!("p{number}"), id.clone())).collect();
    let expected: Players = vizs.iter().map(|viz| (viz.clone(), own.clone())).collect();
    for name in HOSTS {
        eventually(SOON, "every host to show every owner", || {
            let shown = players(show.host(name));
            if shown == expected { Ok(()) } else { Err(format!("{name}: {shown:?}")) }
        });
    }
    // The play sessions continue to use direct links.
    let switches = |id: &str, of: &Ensemble| -> u64 {
        let last = of.last(id).unwrap_or_default();
        vizs.iter().map(|viz| last["plays"][viz.as_str()]["switches"].as_u64().unwrap_or(0)).sum()
    };
    let all_switches = || -> u64 {
        ids.iter().enumerate().map(|(number, id)| switches(id, &players_of[number / 2])).sum()
    };
    let (at, before) = (Instant::now(), all_switches());
    while at.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(200));
    }
    figure(&format!("{} path switches in ten seconds at rest", all_switches() - before));
    let mut backwards = 0;
    for viz in &vizs {
        let stage = &stages[vizs.iter().position(|of| of == viz).unwrap() % HOSTS.len()];
        let last = stage.last(viz).unwrap_or_default();
        let of = |number: usize| last["heard"][format!("p{number}")]["backwards"].as_u64();
        backwards += (0..CONTROLLERS).filter_map(of).sum::<u64>();
    }
    assert_eq!(backwards, 0, "values shown after newer ones");
}
