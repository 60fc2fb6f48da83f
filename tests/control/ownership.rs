//! Several operators play one show. Each parameter has one owner, and all operators see the same owner, whatever
//! happens to the network and the programs. An operator who loses a parameter is notified.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime};

use hana_lab::show::{Show, figure, hana, node, nodes, start};
use hana_lab::{
    Ensemble, Host, Key, Lab, Person, Running, Screen, Signal, eventually, project_root,
};
use hana_random::Random;
use serde_json::Value;

/// The time limit for steps without a promised time, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(30);
/// The time limit for the halves of a network to find each other, on a machine that is busy with other tests.
const WHOLE_AGAIN: Duration = Duration::from_mins(1);
/// The longest accepted time for the halves of a network to find each other, in milliseconds.
///
/// Usually it takes less than a second. A busy machine takes longer, and Zenoh alone takes up to eight seconds.
const SOON_WHOLE: u64 = 5_000;
/// The promised time for all operators to agree.
const PROMISED: Duration = Duration::from_secs(1);

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// Operators in one program, which the test controls by lines on its input.
struct Operators {
    running: Running,
    commands: File,
    ids: Vec<String>,
}

/// The owners in each visualization from one point of view, such as `zoom desk claimed`.
type Owners = BTreeMap<String, BTreeSet<String>>;

impl Operators {
    fn start(host: &Host, ids: &[&str]) -> Self {
        let name = format!("orders-{}-{}", ids[0], unix_ms());
        let pipe: PathBuf = host.directory().join("tmp").join(name);
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        // The pipe is opened for both directions, so that neither side waits for the other.
        let commands = File::options().read(true).write(true).open(&pipe).unwrap();
        let mut command = host.command("sh");
        command
            .args(["-c", &format!("exec shared_control {} < '{}'", ids.join(" "), pipe.display())]);
        let running = host.spawn(command);
        Self { running, commands, ids: ids.iter().map(ToString::to_string).collect() }
    }

    fn commands(&mut self, line: &str) {
        writeln!(self.commands, "{line}").unwrap();
    }

    fn lines(&self, id: &str) -> Vec<Value> {
        let text = self.running.stdout();
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        let lines = text[..whole].lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["node"] == id).collect()
    }

    /// Returns the notifications of an operator.
    fn notifications(&self, id: &str) -> Vec<String> {
        let lines = self.lines(id);
        lines.iter().filter_map(|line| Some(line["told"].as_str()?.to_owned())).collect()
    }

    /// Returns the last view of an operator, and its time.
    fn view(&self, id: &str) -> Option<(u64, Value)> {
        let last = self.lines(id).into_iter().rfind(|line| line["sees"].is_object())?;
        Some((last["at"].as_u64()?, last["sees"].clone()))
    }
}

fn owners_of(view: &Value) -> Owners {
    let words = |held: &Value| {
        let held = held.as_array().unwrap().iter();
        held.map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let nodes = view["owners"].as_object().unwrap();
    nodes.iter().map(|(node, held)| (node.clone(), words(held))).collect()
}

/// Returns the owners as `hana nodes` lists them.
fn owners_by_command(host: &Host) -> Owners {
    let nodes = nodes(host);
    let alive = nodes.iter().filter(|node| node["role"] == "visualization");
    let of = |node: &Value| {
        let held = node["owners"].as_array().cloned().unwrap_or_default();
        let word = |held: &Value| {
            let part = |name: &str| held[name].as_str().unwrap_or_default().to_owned();
            let how = part("how");
            let is_held = ["active", "claimed"].contains(&how.as_str());
            is_held.then(|| format!("{} {} {how}", part("parameter"), part("by")))
        };
        held.iter().filter_map(word).collect()
    };
    alive.map(|node| (node["node"].as_str().unwrap().to_owned(), of(node))).collect()
}

/// Returns the owners if all operators see the same ones, and each operator's claims are among them.
///
/// Also returns the time at which the last operator reported this view.
fn agreed(desks: &[&Operators], visualizations: usize) -> Result<(u64, Owners), String> {
    let mut all: Option<(u64, Owners)> = None;
    for desk in desks {
        for id in &desk.ids {
            let (at, view) = desk.view(id).ok_or_else(|| format!("{id} has no view"))?;
            let owners = owners_of(&view);
            if owners.len() != visualizations {
                return Err(format!("{id} sees {:?}", owners.keys().collect::<Vec<_>>()));
            }
            let taken = owners.iter().flat_map(|(node, held)| {
                let own =
                    held.iter().filter_map(|word| word.strip_suffix(&format!(" {id} claimed")));
                own.map(move |name| format!("{node} {name}"))
            });
            let taken: BTreeSet<String> = taken.collect();
            let claims = view["claims"].as_array().unwrap().iter();
            let claims: BTreeSet<String> =
                claims.map(|wish| wish.as_str().unwrap().to_owned()).collect();
            if taken != claims {
                return Err(format!("{id} has {taken:?} and claims {claims:?}"));
            }
            match &mut all {
                None => all = Some((at, owners)),
                Some((last, known)) if *known == owners => *last = at.max(*last),
                Some((_, known)) => return Err(format!("{id} sees {owners:?}, not {known:?}")),
            }
        }
    }
    all.ok_or_else(|| "there is no operator".into())
}

/// Waits until all operators agree, and returns the time at which they did, with the owners.
#[track_caller]
fn wait_until_agreed(
    desks: &[&Operators],
    visualizations: usize,
    is_expected: impl Fn(&Owners) -> bool,
) -> (u64, Owners) {
    eventually(WHOLE_AGAIN, "all to agree on the owners", || {
        let agreed = agreed(desks, visualizations)?;
        if is_expected(&agreed.1) { Ok(agreed) } else { Err(format!("{agreed:?}")) }
    })
}

/// Returns the owner of a parameter.
fn owner<'a>(owners: &'a Owners, node: &str, parameter: &str) -> Option<&'a str> {
    let held = owners.get(node)?.iter().find(|word| word.starts_with(&format!("{parameter} ")))?;
    held.split(' ').nth(1)
}

const CATALOGUE: &str = r#"
[visualizations.v1]
program = "no_bevy"

[visualizations.v2]
program = "no_bevy"

[visualizations.v3]
program = "no_bevy"

[visualizations.pulse]
program = "pulse"
"#;

fn wait_until_running(host: &Host, id: &str) {
    eventually(SOON, "the visualization to run", || {
        let nodes = nodes(host);
        if hana_lab::show::is(&nodes, id, "running") { Ok(()) } else { Err(nodes) }
    });
}

fn there(desks: &[Option<Operators>]) -> Vec<&Operators> {
    desks.iter().flatten().collect()
}

#[test]
fn all_agree_on_owners_after_random_claims_and_failures() {
    let Some(lab) = Lab::new("hands") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2", "h3"], CATALOGUE);
    let hosts: Vec<&Host> = ["h1", "h2", "h3"].map(|name| show.host(name)).into();
    let vizs = ["v1", "v2", "v3"];
    for (host, viz) in hosts.iter().zip(vizs) {
        start(host, host, viz);
    }
    let seats = [("a", 0), ("b", 0), ("c", 1), ("d", 2)];
    let mut desks: Vec<Option<Operators>> =
        seats.iter().map(|(id, host)| Some(Operators::start(hosts[*host], &[id]))).collect();
    wait_until_agreed(&there(&desks), 3, |_| true);
    let mut chance = Random::of_this_run();
    let mut did = vec![];
    for _ in 0..20 {
        let (who, viz) = (chance.index(4), vizs[chance.index(3)]);
        let parameter = ["zoom", "speed"][chance.index(2)];
        let (id, at) = seats[who];
        let happens = chance.index(15);
        let order = match happens {
            0..=5 => Some(format!("{id} take {viz} {parameter}")),
            6 | 7 => Some(format!("{id} release {viz} {parameter}")),
            8 => Some(format!("{id} takeover {}", seats[chance.index(4)].0)),
            _ => None,
        };
        if let Some(order) = order {
            if let Some(desk) = &mut desks[who] {
                desk.commands(&order);
            }
            did.push(order);
        } else if happens < 11 {
            // A visualization crashes, and its daemon restarts it.
            let at = vizs.iter().position(|of| *of == viz).unwrap();
            let pid = node(&nodes(hosts[at]), viz).and_then(|node| node["pid"].as_i64());
            if let Some(pid) = pid {
                hosts[at].kill(Signal::KILL, pid.try_into().unwrap());
            }
            did.push(format!("{viz} crashes"));
        } else if happens < 13 {
            match &mut desks[who] {
                Some(desk) => {
                    desk.running.kill(Signal::KILL);
                    desk.running.wait(SOON);
                    desks[who] = None;
                    did.push(format!("{id} crashes"));
                },
                none => {
                    *none = Some(Operators::start(hosts[at], &[id]));
                    did.push(format!("{id} is back"));
                },
            }
        } else if happens == 13 {
            lab.partition(&hosts[..2], &hosts[2..]);
            did.push("h3 is cut off".into());
        } else {
            lab.heal();
            did.push("the network is whole".into());
        }
        thread::sleep(Duration::from_millis(chance.below(700)));
    }
    figure(&did.join("; "));
    lab.heal();
    let healed = unix_ms();
    for (desk, (id, host)) in desks.iter_mut().zip(seats) {
        desk.get_or_insert_with(|| Operators::start(hosts[host], &[id]));
    }
    let (at, _) = wait_until_agreed(&there(&desks), 3, |_| true);
    let whole = at.saturating_sub(healed);
    figure(&format!("all agree {whole} ms after the network is whole"));
    assert!(whole < SOON_WHOLE, "{whole} ms");
    // By now, all nodes have discovered each other.
    let mut took: Vec<u64> = (0..5)
        .map(|round| {
            let (id, _) = seats[round % 4];
            let viz = vizs[round % 3];
            let before = unix_ms();
            desks[round % 4].as_mut().unwrap().commands(&format!("{id} take {viz} speed"));
            let wished = |owners: &Owners| owner(owners, viz, "speed") == Some(id);
            let (at, _) = wait_until_agreed(&there(&desks), 3, wished);
            at.saturating_sub(before)
        })
        .collect();
    took.sort_unstable();
    figure(&format!("all agree {took:?} ms after a claim, in order"));
    assert!(u128::from(took[2]) <= PROMISED.as_millis(), "{took:?}");
    // A command that is started now on each host lists the same owners.
    let (_, owners) = wait_until_agreed(&there(&desks), 3, |_| true);
    for host in hosts {
        eventually(SOON, "the same owners on every host", || {
            let shown = owners_by_command(host);
            if shown == owners { Ok(()) } else { Err(format!("{shown:?}, not {owners:?}")) }
        });
    }
}

#[test]
fn concurrent_claims_end_with_one_owner_and_two_notifications() {
    let Some(lab) = Lab::new("apart") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    start(h1, h1, "v1");
    let mut desks = [Operators::start(h1, &["near"]), Operators::start(h2, &["far"])];
    wait_until_agreed(&[&desks[0], &desks[1]], 1, |_| true);
    lab.partition(&[h1], &[h2]);
    let knows = |desk: &Operators, id: &str| {
        desk.view(id).is_some_and(|(_, view)| view["owners"].get("v1").is_some())
    };
    eventually(SOON, "the two sides to lose each other", || !knows(&desks[1], "far"));
    desks[0].commands("near take v1 zoom");
    eventually(SOON, "the near operator to own it", || {
        let view = desks[0].view("near");
        let has = view
            .as_ref()
            .is_some_and(|(_, view)| owner(&owners_of(view), "v1", "zoom") == Some("near"));
        if has { Ok(()) } else { Err(view) }
    });
    desks[1].commands("far take v1 zoom");
    eventually(SOON, "the far operator to claim it", || {
        desks[1].view("far").is_some_and(|(_, view)| view["claims"][0] == "v1 zoom")
    });
    lab.heal();
    let healed = unix_ms();
    let wished = |owners: &Owners| owner(owners, "v1", "zoom") == Some("far");
    let (at, _) = wait_until_agreed(&[&desks[0], &desks[1]], 1, wished);
    figure(&format!("one owner {} ms after the network is whole", at.saturating_sub(healed)));
    for (desk, id, wished) in [
        (&desks[0], "near", "far took zoom of v1"),
        (&desks[1], "far", "near had taken zoom of v1"),
    ] {
        eventually(SOON, "the notification of both", || {
            let notifications = desk.notifications(id);
            if notifications.iter().any(|notifications| notifications.contains(wished)) {
                Ok(())
            } else {
                Err(notifications)
            }
        });
    }
    // Only the operator on the other side may play the parameter now.
    let refused = hana(h1, ["set", "v1", "zoom=0.5"]);
    assert!(refused.stderr.contains("'far' has taken zoom"), "{}", refused.stderr);
    hana(h1, ["set", "v1", "zoom=0.5", "--take"]).ok();
    eventually(SOON, "the notification of the far operator", || {
        let notifications = desks[1].notifications("far");
        if notifications.iter().any(|notifications| notifications.starts_with("hana-")) {
            Ok(())
        } else {
            Err(notifications)
        }
    });
    let shown = eventually(SOON, "the value", || {
        let nodes = nodes(h1);
        let zoom = node(&nodes, "v1").and_then(|node| node["parameters"]["zoom"].as_f64());
        if zoom == Some(0.5) { Ok(zoom) } else { Err(nodes) }
    });
    assert_eq!(shown, Some(0.5));
}

#[test]
fn six_apps_and_nine_visualizations_agree_on_every_owner() {
    let Some(lab) = Lab::new("crowd") else { return };
    let names = ["h1", "h2", "h3"];
    let show = Show::of(&lab, &names);
    for name in names {
        eventually(SOON, "the hosts to find each other", || {
            let nodes = nodes(show.host(name));
            if names.iter().all(|of| node(&nodes, of).is_some()) { Ok(()) } else { Err(nodes) }
        });
    }
    let vizs: Vec<String> = (0..9).map(|number| format!("v{number}")).collect();
    let _stage: Vec<Ensemble> = (0..3)
        .map(|host| {
            let ids: Vec<&str> = vizs.iter().skip(host).step_by(3).map(String::as_str).collect();
            Ensemble::stage(show.host(names[host]), &ids, "--parameters 2")
        })
        .collect();
    let ids: Vec<[String; 2]> =
        (0..3).map(|number| [format!("a{number}"), format!("b{number}")]).collect();
    let mut desks: Vec<Operators> = names
        .iter()
        .zip(&ids)
        .map(|(name, [a, b])| Operators::start(show.host(name), &[a.as_str(), b.as_str()]))
        .collect();
    wait_until_agreed(&desks.iter().collect::<Vec<_>>(), 9, |_| true);
    // All apps claim all parameters, each in a different order, and some play the parameters that they may play.
    let mut chance = Random::of_this_run();
    let mut commands: Vec<(usize, String)> = vec![];
    for (place, ids) in ids.iter().enumerate() {
        for id in ids {
            for viz in &vizs {
                let verb = ["take", "take", "play"][chance.index(3)];
                let value = if verb == "play" { " 0.5" } else { "" };
                for parameter in ["p0", "p1"] {
                    commands.push((place, format!("{id} {verb} {viz} {parameter}{value}")));
                }
            }
        }
    }
    for place in (1..commands.len()).rev() {
        commands.swap(place, chance.index(place + 1));
    }
    for (place, order) in &commands {
        desks[*place].commands(order);
    }
    let last = unix_ms();
    let desks: Vec<&Operators> = desks.iter().collect();
    let is_all_owned = |owners: &Owners| {
        let held = |viz: &String| ["p0", "p1"].map(|name| owner(owners, viz, name).is_some());
        vizs.iter().all(|viz| held(viz) == [true, true] && owners[viz].len() == 2)
    };
    let (at, owners) = wait_until_agreed(&desks, 9, is_all_owned);
    figure(&format!(
        "six apps sent {} commands to nine visualizations on three hosts; all saw the same owners {} ms after the last",
        commands.len(),
        at.saturating_sub(last)
    ));
    for name in names {
        let host = show.host(name);
        eventually(SOON, "the same owners on every host", || {
            let shown = owners_by_command(host);
            if shown == owners { Ok(()) } else { Err(format!("{shown:?}, not {owners:?}")) }
        });
    }
}

#[test]
fn look_of_a_killed_app_stays_and_a_key_takes_it_over() {
    let Some(lab) = Lab::new("takeover") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    start(h1, h1, "pulse");
    wait_until_running(h1, "pulse");
    let mut desk = Operators::start(h2, &["desk"]);
    wait_until_agreed(&[&desk], 1, |_| true);
    for order in ["take pulse zoom hue", "play pulse zoom 0.75", "note cue five is next"] {
        desk.commands(&format!("desk {order}"));
    }
    let zoom = || node(&nodes(h1), "pulse").and_then(|node| node["parameters"]["zoom"].as_f64());
    eventually(SOON, "the visualization to be played", || {
        if zoom() == Some(0.75) { Ok(()) } else { Err(zoom()) }
    });
    let screen = Screen::new(1280, 720);
    let mut command = h1.command("hana-app");
    command.env("DISPLAY", screen.display());
    let _app = h1.spawn(command);
    eventually(WHOLE_AGAIN, "the window", || {
        let windows = screen.windows();
        if windows.iter().any(|window| window.title == "hana") { Ok(()) } else { Err(windows) }
    });
    let person = Person::at(&screen);
    person.choose("hana");
    wait_until_running(h1, "app-h1");
    let picture = |name: &str| {
        if let Some(pictures) = std::env::var_os("HANA_PICTURES") {
            screen.screenshot().save_png(project_root().join(pictures).join(name));
        }
    };
    desk.running.kill(Signal::KILL);
    desk.running.wait(SOON);
    eventually(SOON, "the app to be gone", || node(&nodes(h1), "desk").is_none());
    let owners = || owners_by_command(h1).remove("pulse").unwrap_or_default();
    let mut presses = 0;
    eventually(SOON, "the second app to own it", || {
        // A window takes a moment to get the keyboard focus.
        if presses % 100 == 0 {
            person.press(Key::O);
            person.release(Key::O);
        }
        presses += 1;
        let owners = owners();
        let has =
            ["hue app-h1 claimed", "zoom app-h1 claimed"].iter().all(|of| owners.contains(*of));
        if has { Ok(()) } else { Err(owners) }
    });
    assert_eq!(zoom(), Some(0.75), "the look stays");
    picture("owners.png");
    // The first app returns, and does not claim any parameter again.
    let desk = Operators::start(h2, &["desk"]);
    let wished = |owners: &Owners| owner(owners, "pulse", "zoom") == Some("app-h1");
    wait_until_agreed(&[&desk], 1, wished);
    thread::sleep(Duration::from_secs(2));
    assert!(owners().contains("zoom app-h1 claimed"), "{:?}", owners());
}

#[test]
fn returning_operator_is_notified_of_the_takeover_and_yields() {
    let Some(lab) = Lab::new("returns") else { return };
    let show = Show::with_catalogue(&lab, &["h1", "h2"], CATALOGUE);
    let (h1, h2) = (show.host("h1"), show.host("h2"));
    start(h1, h1, "v1");
    let mut first = Operators::start(h2, &["first"]);
    let mut second = Operators::start(h1, &["second"]);
    wait_until_agreed(&[&first, &second], 1, |_| true);
    first.commands("first take v1 zoom speed");
    let all_of = |id: &'static str| {
        move |owners: &Owners| {
            ["zoom", "speed"].map(|name| owner(owners, "v1", name)) == [Some(id); 2]
        }
    };
    wait_until_agreed(&[&first, &second], 1, all_of("first"));
    h2.unplug();
    eventually(SOON, "the loss of the first", || {
        second.view("second").is_some_and(|(_, view)| view["left"]["first"] == 2)
    });
    let before = unix_ms();
    second.commands("second takeover first");
    let (at, _) = wait_until_agreed(&[&second], 1, all_of("second"));
    figure(&format!("taken over {} ms after the command", at.saturating_sub(before)));
    h2.plug();
    wait_until_agreed(&[&first, &second], 1, all_of("second"));
    eventually(SOON, "the notification of the first", || {
        let notifications = first.notifications("first");
        let of = |name: &str| format!("second took {name} of v1 from you");
        let is_notified = |name: &str| {
            notifications.iter().any(|notifications| notifications.starts_with(&of(name)))
        };
        if is_notified("zoom") && is_notified("speed") { Ok(()) } else { Err(notifications) }
    });
    assert!(
        second
            .notifications("second")
            .iter()
            .all(|notifications| !notifications.contains("from you"))
    );
}
