//! The basis of the tests with several processes, several hosts and real windows.
//!
//! | to | use |
//! |---|---|
//! | create hosts on a network | [`Lab`], [`Host`] |
//! | run a program on a host | [`Host::run`], [`Host::spawn`] |
//! | unplug a cable, split the network | [`Host::unplug`], [`Lab::partition`] |
//! | lose, delay and reorder packets | [`UdpRelay`] |
//! | list the remaining processes | [`Host::processes`] |
//! | wait for a condition | [`eventually`] |
//! | run a test in a process of its own | [`is_alone`] |
//! | start daemons on hosts, list nodes | [`show`] |
//! | create a screen and take screenshots | [`Screen`], [`Image`] |
//! | close windows, press keys | [`Person`] |
//! | use a terminal: type, read its screen | [`Terminal`] |
//! | combine all of that with a visualization in a window | [`Stage`] |
//! | run many apps that play many visualizations | [`Ensemble`] |
//! | use foreign programs | [`foreign`] |
//! | join a session of Ableton Link | [`link`] |
//!
//! A lab and a screen end with the test process, even if that is killed with SIGKILL.

// Only tests use this crate, and a test that cannot print may fail.
#![allow(clippy::print_stdout, clippy::print_stderr)]
// A harness that cannot continue panics with the reason, which fails the test.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc)]
// Running a program is often enough: many tests do not need its output.
#![allow(clippy::must_use_candidate, clippy::return_self_not_must_use)]

mod alone;
#[cfg(target_os = "linux")]
mod ensemble;
mod environment;
mod eventually;
pub mod foreign;
#[cfg(target_os = "linux")]
pub mod link;
mod network;
mod program;
#[cfg(target_os = "linux")]
mod running;
#[cfg(target_os = "linux")]
pub mod show;
#[cfg(target_os = "linux")]
mod skip;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(target_os = "linux")]
mod wall_clock;
mod window;

#[cfg(target_os = "linux")]
pub use rustix::process::Signal;

pub use alone::is_alone;
#[cfg(target_os = "linux")]
pub use ensemble::Ensemble;
pub use eventually::{Attempt, eventually};
#[cfg(target_os = "linux")]
pub use network::host::{Host, Process};
#[cfg(target_os = "linux")]
pub use network::lab::Lab;
#[cfg(target_os = "linux")]
pub use network::namespace::inhabitants;
pub use network::udp_relay::{UdpRelay, UdpRelayCounts, UdpRelaySettings};
pub use program::project_root;
#[cfg(target_os = "linux")]
pub use running::{Output, Running};
#[cfg(target_os = "linux")]
pub use terminal::Terminal;
#[cfg(target_os = "linux")]
pub use wall_clock::WallClock;
pub use window::image::Image;
#[cfg(target_os = "linux")]
pub use window::person::{Key, Person};
#[cfg(target_os = "linux")]
pub use window::screen::{Screen, Window};
#[cfg(target_os = "linux")]
pub use window::stage::{Opened, Stage};

#[cfg(all(test, not(target_os = "linux")))]
#[test]
fn tests_with_several_hosts_are_skipped() {
    eprintln!("skipped: tests with several hosts and windows need Linux's namespaces and Xvfb");
}
