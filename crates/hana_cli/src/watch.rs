use std::io::Write;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use hana_network::RawMessage;
use hana_protocol::Key;
use hana_protocol::NodeId;
use hana_protocol::codec;
use serde::Serialize;
use serde_json::Value;

use crate::arguments::WatchArguments;
use crate::mesh;

/// A message as it is printed.
#[derive(Serialize)]
struct Passing {
    key: String,
    #[serde(rename = "type")]
    kind: String,
    from: Option<NodeId>,
    /// When it was sent by the sender's clock, Unix microseconds; when it arrived, where that is not said.
    at: i64,
    value: Value,
}

pub(crate) fn run(arguments: &WatchArguments, json: bool) -> anyhow::Result<()> {
    let node = mesh::join()?;
    let messages = node.subscribe_raw(&arguments.key_expression);
    let mut dropped = 0;
    loop {
        let Some(raw) = messages.recv_timeout(Duration::from_secs(1)) else { continue };
        let passing = Passing::of(raw);
        let mut out = std::io::stdout().lock();
        if json {
            serde_json::to_writer(&mut out, &passing)?;
            writeln!(out)?;
        } else {
            let Passing { key, kind, from, at, value } = passing;
            let from = from.as_ref().map_or("-", NodeId::as_str);
            writeln!(out, "{}  {key}  {kind}  from {from}  {value}", time_of_day(at))?;
        }
        if messages.is_empty() {
            out.flush()?;
        }
        drop(out);
        let dropped_now = messages.dropped();
        if dropped_now > dropped {
            eprintln!("hana: {} messages passed too quickly to be printed", dropped_now - dropped);
            dropped = dropped_now;
        }
    }
}

impl Passing {
    fn of(raw: RawMessage) -> Self {
        let message = Key::parse(&raw.key).and_then(|key| match &key {
            Key::Custom { topic, .. } => Some(topic.clone()),
            key => key.kind().message().map(String::from),
        });
        let value = match codec::decode_value(&raw.payload, raw.encoding, usize::MAX) {
            Ok(value) => shortened(value),
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
            kind: message.unwrap_or_else(|| "-".into()),
            at: raw.envelope.as_ref().map_or_else(now_us, |envelope| envelope.at),
            from: raw.envelope.map(|envelope| envelope.from),
            value,
        }
    }
}

/// Numbers that were single-precision print as the shortest decimal that is the same: 0.3, not
/// 0.30000001192092896.
fn shortened(value: Value) -> Value {
    match value {
        Value::Number(number) => single(&number).map_or(Value::Number(number), Value::from),
        Value::Array(values) => values.into_iter().map(shortened).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, shortened(value))).collect()
        },
        other => other,
    }
}

/// The shortest decimal of a number that has no more than single precision.
#[allow(clippy::cast_possible_truncation, clippy::float_cmp)]
fn single(number: &serde_json::Number) -> Option<f64> {
    let double = number.as_f64().filter(|_| number.is_f64())?;
    let single = double as f32;
    if f64::from(single) == double { single.to_string().parse().ok() } else { None }
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Hours, minutes, seconds and milliseconds of the day, UTC.
fn time_of_day(at_us: i64) -> String {
    let ms = at_us.div_euclid(1000).rem_euclid(86_400_000);
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}
