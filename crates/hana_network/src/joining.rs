//! How a node comes onto the mesh and stays there: settings, addresses, sessions, ways.

pub(crate) mod addresses;
pub(crate) mod connection;
pub(crate) mod discovery;
pub(crate) mod door;
pub(crate) mod host_memory;
pub(crate) mod host_of_daemon;
pub(crate) mod linger;
pub(crate) mod network_settings;
pub(crate) mod node_config;
pub(crate) mod played_threads;
pub(crate) mod port_range;
pub(crate) mod scout_message;
pub(crate) mod scouting;
pub(crate) mod secret;
pub(crate) mod session;
pub(crate) mod settings_file;
pub(crate) mod show_name;
pub(crate) mod unmet;
pub(crate) mod way;
pub(crate) mod worker;
