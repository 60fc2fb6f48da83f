//! Decodes any bytes as an attachment: a valid envelope survives encoding and decoding unchanged.

use hana_protocol::wire::Envelope;

pub(crate) fn check(bytes: &[u8]) {
    match Envelope::decode(bytes) {
        Ok(envelope) => {
            let written = envelope.encode().expect("what was read can be written");
            assert!(written.len() <= Envelope::MAX_BYTES);
            let again = Envelope::decode(&written).expect("what was written can be read");
            assert_eq!(again, envelope);
        },
        Err(problem) => assert!(problem.to_string().len() < 1000, "{problem}"),
    }
}
