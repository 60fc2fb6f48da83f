//! The loop of a worker process, which reads a command per line and replies with a line of JSON.

use std::io::{BufRead, Write};
use std::str::FromStr;

use hana_network::NodeConfig;
use hana_protocol::id::NodeId;
use serde_json::{Value, json};

use crate::error::BenchError;

/// Replies to each command until standard input ends.
pub(crate) fn serve(
    mut handle: impl FnMut(&str) -> Result<Value, BenchError>,
) -> Result<(), BenchError> {
    let mut out = std::io::stdout();
    let mut reply = |value: &Value| {
        writeln!(out, "{value}")
            .and_then(|()| out.flush())
            .map_err(BenchError::system("replying to the bench"))
    };
    reply(&json!("ready"))?;
    for word in std::io::stdin().lock().lines().map_while(Result::ok) {
        reply(&handle(&word)?)?;
    }
    Ok(())
}

/// Returns the error of an unknown command.
pub(crate) fn unknown(word: &str) -> BenchError {
    BenchError::Network { doing: "reading a command", problem: format!("unknown command '{word}'") }
}

/// Parses the argument with the index `place`.
pub(crate) fn argument<T: FromStr>(arguments: &[String], place: usize) -> Result<T, BenchError> {
    arguments.get(place).and_then(|text| text.parse().ok()).ok_or_else(|| BenchError::Network {
        doing: "reading its arguments",
        problem: format!("argument {place} is missing or invalid"),
    })
}

/// Splits a command into words.
pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// Returns the configuration of a node of this process, from its environment.
pub(crate) fn config(name: &str) -> Result<NodeConfig, BenchError> {
    let name = NodeId::new(name).map_err(BenchError::network("naming a node"))?;
    NodeConfig::from_environment(name)
        .map_err(BenchError::network("reading the settings of this machine"))
}
