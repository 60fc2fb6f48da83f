//! Runs the fuzz checks on the stored corpus: see `docs/fuzzing.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../../../fuzz/checks/catalogue.rs"]
mod catalogue;
#[path = "../../../fuzz/checks/lines.rs"]
mod lines;
#[path = "../../../fuzz/checks/replay.rs"]
mod replay;

#[test]
fn catalogues() {
    replay::replay("catalogue", catalogue::check);
}

#[test]
fn outputs() {
    replay::replay("lines", lines::check);
}
