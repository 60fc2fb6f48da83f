use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A reason why the settings of a machine cannot be used. Never contains a secret.
#[derive(Debug, Error)]
pub enum MachineConfigError {
    /// The file does not exist or cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file has an error.
    #[error("{}:{line}: {problem}; config/hanad.toml of the project shows every key", path.display())]
    Invalid {
        /// The path of the file.
        path: PathBuf,
        /// The line number, starting at 1.
        line: usize,
        /// The error, which names the key.
        problem: String,
    },
    /// An environment variable that overrides the file has an invalid value.
    #[error("cannot use the environment variable {variable}: {problem}")]
    Variable {
        /// The name of the variable.
        variable: &'static str,
        /// The error in its value.
        problem: String,
    },
}
