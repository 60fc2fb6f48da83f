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
fn payloads() {
    replay::replay("payload", payload::check);
}

#[test]
fn envelopes() {
    replay::replay("envelope", envelope::check);
}

#[test]
fn keys() {
    replay::replay("key", key::check);
}

#[test]
fn schemas() {
    replay::replay("schema", schema::check);
}
