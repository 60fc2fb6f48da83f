//! Runs the fuzz checks on the stored corpus: see `docs/fuzzing.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../../fuzz/checks/catalogue.rs"]
mod catalogue;
#[path = "../../../fuzz/checks/lines.rs"]
mod lines;
#[path = "../../../fuzz/checks/replay.rs"]
mod replay;

#[test]
fn catalogue_corpus_passes() {
    replay::replay("catalogue", catalogue::check);
}

#[test]
fn output_corpus_passes() {
    replay::replay("lines", lines::check);
}
