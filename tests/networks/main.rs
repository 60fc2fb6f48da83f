//! Nodes on real networks of namespaces: discovery, partitions, lanes, secrets, foreign and hostile peers.
#![cfg(target_os = "linux")]
// A test that cannot continue should fail.
#![allow(
    clippy::cast_precision_loss,
    clippy::float_cmp,
    clippy::literal_string_with_formatting_args,
    clippy::panic,
    clippy::unwrap_used
)]

mod attach_modes;
mod changing_addresses;
mod crowd;
mod custom_messages;
mod hard_networks;
mod hostile_peers;
mod lanes;
mod partitions;
mod shows_and_secrets;
mod three_hosts;
mod zenoh_cli;
