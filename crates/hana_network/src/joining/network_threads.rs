/// How a program's network spreads over threads, so that what comes takes the shortest way through it.
///
/// By itself the network waits for a connection's bytes in one thread, that which made the connection, and reads them in
/// another, which has to be woken first: on two cores that takes 40 of the 120 us that a value is under way. Told to, it
/// reads where it waits. It is told by an environment variable, which it reads once: when the program is started, or in
/// the first lines of its `main`, before there are threads. The daemon does so for itself, and for each visualization that
/// it launches; whoever launches one himself can do the same.
#[derive(Debug, Clone, Copy)]
pub struct NetworkThreads;

impl NetworkThreads {
    /// The variable. Where it is set already, somebody has a wish of his own.
    pub const VARIABLE: &str = "ZENOH_RUNTIME";
    /// For a program that others connect to in order to play it. What it hears from its daemon stays apart.
    pub const OF_A_VISUALIZATION: &str = "(acc: (handover: rx))";
    /// For a program that passes on what comes.
    pub const OF_A_DAEMON: &str = "(acc: (handover: rx), net: (handover: rx))";
}
