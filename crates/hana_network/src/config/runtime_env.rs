/// The environment variable that gives a visualization's network threads the lowest latency.
///
/// By default, Zenoh waits for the data of a connection in the thread that accepted the connection, but reads the data
/// in another thread, which must be woken first. On two cores, this takes 40 of the 120 µs of a value's latency. With
/// this setting, which Zenoh reads once per process, the thread that waits also reads.
///
/// A daemon sets the variable for the programs that it launches; set it yourself for a visualization that you launch
/// manually. Do not use it in a program that forwards messages: while the thread waits for room to send, no thread
/// would wait for connections.
#[derive(Debug, Clone, Copy)]
pub struct ZenohRuntimeEnv;

impl ZenohRuntimeEnv {
    /// The name of the variable. If the variable is already set, its value takes precedence.
    pub const VARIABLE: &str = "ZENOH_RUNTIME";
    /// The value of the variable.
    pub const VALUE: &str = "(acc: (handover: rx))";
}
