//! `keyexprs.md` describes the code: every row of its tables, and every example.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use hana_protocol::contract::routes::SentBy;
use hana_protocol::contract::{KeyKind, TopicHistory};
use hana_protocol::custom_message;
use hana_protocol::id::role;
use hana_protocol::id::role::{NodeRole, Role};
use hana_protocol::message::{
    Acknowledge, Blackout, Command, CommandReply, Control, Event, Freeze, Health, HostTimeline,
    Kill, LogLine, Look, LostPeers, Modulation, ModulationBatch, NodeInfo, OperatorState,
    ParameterOwners, Pause, Ping, Play, ProcessStatus, Release, Reload, Restart, Resume,
    RetransmitEnd, RetransmitRequest, SequenceHeartbeat, Set, Shutdown, Start, Stop, Take, Tempo,
};
use hana_protocol::parameter::Modulator;
use hana_protocol::wire::codec::Encoding;
use hana_protocol::wire::{Lane, Message, codec};
use hana_time::ClockReading;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const PAGE: &str = include_str!("../../../keyexprs.md");

/// Represents all messages that visualizations define.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Custom {}
custom_message!(Custom, topic: "custom", lane: Lane::UnreliableUnordered);

/// Finds out at compile time whether a node of role `R` may send `M`: the type's own constant takes precedence over
/// the trait's constant if its bound holds.
struct Probe<M, R>(PhantomData<(M, R)>);

trait MayNot {
    const MAY_SEND: bool = false;
}
impl<M, R> MayNot for Probe<M, R> {}

impl<M: SentBy<R>, R: NodeRole> Probe<M, R> {
    const MAY_SEND: bool = true;
}

/// The roles that may send a message.
macro_rules! senders {
    ($message:ty) => {
        [
            (Role::App, Probe::<$message, role::App>::MAY_SEND),
            (Role::Visualization, Probe::<$message, role::Visualization>::MAY_SEND),
            (Role::Daemon, Probe::<$message, role::Daemon>::MAY_SEND),
            (Role::Bridge, Probe::<$message, role::Bridge>::MAY_SEND),
        ]
        .into_iter()
        .filter_map(|(role, may_send)| may_send.then_some(role))
        .collect::<BTreeSet<Role>>()
    };
}

/// Returns the roles that publish on a kind of key, according to the routes.
fn publishers(kind: KeyKind) -> BTreeSet<Role> {
    match kind {
        // Tokens are not messages and have no route. Every node has a token.
        KeyKind::Alive => Role::ALL.into(),
        KeyKind::Info => senders!(NodeInfo),
        KeyKind::Health => senders!(Health),
        KeyKind::Control => senders!(Control),
        KeyKind::Event => senders!(Event),
        KeyKind::LastSent => senders!(SequenceHeartbeat),
        KeyKind::Retransmit => senders!(RetransmitRequest),
        KeyKind::Modulation => senders!(Modulation),
        KeyKind::ModulationBatch => senders!(ModulationBatch),
        KeyKind::Look => senders!(Look),
        KeyKind::Owners => senders!(ParameterOwners),
        KeyKind::Operator => senders!(OperatorState),
        KeyKind::Custom | KeyKind::Inbox | KeyKind::KindInbox => senders!(Custom),
        KeyKind::Process => senders!(ProcessStatus),
        KeyKind::LostPeers => senders!(LostPeers),
        KeyKind::Log => senders!(LogLine),
        KeyKind::Timeline => senders!(HostTimeline),
        KeyKind::Clock => senders!(ClockReading),
    }
}

/// Returns the text below a heading, up to the next heading of the same or a higher level.
fn section(heading: &str) -> &'static str {
    let level = heading.split(' ').next().unwrap().len();
    let start = PAGE.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no '{heading}'"));
    let text = &PAGE[start + heading.len() + 2..];
    let is_end = |line: &str| {
        let marks = line.chars().take_while(|c| *c == '#').count();
        (1..=level).contains(&marks)
    };
    let length: usize =
        text.split_inclusive('\n').take_while(|line| !is_end(line)).map(str::len).sum();
    &text[..length]
}

/// Returns the rows of the first table of a section, below its head.
fn table(section: &'static str) -> Vec<Vec<&'static str>> {
    section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect()
        })
        .collect()
}

fn roles(cell: &str) -> BTreeSet<Role> {
    cell.split(", ").map(|role| role.parse().unwrap()).collect()
}

fn or_dash(name: Option<&'static str>) -> &'static str {
    name.unwrap_or("-")
}

#[test]
fn every_kind_of_key_has_its_row() {
    let rows = table(section("## Topics"));
    let patterns: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(patterns, KeyKind::ALL.map(KeyKind::pattern));
    for (row, kind) in rows.iter().zip(KeyKind::ALL) {
        let [pattern, message, lane, published_by, history, encoding, example] = row[..] else {
            panic!("{row:?} has not seven cells")
        };
        assert_eq!(message, or_dash(kind.message()), "message of {pattern}");
        assert_eq!(lane, or_dash(kind.lane().map(Lane::as_str)), "lane of {pattern}");
        assert_eq!(roles(published_by), publishers(kind), "publishers of {pattern}");
        let kept = match kind.history() {
            TopicHistory::State => "state",
            TopicHistory::None => "none",
        };
        assert_eq!(history, kept, "history of {pattern}");
        assert_eq!(encoding, if kind == KeyKind::Alive { "-" } else { "MessagePack" }, "{pattern}");
        assert!(example.starts_with("zenoh ") || example.starts_with("hana watch "), "{example}");
        let what = pattern.split('/').nth(2).unwrap();
        assert!(example.contains(&format!("/{what}")), "the example of {pattern} is {example}");
    }
}

const fn limits_of<M: Message>() -> (usize, u32) {
    (M::MAX_BYTES, M::MAX_PER_SECOND)
}

#[test]
fn limits_on_the_page_are_those_of_the_messages() {
    let shown: BTreeMap<&str, (usize, u32)> = table(section("## Limits"))
        .iter()
        .map(|row| (row[0], (row[1].parse().unwrap(), row[2].parse().unwrap())))
        .collect();
    let limits = [
        (NodeInfo::NAME, limits_of::<NodeInfo>()),
        (Health::NAME, limits_of::<Health>()),
        (Control::NAME, limits_of::<Control>()),
        (Event::NAME, limits_of::<Event>()),
        (SequenceHeartbeat::NAME, limits_of::<SequenceHeartbeat>()),
        (RetransmitRequest::NAME, limits_of::<RetransmitRequest>()),
        (Modulation::NAME, limits_of::<Modulation>()),
        (ModulationBatch::NAME, limits_of::<ModulationBatch>()),
        (Look::NAME, limits_of::<Look>()),
        (ParameterOwners::NAME, limits_of::<ParameterOwners>()),
        (OperatorState::NAME, limits_of::<OperatorState>()),
        (ProcessStatus::NAME, limits_of::<ProcessStatus>()),
        (LostPeers::NAME, limits_of::<LostPeers>()),
        (LogLine::NAME, limits_of::<LogLine>()),
        (HostTimeline::NAME, limits_of::<HostTimeline>()),
        (ClockReading::NAME, limits_of::<ClockReading>()),
        ("custom", limits_of::<Custom>()),
    ];
    assert_eq!(shown, limits.into());
}

#[test]
fn owner_only_keys_are_listed_on_the_page() {
    let text = section("### Who may speak");
    for kind in KeyKind::ALL.into_iter().filter(|kind| *kind != KeyKind::Alive) {
        let what = kind.pattern().split('/').nth(2).unwrap();
        let (alone, open) = text.split_once("Open to all").unwrap();
        let place = if kind.is_owner_only() { alone } else { open };
        assert!(place.contains(&format!("`{what}`")), "{what}");
    }
}

#[test]
fn encoding_on_the_page_is_the_one_that_is_written() {
    assert!(section("## Payload").contains(&format!("encoding `{}`", Encoding::MESSAGE_PACK)));
    for row in table(section("## Payload")) {
        let read = match row[1] {
            text if text.starts_with("MessagePack") => Encoding::MessagePack,
            "JSON" => Encoding::Json,
            _ => continue,
        };
        for label in row[0].split(", ") {
            assert_eq!(Encoding::from_label(label.trim_matches('`')), read, "{label}");
        }
    }
}

/// Asserts that the example of a message can be decoded, that no field in it is ignored or missing, and that the page
/// explains every field.
fn example_is_whole<M: Message>() {
    let text = section(&format!("### {}", M::NAME));
    let example = text.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let message: M = codec::decode(example.as_bytes(), Encoding::Json)
        .unwrap_or_else(|problem| panic!("the example of {}: {problem}", M::NAME));
    let shown: Value = serde_json::from_str(example).unwrap();
    assert_eq!(serde_json::to_value(&message).unwrap(), shown, "the example of {}", M::NAME);
    let explained: BTreeSet<&str> = table(text).iter().map(|row| row[0]).collect();
    let fields: BTreeSet<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(explained, fields, "the fields of {}", M::NAME);
    let whole_table = text.rsplit("```").next().unwrap();
    for field in nested_fields(&shown) {
        assert!(whole_table.contains(&format!("`{field}`")), "{}: nothing on '{field}'", M::NAME);
    }
}

/// Returns the names of the fields of nested maps; the values of a `Look` and the kinds of an `Exit` are not fields.
fn nested_fields(message: &Value) -> BTreeSet<String> {
    let of_map = |map: &Value| {
        map.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let mut found = BTreeSet::new();
    for (name, field) in message.as_object().unwrap() {
        match field {
            Value::Array(items) => found.extend(items.iter().flat_map(of_map)),
            Value::Object(_)
                if ![
                    "parameters",
                    "modulators",
                    "exit",
                    "newest",
                    "mixed",
                    "plays",
                    "priorities",
                ]
                .contains(&name.as_str()) =>
            {
                found.extend(of_map(field));
            },
            _ => {},
        }
    }
    found
}

#[test]
fn examples_of_messages_are_complete() {
    example_is_whole::<NodeInfo>();
    example_is_whole::<Health>();
    example_is_whole::<Event>();
    example_is_whole::<SequenceHeartbeat>();
    example_is_whole::<RetransmitRequest>();
    example_is_whole::<Modulation>();
    example_is_whole::<ModulationBatch>();
    example_is_whole::<Look>();
    example_is_whole::<ParameterOwners>();
    example_is_whole::<OperatorState>();
    example_is_whole::<ProcessStatus>();
    example_is_whole::<LostPeers>();
    example_is_whole::<LogLine>();
    example_is_whole::<HostTimeline>();
    example_is_whole::<ClockReading>();
}

#[test]
fn end_of_a_retransmission_is_as_shown() {
    let shown = section("### retransmit").rsplit("```json\n").next().unwrap();
    let shown = shown.split("```").next().unwrap();
    let read: RetransmitEnd = serde_json::from_str(shown).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), serde_json::from_str::<Value>(shown).unwrap());
}

#[test]
fn modulators_are_as_shown_with_every_field_explained() {
    let text = section("### Modulators");
    let explained = table(text).iter().map(|row| row[0]).collect::<Vec<_>>().join(", ");
    let mut shown = BTreeSet::new();
    for example in text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let read: Modulator = serde_json::from_str(example).unwrap();
        let example: Value = serde_json::from_str(example).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), example);
        shown.extend(nested_fields(&example));
    }
    assert_eq!(shown.len(), 12, "{shown:?}");
    for field in shown {
        assert!(explained.contains(&field), "nothing on '{field}'");
    }
    for word in
        text.split('"').filter(|word| Modulator::looks_like_modulator(word) && word.contains(':'))
    {
        assert!(word.parse::<Modulator>().is_ok(), "{word}");
    }
}

/// Asserts that the row of a command has its senders, its form and its reply.
fn command_is<C: Command>(rows: &[Vec<&str>], name: &str, from: &BTreeSet<Role>) {
    let row =
        rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("no row for '{name}'"));
    assert_eq!(roles(row[1]), *from, "the senders of '{name}'");
    let control: Control = codec::decode(row[3].as_bytes(), Encoding::Unknown).unwrap();
    assert_eq!(control.name(), name);
    let to: BTreeSet<Role> = Role::ALL.into_iter().filter(|role| control.is_for(*role)).collect();
    assert_eq!(roles(row[2]), to, "the receivers of '{name}'");
    let answer: CommandReply<C::Reply> =
        codec::decode_value(row[4].as_bytes(), Encoding::Json, Control::MAX_BYTES).unwrap();
    assert_eq!(
        serde_json::to_value(answer).unwrap(),
        serde_json::from_str::<Value>(row[4]).unwrap()
    );
}

#[test]
fn every_command_has_its_row() {
    let rows = table(section("## Commands"));
    command_is::<Start>(&rows, "start", &senders!(Start));
    command_is::<Stop>(&rows, "stop", &senders!(Stop));
    command_is::<Restart>(&rows, "restart", &senders!(Restart));
    command_is::<Kill>(&rows, "kill", &senders!(Kill));
    command_is::<Acknowledge>(&rows, "acknowledge", &senders!(Acknowledge));
    command_is::<Reload>(&rows, "reload", &senders!(Reload));
    command_is::<Shutdown>(&rows, "shutdown", &senders!(Shutdown));
    command_is::<Set>(&rows, "set", &senders!(Set));
    command_is::<Freeze>(&rows, "freeze", &senders!(Freeze));
    command_is::<Blackout>(&rows, "blackout", &senders!(Blackout));
    command_is::<Resume>(&rows, "resume", &senders!(Resume));
    command_is::<Tempo>(&rows, "tempo", &senders!(Tempo));
    command_is::<Play>(&rows, "play", &senders!(Play));
    command_is::<Pause>(&rows, "pause", &senders!(Pause));
    command_is::<Take>(&rows, "take", &senders!(Take));
    command_is::<Release>(&rows, "release", &senders!(Release));
    command_is::<Ping>(&rows, "ping", &senders!(Ping));
    assert_eq!(rows.len(), 17);
}

/// Checks every piece of JSON on the page that begins with the name of a command.
#[test]
fn json_that_looks_like_a_command_is_one() {
    let pieces: Vec<&str> = PAGE
        .split(['`', '\''])
        .filter(|piece| piece.starts_with("{\"") && serde_json::from_str::<Value>(piece).is_ok())
        .collect();
    let commands = [
        "start",
        "stop",
        "restart",
        "kill",
        "acknowledge",
        "shutdown",
        "set",
        "freeze",
        "blackout",
        "resume",
        "tempo",
        "play",
        "pause",
        "take",
        "release",
        "ping",
    ];
    let looks_like =
        |piece: &&&str| commands.iter().any(|name| piece.starts_with(&format!("{{\"{name}\"")));
    let found: Vec<&&str> = pieces.iter().filter(looks_like).collect();
    assert!(found.len() > commands.len(), "{found:?}");
    for piece in found {
        let read = codec::decode::<Control>(piece.as_bytes(), Encoding::Unknown);
        assert!(read.is_ok(), "{piece}: {read:?}");
    }
}
