/// How the network of a program that is played spreads over threads, so that what is played takes the shortest way through it.
///
/// By itself Zenoh waits for what comes on a connection in the thread that accepted it, and reads it in another, which has to
/// be woken first: on two cores that takes 40 of the 120 us that a value is under way. Told to, it reads where it waits. It
/// is told by an environment variable, which it reads once. A daemon sets it for what it launches; whoever launches a
/// visualization himself can do the same. Not for a program that passes on what others send: while it waits for room to
/// send, nobody would wait for connections.
#[derive(Debug, Clone, Copy)]
pub struct ZenohRuntimeEnv;

impl ZenohRuntimeEnv {
    /// The variable. Where it is set already, somebody has a wish of his own.
    pub const VARIABLE: &str = "ZENOH_RUNTIME";
    /// What it says.
    pub const VALUE: &str = "(acc: (handover: rx))";
}
