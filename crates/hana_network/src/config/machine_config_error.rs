use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A reason why the settings cannot be used. Never contains a secret.
#[derive(Debug, Error)]
pub enum MachineConfigError {
    /// The file does not exist or cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file has an error.
    #[error("{}:{line}: {problem}; config/hanad.toml of the project shows every key", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The error, with the key.
        problem: String,
    },
    /// An environment variable that overrides the file is invalid.
    #[error("cannot use the environment variable {variable}: {problem}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// The error.
        problem: String,
    },
}
