//! What the tests with several processes, several hosts and real windows stand on.
//!
//! | to | use |
//! |---|---|
//! | have hosts on a network | [`Lab`], [`Host`] |
//! | run a program on one of them | [`Host::run`], [`Host::spawn`] |
//! | cut a cable, split the network | [`Host::unplug`], [`Lab::partition`] |
//! | have a network that loses, delays and reorders | [`UdpRelay`] |
//! | see who is left | [`Host::processes`] |
//! | wait for something | [`eventually`] |
//! | have a test in a process of its own | [`is_alone`] |
//! | have daemons on hosts, ask who is there | [`show`] |
//! | have a screen and look at it | [`Screen`], [`Image`] |
//! | close windows, press keys | [`Person`] |
//! | sit at a terminal, type, look at it | [`Terminal`] |
//! | have all of that, with a visualization in a window | [`Stage`] |
//! | have many apps that play many visualizations | [`Ensemble`] |
//! | use programs that are not ours | [`foreign`] |
//! | be in a session of Ableton Link | [`link`] |
//!
//! A lab and a screen end with the test process, also when that is killed with SIGKILL.

// Only tests use this crate, and a test that cannot print may fail.
#![allow(clippy::print_stdout, clippy::print_stderr)]
// A harness that cannot go on says why and fails the test; that is what panics are for here.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc)]
// To run a program is often enough; not everybody wants to know what it said.
#![allow(clippy::must_use_candidate, clippy::return_self_not_must_use)]

mod alone;
#[cfg(target_os = "linux")]
mod ensemble;
mod environment;
mod eventually;
pub mod foreign;
#[cfg(target_os = "linux")]
mod host;
mod image;
#[cfg(target_os = "linux")]
mod lab;
#[cfg(target_os = "linux")]
pub mod link;
#[cfg(target_os = "linux")]
mod namespace;
#[cfg(target_os = "linux")]
mod person;
mod program;
mod rings;
#[cfg(target_os = "linux")]
mod running;
#[cfg(target_os = "linux")]
mod screen;
#[cfg(target_os = "linux")]
pub mod show;
#[cfg(target_os = "linux")]
mod skip;
#[cfg(target_os = "linux")]
mod stage;
#[cfg(target_os = "linux")]
mod terminal;
mod udp_relay;
#[cfg(target_os = "linux")]
mod wall_clock;

#[cfg(target_os = "linux")]
pub use rustix::process::Signal;

pub use alone::is_alone;
#[cfg(target_os = "linux")]
pub use ensemble::Ensemble;
pub use eventually::{Attempt, eventually};
#[cfg(target_os = "linux")]
pub use host::{Host, Process};
pub use image::Image;
#[cfg(target_os = "linux")]
pub use lab::Lab;
#[cfg(target_os = "linux")]
pub use namespace::inhabitants;
#[cfg(target_os = "linux")]
pub use person::{Key, Person};
pub use program::project_root;
#[cfg(target_os = "linux")]
pub use running::{Output, Running};
#[cfg(target_os = "linux")]
pub use screen::{Screen, Window};
#[cfg(target_os = "linux")]
pub use stage::{Opened, Stage};
#[cfg(target_os = "linux")]
pub use terminal::Terminal;
pub use udp_relay::{UdpRelay, UdpRelayCounts, UdpRelaySettings};
#[cfg(target_os = "linux")]
pub use wall_clock::WallClock;

#[cfg(all(test, not(target_os = "linux")))]
#[test]
fn tests_with_several_hosts_are_skipped() {
    eprintln!("skipped: tests with several hosts and windows stand on Linux's namespaces and Xvfb");
}
