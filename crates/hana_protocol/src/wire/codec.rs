//! Encoding and decoding of messages.
//!
//! Payloads are written as `MessagePack` maps with field names, and read as such maps or as JSON. If the sender
//! did not label the payload (command-line tools do not), the decoder tries JSON first, then a `MessagePack` map.
//! A payload that cannot be decoded yields an error that names the field, and has no other effect.

use std::fmt;

use hana_time::sanitize_line;
pub use rmp_serde::encode::Error as EncodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::id::node_id::NodeId;
use crate::wire::message::Message;

/// Maximum length of a key in characters.
pub(crate) const MAX_KEY_LEN: usize = 160;

/// The encoding that the sender declares for a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `application/msgpack`
    MessagePack,
    /// `application/json`, `text/json`, `text/json5`
    Json,
    /// No label, or an unknown label.
    Unknown,
}

impl Encoding {
    /// The label of payloads that hana writes.
    pub const MESSAGE_PACK: &'static str = "application/msgpack";

    /// Parses a label; parameters after a `;` are dropped.
    #[must_use]
    pub fn from_label(label: &str) -> Self {
        match label.split(';').next().unwrap_or_default().trim() {
            Self::MESSAGE_PACK | "application/x-msgpack" => Self::MessagePack,
            "application/json" | "text/json" | "text/json5" => Self::Json,
            _ => Self::Unknown,
        }
    }
}

/// Maximum nesting depth of a `MessagePack` payload. For JSON, `serde_json` limits the depth to 128.
const MAX_DEPTH: usize = 32;
/// Maximum length of a decoder's error text, which quotes the payload and would otherwise have no bound.
const MAX_DETAIL: usize = 240;

/// The reason why a payload cannot be decoded as a given message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// The payload exceeds the message type's limit and was not decoded.
    #[error("it has {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Bytes received.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The payload is empty.
    #[error("it is empty")]
    Empty,
    /// The payload is neither JSON nor a `MessagePack` map.
    #[error("it is neither JSON nor a MessagePack map")]
    NotAMap,
    /// The payload is truncated, followed by surplus bytes, or otherwise invalid in its format.
    #[error("it is not valid {format}: {detail}")]
    Malformed {
        /// The format that the decoder expected.
        format: &'static str,
        /// The decoder's error text.
        detail: String,
    },
    /// A field is missing, has the wrong type, or is out of range.
    #[error("{}{detail}", if field.is_empty() { String::new() } else { format!("field '{field}': ") })]
    Field {
        /// The field's path, such as `start.name`; empty for the payload itself.
        field: String,
        /// The decoder's error text, usually with the expected and the actual value.
        detail: String,
    },
}

/// A payload that could not be decoded, with its key and sender.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct DecodeError {
    /// The key on which the payload was received.
    pub key: String,
    /// The sender, if the message names one.
    pub sender: Option<NodeId>,
    /// The expected message type.
    pub message: &'static str,
    /// The reason.
    #[source]
    pub problem: PayloadError,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, sender, message, problem } = self;
        let key = sanitize_line(key, MAX_KEY_LEN);
        match sender {
            Some(sender) => {
                write!(f, "{key}: the {message} from {sender} cannot be used: {problem}")
            },
            None => {
                write!(f, "{key}: the {message} from an unnamed sender cannot be used: {problem}")
            },
        }
    }
}

/// Encodes a message.
///
/// # Errors
///
/// When a value cannot be serialized, for example because its own `Serialize` implementation fails.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, EncodeError> {
    rmp_serde::to_vec_named(message)
}

/// Decodes a message.
///
/// # Errors
///
/// When the payload is too large, empty or malformed, or a field is missing or does not fit.
pub fn decode<M: Message>(payload: &[u8], encoding: Encoding) -> Result<M, PayloadError> {
    decode_value(payload, encoding, M::MAX_BYTES)
}

/// Decodes any value of at most `limit` bytes, by the same rules as a message.
///
/// # Errors
///
/// When the payload is too large, empty or malformed, or a field is missing or does not fit.
pub fn decode_value<T: DeserializeOwned>(
    payload: &[u8],
    encoding: Encoding,
    limit: usize,
) -> Result<T, PayloadError> {
    if payload.len() > limit {
        return Err(PayloadError::TooLarge { bytes: payload.len(), limit });
    }
    let Some(first) = payload.first() else { return Err(PayloadError::Empty) };
    match encoding {
        Encoding::Json => decode_json(payload),
        Encoding::MessagePack if is_array(*first) => Err(PayloadError::NotAMap),
        Encoding::MessagePack => decode_message_pack(payload),
        Encoding::Unknown => {
            if serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok() {
                decode_json(payload)
            } else if is_map(*first) {
                decode_message_pack(payload)
            } else {
                Err(PayloadError::NotAMap)
            }
        },
    }
}

/// Decodes a payload of at most `limit` bytes without knowing its type, for display.
///
/// Single-precision numbers become the shortest decimal that denotes the same `f32`: 0.3, not
/// 0.30000001192092896.
///
/// # Errors
///
/// When the payload is too large, empty or malformed, or has a value that JSON cannot represent.
pub fn decode_any(payload: &[u8], encoding: Encoding, limit: usize) -> Result<Value, PayloadError> {
    decode_value(payload, encoding, limit).map(shortened)
}

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

/// Returns the shortest decimal for a floating-point number that an `f32` represents exactly; `None` for any other
/// number.
#[allow(clippy::cast_possible_truncation, clippy::float_cmp)]
fn single(number: &serde_json::Number) -> Option<f64> {
    let double = number.as_f64().filter(|_| number.is_f64())?;
    let single = double as f32;
    if f64::from(single) == double { single.to_string().parse().ok() } else { None }
}

const fn is_map(first: u8) -> bool {
    matches!(first, 0x80..=0x8f | 0xde | 0xdf)
}
const fn is_array(first: u8) -> bool {
    matches!(first, 0x90..=0x9f | 0xdc | 0xdd)
}

fn decode_json<T: DeserializeOwned>(payload: &[u8]) -> Result<T, PayloadError> {
    let malformed = |detail: &serde_json::Error| PayloadError::Malformed {
        format: "JSON",
        detail: sanitize_line(&detail.to_string(), MAX_DETAIL),
    };
    let mut reader = serde_json::Deserializer::from_slice(payload);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        if error.inner().is_data() {
            field_error(error.path(), error.inner())
        } else {
            malformed(error.inner())
        }
    })?;
    reader.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn decode_message_pack<T: DeserializeOwned>(payload: &[u8]) -> Result<T, PayloadError> {
    use rmp_serde::decode::Error;
    let malformed = |detail: String| PayloadError::Malformed { format: "MessagePack", detail };
    let mut reader = rmp_serde::Deserializer::new(payload);
    reader.set_max_depth(MAX_DEPTH);
    let value =
        serde_path_to_error::deserialize(&mut reader).map_err(|error| match error.inner() {
            Error::InvalidMarkerRead(_) | Error::InvalidDataRead(_) => {
                malformed("it ends too early".into())
            },
            Error::DepthLimitExceeded => {
                malformed(format!("it is nested deeper than {MAX_DEPTH} levels"))
            },
            inner => field_error(error.path(), inner),
        })?;
    let rest = reader.get_ref().len();
    if rest > 0 {
        return Err(malformed(format!("{rest} bytes are left over at its end")));
    }
    Ok(value)
}

fn field_error(path: &serde_path_to_error::Path, detail: &dyn fmt::Display) -> PayloadError {
    let path = path.to_string();
    let field = if path == "." { String::new() } else { sanitize_line(&path, MAX_DETAIL) };
    PayloadError::Field { field, detail: sanitize_line(&detail.to_string(), MAX_DETAIL) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::float_cmp)]
mod tests {
    use super::*;
    use crate::message::control::{Control, Start};
    use crate::message::health::Health;
    use crate::message::modulation::Modulation;

    fn start() -> Control {
        Start { name: "ripples".into(), id: None, at: hana_time::ScheduleAt::Now }.into()
    }

    #[test]
    fn message_is_a_map_with_field_names() {
        let bytes = encode(&start()).unwrap();
        let as_json: Value = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(as_json, serde_json::json!({"start": {"name": "ripples"}}));
        assert_eq!(decode::<Control>(&bytes, Encoding::MessagePack), Ok(start()));
        assert_eq!(decode::<Control>(&bytes, Encoding::Unknown), Ok(start()));
    }

    #[test]
    fn json_typed_by_hand_is_read_without_a_label() {
        let typed = br#" {"start": {"name": "ripples"}} "#;
        assert_eq!(decode::<Control>(typed, Encoding::Unknown), Ok(start()));
        assert_eq!(decode::<Control>(typed, Encoding::Json), Ok(start()));
        assert_eq!(decode::<Modulation>(b"0.5", Encoding::Unknown).unwrap().value, 0.5);
        assert_eq!(decode::<Modulation>(b"1", Encoding::Unknown).unwrap().value, 1.0);
        assert_eq!(decode::<Modulation>(br#"{"value": 0.5}"#, Encoding::Json).unwrap().value, 0.5);
    }

    #[test]
    fn unknown_field_is_ignored_and_a_missing_one_named() {
        let more = br#"{"start": {"name": "ripples", "colour": "red"}}"#;
        assert_eq!(decode::<Control>(more, Encoding::Json), Ok(start()));
        let less = decode::<Control>(br#"{"start": {}}"#, Encoding::Json).unwrap_err();
        assert!(
            less.to_string().contains("'start'") && less.to_string().contains("name"),
            "{less}"
        );
        let wrong = decode::<Control>(br#"{"start": {"name": 7}}"#, Encoding::Json).unwrap_err();
        assert!(
            matches!(&wrong, PayloadError::Field { field, .. } if field == "start.name"),
            "{wrong}"
        );
    }

    #[test]
    fn oversized_payload_is_not_read() {
        let huge = vec![b' '; Health::MAX_BYTES + 1];
        assert_eq!(
            decode::<Health>(&huge, Encoding::Json),
            Err(PayloadError::TooLarge { bytes: huge.len(), limit: Health::MAX_BYTES })
        );
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = encode(&Health { uptime_ms: 70_000, ..Health::default() }).unwrap();
        for length in 0..whole.len() {
            assert!(decode::<Health>(&whole[..length], Encoding::MessagePack).is_err(), "{length}");
        }
        let longer: Vec<u8> = whole.iter().copied().chain([0]).collect();
        assert!(matches!(
            decode::<Health>(&longer, Encoding::MessagePack),
            Err(PayloadError::Malformed { .. })
        ));
    }

    #[test]
    fn deep_nesting_is_refused() {
        // {"uptime_ms": 0, "x": [[[[...]]]]}
        let mut bytes = vec![0x82, 0xa9];
        bytes.extend_from_slice(b"uptime_ms");
        bytes.extend_from_slice(&[0, 0xa1, b'x']);
        bytes.extend(std::iter::repeat_n(0x91, 3000));
        bytes.push(0);
        assert!(decode::<Health>(&bytes, Encoding::MessagePack).is_err());
        let json = format!("{{\"x\": {}", "[".repeat(3000));
        assert!(decode::<Health>(json.as_bytes(), Encoding::Unknown).is_err());
    }

    #[test]
    fn array_is_not_a_message() {
        let array = rmp_serde::to_vec(&start()).unwrap();
        assert!(decode::<Health>(&[0x90], Encoding::MessagePack).is_err());
        assert!(decode::<Control>(&array, Encoding::Unknown).is_err() || array[0] & 0xf0 == 0x80);
        assert_eq!(decode::<Control>(b"\xc1\xff", Encoding::Unknown), Err(PayloadError::NotAMap));
    }

    #[test]
    fn error_names_key_sender_and_field() {
        let problem = decode::<Modulation>(br#"{"value": "loud"}"#, Encoding::Unknown).unwrap_err();
        let error = DecodeError {
            key: "hana/ripples/modulation/zoom".into(),
            sender: Some(NodeId::new("desk").unwrap()),
            message: Modulation::NAME,
            problem,
        };
        let text = error.to_string();
        assert!(
            text.starts_with("hana/ripples/modulation/zoom: the modulation from desk"),
            "{text}"
        );
        assert!(text.contains("'value'") && text.contains("loud"), "{text}");
    }

    #[test]
    fn error_does_not_quote_the_whole_payload() {
        let loud = format!(r#"{{"value": "{}\n"}}"#, "x".repeat(200));
        let unknown = format!(r#"{{"{}": {{}}}}"#, "\u{1b}y".repeat(9000));
        for problem in [
            decode::<Modulation>(loud.as_bytes(), Encoding::Json).unwrap_err(),
            decode::<Control>(unknown.as_bytes(), Encoding::Unknown).unwrap_err(),
        ] {
            let text = problem.to_string();
            assert!(text.len() < 1000 && !text.contains(char::is_control), "{text}");
        }
    }

    proptest::proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn no_bytes_cause_a_panic(bytes: Vec<u8>) {
            for encoding in [Encoding::MessagePack, Encoding::Json, Encoding::Unknown] {
                let _ = decode::<Control>(&bytes, encoding);
                let _ = decode::<Health>(&bytes, encoding);
                let _ = decode::<Modulation>(&bytes, encoding);
                let _ = decode::<crate::message::node_info::NodeInfo>(&bytes, encoding);
            }
            let _ = crate::wire::envelope::Envelope::decode(&bytes);
        }
    }
}
