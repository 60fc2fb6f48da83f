use hana_protocol::id::NodeId;
use hana_protocol::parameter::ParameterName;
use hana_time::sanitize_line;
use rosc::{OscPacket, OscType};
use thiserror::Error;

/// A value for a parameter in OSC: `/hana/<visualization>/<parameter> value`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OscValue {
    pub(crate) node: NodeId,
    pub(crate) parameter: ParameterName,
    pub(crate) value: f32,
}

/// The reason why a datagram, or a message in it, is not played. The text is always one line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum OscError {
    #[error("a datagram of {bytes} bytes is not OSC: {problem}")]
    Malformed { bytes: usize, problem: String },
    #[error("the address '{address}' is not of the form /hana/<visualization>/<parameter>")]
    Address { address: String },
    #[error("'{address}' came with {count} values; it takes one number")]
    Count { address: String, count: usize },
    #[error("'{address}' came with {found}; it takes a number")]
    NotANumber { address: String, found: &'static str },
}

/// Splits a message with one number into the part before the number, and the number.
///
/// Returns `None` for every other message, such as a bundle; [`read`] checks the meaning of the address.
pub(crate) fn simple(message: &[u8]) -> Option<(&[u8], f32)> {
    let address = message.iter().position(|&byte| byte == 0)?;
    let tags = (address / 4 + 1) * 4;
    let [b',', tag, 0, 0] = message.get(tags..tags + 4)? else { return None };
    let (head, argument) = message.split_at(tags + 4);
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    let value = match tag {
        b'f' => f32::from_be_bytes(argument.try_into().ok()?),
        b'i' => i32::from_be_bytes(argument.try_into().ok()?) as f32,
        b'd' => f64::from_be_bytes(argument.try_into().ok()?) as f32,
        b'h' => i64::from_be_bytes(argument.try_into().ok()?) as f32,
        b'T' if argument.is_empty() => 1.0,
        b'F' if argument.is_empty() => 0.0,
        _ => return None,
    };
    Some((head, value))
}

/// Returns the address of a message in printable form.
pub(crate) fn address(message: &[u8]) -> String {
    let address = message.split(|&byte| byte == 0).next().unwrap_or_default();
    quote(&String::from_utf8_lossy(address))
}

/// Reads a datagram. A bundle is read as its messages; its time is ignored.
///
/// If any part is not OSC, nothing of the datagram is played.
pub(crate) fn read(datagram: &[u8]) -> Vec<Result<OscValue, OscError>> {
    let malformed = |problem: String| OscError::Malformed {
        bytes: datagram.len(),
        problem: sanitize_line(&problem, 100),
    };
    split(datagram)
        .and_then(|messages| messages.into_iter().map(decode).collect())
        .unwrap_or_else(|problem| vec![Err(malformed(problem))])
}

/// Returns the messages of a datagram, in order.
///
/// Bundles are split here, since `rosc` skips broken parts of a bundle, and recurses into nested bundles, thousands
/// of which fit into a datagram.
fn split(datagram: &[u8]) -> Result<Vec<&[u8]>, String> {
    const TAG: &[u8] = b"#bundle\0";
    const TIME: usize = 8;

    let mut messages = vec![];
    let mut packets = vec![datagram];
    while let Some(packet) = packets.pop() {
        let Some(bundle) = packet.strip_prefix(TAG) else {
            messages.push(packet);
            continue;
        };
        let mut rest = bundle.get(TIME..).ok_or("a bundle ends within its time")?;
        let mut elements = vec![];
        while let Some((size, behind)) = rest.split_first_chunk() {
            let size = usize::try_from(u32::from_be_bytes(*size)).unwrap_or(usize::MAX);
            let (element, behind) =
                behind.split_at_checked(size).ok_or("a bundle ends within what is in it")?;
            elements.push(element);
            rest = behind;
        }
        if !rest.is_empty() {
            return Err("a bundle ends within what is in it".into());
        }
        packets.extend(elements.into_iter().rev());
    }
    Ok(messages)
}

/// Decodes a message, or returns the reason why it is invalid.
fn decode(message: &[u8]) -> Result<Result<OscValue, OscError>, String> {
    if type_tags(message).contains(&b'[') {
        // Arrays are not decoded: deeply nested arrays would overflow the stack when they are dropped recursively.
        let address = address(message);
        return Ok(Err(OscError::NotANumber { address, found: "an array" }));
    }
    match rosc::decoder::decode_udp(message) {
        Ok(([], OscPacket::Message(message))) => Ok(value_of(&message.addr, &message.args)),
        Ok((rest, _)) => Err(format!("{} bytes lie behind the end of a message", rest.len())),
        Err(problem) => Err(problem.to_string()),
    }
}

/// Returns the type tags of a message's arguments; empty if it is not a message.
fn type_tags(message: &[u8]) -> &[u8] {
    let address = message.iter().position(|&byte| byte == 0).unwrap_or(message.len());
    // OSC strings end with at least one zero, and are padded to a multiple of four.
    let tags = message.get((address / 4 + 1) * 4..).unwrap_or_default();
    tags.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Returns an address in printable form.
fn quote(address: &str) -> String {
    sanitize_line(address, 100)
}

fn value_of(address: &str, arguments: &[OscType]) -> Result<OscValue, OscError> {
    let mut chunks = address.split('/');
    let named = match (chunks.next(), chunks.next(), chunks.next(), chunks.next(), chunks.next()) {
        (Some(""), Some("hana"), Some(node), Some(parameter), None) => {
            NodeId::new(node).ok().zip(ParameterName::new(parameter).ok())
        },
        _ => None,
    };
    let Some((node, parameter)) = named else {
        return Err(OscError::Address { address: quote(address) });
    };
    let address = quote(address);
    let [argument] = arguments else {
        return Err(OscError::Count { address, count: arguments.len() });
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    let value = match argument {
        OscType::Float(value) => *value,
        OscType::Double(value) => *value as f32,
        OscType::Int(value) => *value as f32,
        OscType::Long(value) => *value as f32,
        OscType::Bool(value) => f32::from(u8::from(*value)),
        OscType::String(_) => return Err(OscError::NotANumber { address, found: "a text" }),
        _ => return Err(OscError::NotANumber { address, found: "something else" }),
    };
    Ok(OscValue { node, parameter, value })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rosc::{OscBundle, OscMessage, OscTime};

    use super::*;

    fn message(address: &str, args: Vec<OscType>) -> OscPacket {
        OscPacket::Message(OscMessage { addr: address.into(), args })
    }

    fn read_packet(packet: &OscPacket) -> Vec<Result<OscValue, OscError>> {
        read(&rosc::encoder::encode(packet).unwrap())
    }

    fn zoom(value: f32) -> OscValue {
        OscValue {
            node: NodeId::new("ripples").unwrap(),
            parameter: ParameterName::new("zoom").unwrap(),
            value,
        }
    }

    #[test]
    fn numbers_of_every_kind_are_values() {
        for (argument, value) in [
            (OscType::Float(0.5), 0.5),
            (OscType::Double(-0.25), -0.25),
            (OscType::Int(1), 1.0),
            (OscType::Bool(true), 1.0),
        ] {
            let packet = message("/hana/ripples/zoom", vec![argument]);
            assert_eq!(read_packet(&packet), vec![Ok(zoom(value))]);
        }
    }

    #[test]
    fn bundle_is_read_as_its_messages() {
        let inner = message("/hana/ripples/zoom", vec![OscType::Float(1.0)]);
        let bundle = |content| {
            OscPacket::Bundle(OscBundle { timetag: OscTime { seconds: 0, fractional: 1 }, content })
        };
        let packet = bundle(vec![bundle(vec![inner]), message("/other", vec![])]);
        let values = read_packet(&packet);
        assert_eq!(values[0], Ok(zoom(1.0)));
        assert!(matches!(values[1], Err(OscError::Address { .. })));
    }

    #[test]
    fn invalid_message_is_one_error() {
        let errors =
            |address: &str, args| read_packet(&message(address, args)).remove(0).unwrap_err();
        assert!(matches!(read(b"hello").remove(0), Err(OscError::Malformed { bytes: 5, .. })));
        assert!(matches!(errors("/hana/ripples", vec![]), OscError::Address { .. }));
        assert!(matches!(errors("/hana/Ripples/zoom", vec![]), OscError::Address { .. }));
        assert!(matches!(errors("/hana/a/b/c", vec![]), OscError::Address { .. }));
        assert!(matches!(errors("/hana/ripples/zoom", vec![]), OscError::Count { count: 0, .. }));
        let text = vec![OscType::String("loud".into())];
        assert!(matches!(errors("/hana/ripples/zoom", text), OscError::NotANumber { .. }));
    }

    /// `/hana/ripples/zoom` with one float.
    const ZOOM: &[u8] = b"/hana/ripples/zoom\0\0,f\0\0\x3f\x80\0\0";

    fn bundle_of(elements: &[&[u8]]) -> Vec<u8> {
        let mut bundle = b"#bundle\0\0\0\0\0\0\0\0\x01".to_vec();
        for element in elements {
            bundle.extend(u32::try_from(element.len()).unwrap().to_be_bytes());
            bundle.extend(*element);
        }
        bundle
    }

    #[test]
    fn broken_bundle_plays_nothing() {
        assert_eq!(read(&bundle_of(&[ZOOM, ZOOM])), [Ok(zoom(1.0)), Ok(zoom(1.0))]);
        assert_eq!(read(&bundle_of(&[])), []);
        let mut cut = bundle_of(&[ZOOM, ZOOM]);
        cut.pop();
        let mut longer = ZOOM.to_vec();
        longer.push(0);
        for broken in [
            cut,
            b"#bundle\0\0\0".to_vec(),
            bundle_of(&[ZOOM, b"hello"]),
            bundle_of(&[ZOOM, b""]),
            bundle_of(&[ZOOM, &bundle_of(&[b"hello"])]),
            longer,
        ] {
            let values = read(&broken);
            assert!(matches!(&values[..], [Err(OscError::Malformed { .. })]), "{values:?}");
        }
    }

    #[test]
    fn deep_nesting_does_not_exhaust_the_stack() {
        let bundle = (0..3000).fold(ZOOM.to_vec(), |inner, _| bundle_of(&[&inner]));
        assert_eq!(read(&bundle), [Ok(zoom(1.0))]);
        let mut array = b"/hana/ripples/zoom\0\0,".to_vec();
        array.extend(vec![b'['; 32_000]);
        array.extend(vec![b']'; 32_000]);
        array.extend([0; 3]);
        let values = read(&array);
        assert!(matches!(values[..], [Err(OscError::NotANumber { found: "an array", .. })]));
    }

    #[test]
    fn error_is_one_line_for_any_address() {
        let long = "x".repeat(1000);
        for address in ["/a\nhana: all is well", "/\u{1b}[2J", &format!("/{long}")] {
            let error = read_packet(&message(address, vec![])).remove(0).unwrap_err().to_string();
            assert!(!error.contains(char::is_control) && error.len() < 200, "{error}");
        }
    }

    #[test]
    fn text_quoted_by_the_decoder_is_sanitized() {
        let bell = b"/hana/ripples/zoom\0\0,\x07\0\0";
        let text = read(bell).remove(0).unwrap_err().to_string();
        assert!(text.contains("Type tag") && !text.contains(char::is_control), "{text:?}");
    }

    #[test]
    fn fast_path_splits_a_message_with_one_number() {
        for (argument, value) in [
            (OscType::Float(0.5), 0.5),
            (OscType::Double(-0.25), -0.25),
            (OscType::Int(-3), -3.0),
            (OscType::Long(4), 4.0),
            (OscType::Bool(true), 1.0),
            (OscType::Bool(false), 0.0),
        ] {
            let message =
                rosc::encoder::encode(&message("/hana/ripples/zoom", vec![argument])).unwrap();
            let (head, found) = simple(&message).unwrap();
            assert_eq!((found, address(head)), (value, "/hana/ripples/zoom".into()));
            assert_eq!(read(&message), [Ok(zoom(value))]);
        }
        assert_eq!(simple(&bundle_of(&[ZOOM])), None);
        let mut longer = ZOOM.to_vec();
        longer.extend([0; 4]);
        assert_eq!(simple(&longer), None);
    }

    proptest::proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn no_datagram_causes_a_panic(bytes: Vec<u8>) { let _ = (read(&bytes), simple(&bytes)); }

        /// The fast path reads the same value as the full parser.
        #[test]
        fn fast_path_and_parser_read_the_same_number(tag in "[fidhTFsbN]", argument: [u8; 8], length in 0_usize..=8) {
            let mut message = b"/hana/ripples/zoom\0\0,".to_vec();
            message.extend(tag.bytes());
            message.extend([0, 0]);
            message.extend(&argument[..length]);
            if let Some((_, value)) = simple(&message) {
                let read = read(&message).remove(0).unwrap();
                proptest::prop_assert_eq!(read.value.to_bits(), value.to_bits());
            }
        }
    }
}
