//! The daemon's loop and everything that it drives.

pub(crate) mod daemon;
pub(crate) mod event;
pub(crate) mod signals;
pub(crate) mod timekeeper;

mod adoption;
mod dispatcher;
mod forwarder;
mod launcher;
mod managed_process;
mod observations;
mod peer_tracker;
mod process_table;
mod publish;
mod reload;
mod requests;
