//! Reads any datagram as OSC: each error fits on one short line, and each value that is read survives a round trip in
//! a message of its own.

use rosc::{OscMessage, OscPacket, OscType};

use super::osc_message::read;

pub(crate) fn check(bytes: &[u8]) {
    let found = read(bytes);
    assert!(found.len() <= bytes.len().max(1));
    for value in found {
        match value {
            Ok(value) => {
                let message = OscMessage {
                    addr: format!("/hana/{}/{}", value.node, value.parameter),
                    args: vec![OscType::Float(value.value)],
                };
                let written = rosc::encoder::encode(&OscPacket::Message(message))
                    .expect("a message can be encoded");
                let again = read(&written);
                let [Ok(again)] = &again[..] else { panic!("{again:?}") };
                assert_eq!((&again.node, &again.parameter), (&value.node, &value.parameter));
                assert_eq!(again.value.to_bits(), value.value.to_bits());
            },
            Err(problem) => {
                let text = problem.to_string();
                assert!(text.len() < 2000 && !text.contains(char::is_control), "{text:?}");
            },
        }
    }
}
