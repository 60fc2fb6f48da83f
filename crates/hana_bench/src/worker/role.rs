use clap::ValueEnum;

/// The role of a worker process: one end of a measurement, or an intermediary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorkerRole {
    /// Hana: a visualization.
    ///
    /// Arguments: the number of parameters, whether its direct link uses UDP, the playback delay in ms, the name.
    Visualization,
    /// Hana: an app that subscribes to a message type on each lane.
    Subscriber,
    /// Hana: apps that observe the mesh. Arguments: their number, and the host in their names.
    Watchers,
    /// Plain Zenoh: a gateway. Arguments: its endpoint, and those it connects to.
    BaselineGateway,
    /// Plain Zenoh: a subscriber. Arguments: `listen` or `connect`, the endpoint, and the keys.
    BaselineSubscriber,
    /// Plain Zenoh: a queryable. Argument: the endpoint of its gateway.
    BaselineQueryable,
    /// Plain Zenoh: clients that observe the mesh. Arguments: their number, the host in their names, and the endpoint
    /// of their gateway.
    BaselineWatchers,
    /// Plain Zenoh: a router. Argument: its endpoint.
    BaselineRouter,
    /// Plain Zenoh: a client with a liveliness token. Argument: the endpoint of its router.
    BaselineToken,
}

impl WorkerRole {
    /// Returns the name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
