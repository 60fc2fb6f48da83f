use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hana_network::RawMessage;
use hana_protocol::contract::Key;
use hana_protocol::id::NodeId;
use hana_protocol::wire::codec;
use serde::Serialize;
use serde_json::Value;

use crate::arguments::WatchArguments;
use crate::inspect::schema_cache::{SchemaCache, TypeName};
use crate::output::Format;
use crate::{mesh, output};

/// How often the presence of a reader is checked, while no message arrives.
const READER_CHECK_INTERVAL: Duration = Duration::from_millis(300);

/// The printed form of a message.
#[derive(Serialize)]
struct WatchedMessage {
    key: String,
    #[serde(rename = "type")]
    kind: String,
    /// The version of a custom message, as its sender announces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    from: Option<NodeId>,
    /// The time of sending in Unix microseconds by the sender's clock; if unknown, the time of arrival.
    at: i64,
    value: Value,
}

pub(crate) fn run(arguments: &WatchArguments, format: Format) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let messages = node.subscribe_raw(&arguments.key_expression);
    let mut schemas = SchemaCache::new(&node);
    let mut dropped = 0;
    loop {
        let Some(raw) = messages.recv_timeout(READER_CHECK_INTERVAL) else {
            output::check_reader()?;
            continue;
        };
        let message = WatchedMessage::of(raw, &mut schemas);
        output::print(format, &message, || message.describe())?;
        let dropped_now = messages.dropped();
        if dropped_now > dropped {
            output::warn(format_args!(
                "{} messages were dropped: they arrived faster than they could be printed",
                dropped_now - dropped
            ));
            dropped = dropped_now;
        }
    }
}

impl WatchedMessage {
    fn describe(&self) -> String {
        let Self { key, kind, version, from, at, value } = self;
        let version = version.map(|version| format!(" v{version}")).unwrap_or_default();
        let from = from.as_ref().map_or("-", NodeId::as_str);
        format!("{}  {key}  {kind}{version}  from {from}  {value}", time_of_day(*at))
    }

    fn of(raw: RawMessage, schemas: &mut SchemaCache<'_>) -> Self {
        let (kind, version) = match Key::parse(&raw.key) {
            Some(
                ref key @ (Key::Custom { ref topic, .. }
                | Key::Inbox { ref topic, .. }
                | Key::KindInbox { ref topic, .. }),
            ) => match schemas.type_of(key, raw.envelope.as_ref()) {
                Some(TypeName { name, version }) => (name, Some(version)),
                // No node announces the type, so only the topic is known.
                None => (topic.to_string(), None),
            },
            Some(key) => (key.kind().message().unwrap_or("-").into(), None),
            None => ("-".into(), None),
        };
        let value = match codec::decode_any(&raw.payload, raw.encoding, usize::MAX) {
            _ if raw.bytes > raw.payload.len() => serde_json::json!({
                "undecodable": "too large to show",
                "bytes": raw.bytes,
            }),
            Ok(value) => value,
            Err(problem) => match String::from_utf8(raw.payload) {
                Ok(text) => Value::String(text),
                Err(bytes) => serde_json::json!({
                    "undecodable": problem.to_string(),
                    "bytes": bytes.as_bytes().len(),
                }),
            },
        };
        Self {
            key: raw.key,
            kind,
            version,
            at: raw.envelope.as_ref().map_or_else(now_us, |envelope| envelope.at),
            from: raw.envelope.map(|envelope| envelope.from),
            value,
        }
    }
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Returns hours, minutes, seconds and milliseconds of the day, UTC.
fn time_of_day(at_us: i64) -> String {
    let ms = at_us.div_euclid(1000).rem_euclid(86_400_000);
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}
