//! Inputs that the fuzzer found, checked again: see `docs/fuzzing.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../../fuzz/checks/envelope.rs"]
mod envelope;
#[path = "../../../fuzz/checks/key.rs"]
mod key;
#[path = "../../../fuzz/checks/payload.rs"]
mod payload;
#[path = "../../../fuzz/checks/replay.rs"]
mod replay;
#[path = "../../../fuzz/checks/schema.rs"]
mod schema;

#[test]
fn payload_corpus_passes() {
    replay::replay("payload", payload::check);
}

#[test]
fn envelope_corpus_passes() {
    replay::replay("envelope", envelope::check);
}

#[test]
fn key_corpus_passes() {
    replay::replay("key", key::check);
}

#[test]
fn schema_corpus_passes() {
    replay::replay("schema", schema::check);
}
