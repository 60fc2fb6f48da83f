//! The shared timeline: beats on several hosts, wall clocks, Ableton Link.
#![cfg(target_os = "linux")]
// A test that cannot continue should fail.
#![allow(
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::float_cmp,
    clippy::panic,
    clippy::unwrap_used
)]

mod ableton_link;
mod beat_flash;
mod timeline;
mod wall_clocks;
