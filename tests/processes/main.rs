//! Daemons and the programs that they supervise: starts, crashes, stalls, stops, disks, saved state.
#![cfg(target_os = "linux")]
// A test that cannot continue should fail.
#![allow(clippy::panic, clippy::unwrap_used)]

mod changes_while_running;
mod crash_and_freeze;
mod daemon_comes_back;
mod daemon_killed_in_every_state;
mod failures;
mod false_alarms;
mod full_disks;
mod no_display;
mod recovery;
mod restart_storm;
mod saved_state;
mod service;
mod stopping;
mod twenty_cycles;
