//! Bridges between the mesh and other protocols. Each is a node of the role bridge.

mod kernel_drops;
pub(crate) mod osc;
#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic)]
#[path = "../../../../../fuzz/checks/osc.rs"]
mod osc_check;
mod osc_input;
mod osc_message;
mod osc_player;
mod rate_limited_errors;
mod reach;
#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic)]
#[path = "../../../../../fuzz/checks/replay.rs"]
mod replay;

/// Replays the fuzzer's corpus through the same check: see `docs/fuzzing.md`.
#[cfg(test)]
#[test]
fn osc_corpus_passes() {
    replay::replay("osc", osc_check::check);
}
