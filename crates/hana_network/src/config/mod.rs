//! The settings of a node and of a machine.

mod environment;
pub(crate) mod host_memory;
pub(crate) mod machine_config;
pub(crate) mod machine_config_error;
pub(crate) mod network_settings;
pub(crate) mod node_config;
pub(crate) mod on_controller_lost;
pub(crate) mod play_transport;
pub(crate) mod port_range;
pub(crate) mod runtime_env;
pub(crate) mod secret;
pub(crate) mod show_name;
