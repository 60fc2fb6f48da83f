use hana_protocol::NodeId;
use hana_protocol::ParameterName;
use rosc::OscPacket;
use rosc::OscType;
use thiserror::Error;

/// One value for one parameter, as OSC has it: `/hana/<visualization>/<parameter> value`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OscValue {
    pub(crate) node: NodeId,
    pub(crate) parameter: ParameterName,
    pub(crate) value: f32,
}

/// Why a datagram, or a message in it, is not played.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum OscError {
    #[error("a datagram of {bytes} bytes is no OSC: {problem}")]
    Malformed { bytes: usize, problem: String },
    #[error("the address '{address}' is not of the form /hana/<visualization>/<parameter>")]
    Address { address: String },
    #[error("'{address}' came with {count} values; it takes one number")]
    Count { address: String, count: usize },
    #[error("'{address}' came with {found}; it takes a number")]
    NotANumber { address: String, found: &'static str },
}

/// Reads a datagram; a bundle is read as the messages in it, its time is not looked at.
pub(crate) fn read(datagram: &[u8]) -> Vec<Result<OscValue, OscError>> {
    match rosc::decoder::decode_udp(datagram) {
        Ok((_, packet)) => {
            let mut values = vec![];
            flatten(packet, &mut values);
            values
        },
        Err(problem) => {
            vec![Err(OscError::Malformed { bytes: datagram.len(), problem: problem.to_string() })]
        },
    }
}

fn flatten(packet: OscPacket, values: &mut Vec<Result<OscValue, OscError>>) {
    match packet {
        OscPacket::Message(message) => values.push(value_of(message.addr, &message.args)),
        OscPacket::Bundle(bundle) => {
            for packet in bundle.content {
                flatten(packet, values);
            }
        },
    }
}

fn value_of(address: String, arguments: &[OscType]) -> Result<OscValue, OscError> {
    let mut chunks = address.split('/');
    let named = match (chunks.next(), chunks.next(), chunks.next(), chunks.next(), chunks.next()) {
        (Some(""), Some("hana"), Some(node), Some(parameter), None) => {
            NodeId::new(node).ok().zip(ParameterName::new(parameter).ok())
        },
        _ => None,
    };
    let Some((node, parameter)) = named else { return Err(OscError::Address { address }) };
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
    use rosc::OscBundle;
    use rosc::OscMessage;
    use rosc::OscTime;

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
    fn a_bundle_is_the_messages_in_it() {
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
    fn what_is_not_understood_is_one_error() {
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

    proptest::proptest! {
        #[test]
        fn no_datagram_makes_it_panic(bytes: Vec<u8>) { let _ = read(&bytes); }
    }
}
