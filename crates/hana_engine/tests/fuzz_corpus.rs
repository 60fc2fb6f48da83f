//! Inputs that the fuzzer found, checked again: see `docs/fuzzing.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../../fuzz/checks/replay.rs"]
mod replay;
#[path = "../../../fuzz/checks/roster.rs"]
mod roster;

#[test]
fn roster_corpus_passes() {
    replay::replay("roster", roster::check);
}
