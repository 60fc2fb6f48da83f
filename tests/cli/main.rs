//! The command line as a person uses it: output, `hana top` in a terminal, `hana-bench`.
#![cfg(target_os = "linux")]
// A test that cannot continue should fail.
#![allow(clippy::panic, clippy::unwrap_used)]

mod benches;
mod completions;
mod output;
mod top;
