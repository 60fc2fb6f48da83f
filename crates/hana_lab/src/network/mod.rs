//! Hosts in namespaces, on a network that can be cut and partitioned.

#[cfg(target_os = "linux")]
pub(crate) mod host;
#[cfg(target_os = "linux")]
pub(crate) mod lab;
#[cfg(target_os = "linux")]
pub(crate) mod lab_inner;
#[cfg(target_os = "linux")]
pub(crate) mod namespace;
#[cfg(target_os = "linux")]
pub(crate) mod spawn;
pub(crate) mod udp_relay;
