use crate::baseline::token;
use crate::error::BenchError;
use crate::worker::role::WorkerRole;
use crate::worker::serve::argument;
use crate::worker::{baseline, subscriber, visualization, watchers};

/// Runs a role until standard input ends, and replies to each line of the input with a line of JSON.
///
/// The router and the holder of a token read no commands and run until they are killed.
///
/// # Errors
///
/// Fails if the worker cannot join, or its arguments are invalid.
pub(crate) fn run(role: WorkerRole, arguments: &[String]) -> Result<(), BenchError> {
    match role {
        WorkerRole::Visualization => visualization::run(arguments),
        WorkerRole::Subscriber => subscriber::run(),
        WorkerRole::Watchers => watchers::run(arguments),
        WorkerRole::BaselineGateway => baseline::gateway(arguments),
        WorkerRole::BaselineSubscriber => baseline::subscriber(arguments),
        WorkerRole::BaselineQueryable => baseline::queryable(arguments),
        WorkerRole::BaselineWatchers => baseline::watchers(arguments),
        WorkerRole::BaselineRouter => token::run_router(&argument::<String>(arguments, 0)?),
        WorkerRole::BaselineToken => token::run_holder(&argument::<String>(arguments, 0)?),
    }
}
