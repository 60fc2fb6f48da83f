/// The environment variable that gives a visualization's network threads the lowest latency.
///
/// By default, Zenoh waits for a connection's data in the thread that accepted it and reads it in another thread,
/// which must be woken first: on two cores that takes 40 of the 120 us of a value's latency. With this setting, which
/// Zenoh reads once, it reads in the thread that waits.
///
/// A daemon sets the variable for the programs that it launches; set it yourself for a visualization that you launch
/// by hand. Do not use it in a program that forwards messages: while it waits for room to send, no thread would wait
/// for connections.
#[derive(Debug, Clone, Copy)]
pub struct ZenohRuntimeEnv;

impl ZenohRuntimeEnv {
    /// The name of the variable. A value that is already set takes precedence.
    pub const VARIABLE: &str = "ZENOH_RUNTIME";
    /// The value.
    pub const VALUE: &str = "(acc: (handover: rx))";
}
