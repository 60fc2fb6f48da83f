//! Inspect the mesh: nodes, logs, messages, latency, the monitor.

pub(crate) mod live_table;
pub(crate) mod logs;
pub(crate) mod node_table;
pub(crate) mod nodes;
pub(crate) mod ping;
mod repaint;
mod schema_cache;
pub(crate) mod top;
pub(crate) mod watch;
