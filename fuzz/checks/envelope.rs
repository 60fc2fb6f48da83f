//! Decodes any bytes as an attachment: a valid envelope survives encoding and decoding unchanged.

use hana_protocol::wire::Envelope;

pub(crate) fn check(bytes: &[u8]) {
    match Envelope::decode(bytes) {
        Ok(envelope) => {
            let written = envelope.encode().expect("a decoded envelope can be encoded");
            assert!(written.len() <= Envelope::MAX_BYTES);
            let again = Envelope::decode(&written).expect("an encoded envelope can be decoded");
            assert_eq!(again, envelope);
        },
        Err(problem) => assert!(problem.to_string().len() < 1000, "{problem}"),
    }
}
