//! Decodes any bytes as any message in any encoding: nothing panics, an error fits on one line, and a decoded message
//! survives encoding and decoding unchanged.

use hana_protocol::message::{
    Accepted, CommandReply, Control, Event, Health, HostTimeline, LogLine, Look, LostPeers,
    Modulation, ModulationBatch, NodeInfo, OperatorState, ParameterOwners, ProcessStatus, Started,
    StopReply, TakeReply,
};
use hana_protocol::wire::codec::Encoding;
use hana_protocol::wire::{Message, codec};
use hana_time::ClockReading;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The first byte selects the message and the encoding.
pub(crate) fn check(bytes: &[u8]) {
    let Some((how, payload)) = bytes.split_first() else { return };
    let encoding = [Encoding::MessagePack, Encoding::Json, Encoding::Unknown][usize::from(how % 3)];
    match how / 3 {
        0 => message::<NodeInfo>(payload, encoding),
        1 => message::<Health>(payload, encoding),
        2 => message::<Control>(payload, encoding),
        3 => message::<Event>(payload, encoding),
        4 => message::<Modulation>(payload, encoding),
        5 => message::<Look>(payload, encoding),
        6 => message::<ProcessStatus>(payload, encoding),
        7 => message::<LogLine>(payload, encoding),
        8 => value::<CommandReply<Accepted>>(payload, encoding, Control::MAX_BYTES),
        9 => value::<CommandReply<Started>>(payload, encoding, Control::MAX_BYTES),
        10 => value::<CommandReply<StopReply>>(payload, encoding, Control::MAX_BYTES),
        11 => message::<LostPeers>(payload, encoding),
        12 => message::<ModulationBatch>(payload, encoding),
        13 => message::<HostTimeline>(payload, encoding),
        14 => message::<ClockReading>(payload, encoding),
        15 => message::<ParameterOwners>(payload, encoding),
        16 => message::<OperatorState>(payload, encoding),
        17 => value::<CommandReply<TakeReply>>(payload, encoding, Control::MAX_BYTES),
        // Any JSON value, as `hana watch` decodes it.
        _ => {
            if let Ok(value) = codec::decode_value::<serde_json::Value>(payload, encoding, 1 << 16)
            {
                assert!(value.to_string().len() < 1 << 20);
            }
        },
    }
}

fn message<M: Message>(payload: &[u8], encoding: Encoding) {
    value::<M>(payload, encoding, M::MAX_BYTES);
}

fn value<T: Serialize + DeserializeOwned>(payload: &[u8], encoding: Encoding, limit: usize) {
    match codec::decode_value::<T>(payload, encoding, limit) {
        Ok(value) => {
            let written = codec::encode(&value).expect("a decoded value can be encoded");
            assert!(
                written.len() < 64 * limit,
                "{} bytes grew to {}",
                payload.len(),
                written.len()
            );
            let again: T = codec::decode_value(&written, Encoding::MessagePack, usize::MAX)
                .unwrap_or_else(|problem| panic!("an encoded value cannot be decoded: {problem}"));
            // Compared as bytes, because a NaN is not equal to itself.
            assert_eq!(codec::encode(&again).expect("it was encoded before"), written);
        },
        Err(problem) => {
            let text = problem.to_string();
            assert!(!text.is_empty() && text.len() < 4000, "{} bytes: {text}", text.len());
            assert!(!text.contains(char::is_control), "{text:?}");
        },
    }
}
