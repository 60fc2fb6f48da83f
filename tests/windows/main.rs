//! Programs in real windows, on a virtual screen.
#![cfg(target_os = "linux")]
// A test that cannot go on fails.
#![allow(clippy::float_cmp, clippy::unwrap_used)]

mod app;
mod events;
mod knob;
mod ripples;
