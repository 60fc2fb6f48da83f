//! Apps without Bevy: operators who play a show together by typed commands. A model for apps based on another
//! library.
//!
//! `shared_control desk foh` runs two apps in one program. It prints the events of each app and, whenever they
//! change, the
//! owners according to each app, as one JSON object per line. It reads lines such as these:
//!
//! ```text
//! desk take ripples zoom hue          foh takeover desk
//! desk release ripples zoom           foh note back in five minutes
//! desk play ripples zoom 0.5          foh priority 5
//! ```

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Write};
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use hana_engine::ownership::ClaimEvent;
use hana_network::{MeshObserver, Node, NodeConfig, OwnershipClient, Publisher, unix_ms};
use hana_protocol::contract::Topic;
use hana_protocol::id::role::Role;
use hana_protocol::id::{NodeId, role};
use hana_protocol::message::{Modulation, Ownership, Priority};
use hana_protocol::parameter::ParameterName;
use serde_json::{Value, json};

/// Time limit for joining.
const JOIN: Duration = Duration::from_secs(30);
/// How often each app is polled.
const LOOK: Duration = Duration::from_millis(20);
/// Time limit for leaving, so that a failed network does not delay the exit.
const GOODBYE: Duration = Duration::from_millis(300);

fn main() -> anyhow::Result<()> {
    let ids: Vec<String> = std::env::args().skip(1).collect();
    if ids.is_empty() {
        bail!("usage: shared_control ID ...; then lines such as 'ID take ripples zoom'");
    }
    let mut desks = ids.iter().map(|id| Desk::join(id)).collect::<anyhow::Result<Vec<_>>>()?;
    let (typed, lines) = mpsc::sync_channel(64);
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if typed.send(line).is_err() {
                return;
            }
        }
    });
    loop {
        match lines.recv_timeout(LOOK) {
            Ok(line) => {
                if let Err(problem) = obey(&mut desks, &line) {
                    say(&json!({"refused": line, "reason": problem.to_string()}));
                }
            },
            Err(RecvTimeoutError::Timeout) => {},
            Err(RecvTimeoutError::Disconnected) => break,
        }
        desks.iter_mut().for_each(Desk::look);
    }
    for desk in &mut desks {
        // A clean exit releases all parameters, so that others need not wait for the timeout.
        desk.operator.release_all();
    }
    let leaving: Vec<_> = desks.into_iter().map(|desk| desk.node.leave()).collect();
    for left in leaving {
        left.wait(GOODBYE).ok();
    }
    Ok(())
}

/// An app with its node and its operator.
struct Desk {
    node: Node<role::App>,
    watch: MeshObserver,
    operator: OwnershipClient,
    played: HashMap<(NodeId, ParameterName), Publisher<Modulation>>,
    shown: Value,
}

impl Desk {
    fn join(id: &str) -> anyhow::Result<Self> {
        let config = NodeConfig::from_environment(NodeId::new(id)?)?;
        let joining = Node::<role::App>::join(config);
        let node = joining.wait(JOIN).context("joining the mesh")?.context("joining the mesh")?;
        let (watch, operator) = (node.watch_mesh(), node.ownership_client());
        Ok(Self { node, watch, operator, played: HashMap::new(), shown: Value::Null })
    }

    /// Polls the app, and prints its events and changes.
    fn look(&mut self) {
        self.watch.poll();
        let roster = self.watch.roster();
        let own = self.node.id();
        for news in self.operator.poll(roster) {
            if let Some(told) = told(&news) {
                say(&json!({"node": own, "at": unix_ms(), "told": told}));
            }
        }
        let owners: BTreeMap<&NodeId, Vec<String>> = roster
            .present()
            .filter(|(_, role)| *role == Role::Visualization)
            .filter_map(|(node, _)| {
                let held = roster.owners(node)?.owners.iter();
                Some((node, held.filter(|held| held.how.is_held()).map(word).collect()))
            })
            .collect();
        let claims = self.operator.claims().claims_of(own);
        let claims: Vec<String> = claims.map(|(node, name)| format!("{node} {name}")).collect();
        let notes: BTreeMap<&NodeId, &str> = self.operator.claims().notes().collect();
        let left = self.operator.claims().left_behind();
        let shown = json!({"owners": owners, "claims": claims, "notes": notes, "left": left});
        if shown != self.shown {
            say(&json!({"node": own, "at": unix_ms(), "sees": shown}));
            self.shown = shown;
        }
    }

    fn play(&mut self, node: &NodeId, parameter: &ParameterName, value: f32) -> anyhow::Result<()> {
        let key = (node.clone(), parameter.clone());
        let own = &self.node;
        let publisher = self.played.entry(key).or_insert_with_key(|(node, parameter)| {
            own.publisher(&Topic::<Modulation>::modulation(node.clone(), parameter.clone()))
        });
        Ok(publisher.publish(&Modulation { value })?)
    }
}

fn word(held: &Ownership) -> String {
    let Ownership { parameter, by, how, .. } = held;
    format!("{parameter} {by} {}", json!(how).as_str().unwrap_or_default())
}

/// Returns the text of an event, or `None` for a changed owner, which is printed elsewhere.
fn told(news: &ClaimEvent) -> Option<String> {
    Some(match news {
        ClaimEvent::OwnerChanged { .. } => return None,
        ClaimEvent::Lost { node, parameter, by, apart } => {
            let apart = if *apart { ", while you were apart" } else { "" };
            format!("{by} took {parameter} of {node} from you{apart}")
        },
        ClaimEvent::Retained { node, parameter, from } => {
            format!("{from} had taken {parameter} of {node} too; it is yours")
        },
        ClaimEvent::Refused { node, reason, .. } => format!("{node} refuses: {reason}"),
        ClaimEvent::NoteChanged { app, text } => format!("note of {app}: {text}"),
    })
}

/// Carries out a command line.
fn obey(desks: &mut [Desk], line: &str) -> anyhow::Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [id, verb, rest @ ..] = words.as_slice() else { bail!("say who does what") };
    let desk = desks.iter_mut().find(|desk| desk.node.id().as_str() == *id);
    let desk = desk.with_context(|| format!("there is no '{id}' here"))?;
    let names = |words: &[&str]| -> anyhow::Result<Vec<ParameterName>> {
        words.iter().map(|word| Ok(ParameterName::new(word)?)).collect()
    };
    match (*verb, rest) {
        ("take", [node, parameters @ ..]) => {
            desk.operator.take(&NodeId::new(node)?, names(parameters)?);
        },
        ("release", [node, parameters @ ..]) => {
            desk.operator.release(&NodeId::new(node)?, names(parameters)?);
        },
        ("takeover", [app]) => {
            desk.operator.take_over(&NodeId::new(app)?);
        },
        ("play", [node, parameter, value]) => {
            desk.play(&NodeId::new(node)?, &ParameterName::new(parameter)?, value.parse()?)?;
        },
        ("priority", [priority]) => desk.operator.set_priority(Priority(priority.parse()?)),
        ("note", words) => desk.operator.note(&words.join(" ")),
        _ => bail!("there are take, release, takeover, play, priority and note"),
    }
    Ok(())
}

/// Writes a line. Unlike `println`, this does not end the program if the reader has closed the pipe.
fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}
