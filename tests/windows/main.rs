//! Programs in real windows, on a virtual screen.
#![cfg(target_os = "linux")]
// A test that cannot continue should fail.
#![allow(clippy::float_cmp, clippy::unwrap_used)]

mod app;
mod events;
mod knob;
mod ripples;
