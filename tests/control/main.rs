//! Controllers that play visualizations: play sessions, owners, overrides, OSC.
#![cfg(target_os = "linux")]
// A test that cannot continue should fail.
#![allow(
    clippy::cast_precision_loss,
    clippy::float_cmp,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

mod controller_loss;
mod daemon_outages;
mod osc;
mod overrides;
mod ownership;
mod play_sessions;
mod without_bevy;
