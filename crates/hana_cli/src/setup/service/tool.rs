use std::process::{Command, Stdio};

use crate::setup::service::error::ServiceError;

/// A program of the operating system that hana calls.
#[derive(Debug)]
pub(crate) struct Tool {
    program: &'static str,
    leading: &'static [&'static str],
}

/// The result of a call.
#[derive(Debug)]
pub(crate) struct ToolOutput {
    pub(crate) is_success: bool,
    pub(crate) output: String,
    /// The last line on standard error, where such programs report errors.
    pub(crate) problem: String,
}

impl Tool {
    /// Creates a tool from a program, and arguments that precede all others.
    pub(crate) const fn new(program: &'static str, leading: &'static [&'static str]) -> Self {
        Self { program, leading }
    }

    /// Runs the program to its end, and accepts any exit status.
    pub(crate) fn try_run(&self, arguments: &[&str]) -> Result<ToolOutput, ServiceError> {
        let output = Command::new(self.program)
            .args(self.leading)
            .args(arguments)
            .stdin(Stdio::null())
            // The output is parsed, and must not be translated.
            .env("LC_ALL", "C")
            .output()
            .map_err(|source| ServiceError::Tool { tool: self.program.into(), source })?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        Ok(ToolOutput {
            is_success: output.status.success(),
            output: String::from_utf8_lossy(&output.stdout).trim_end().into(),
            problem: stderr.lines().rfind(|line| !line.trim().is_empty()).map_or_else(
                || format!("no message ({})", output.status),
                |line| line.trim().to_owned(),
            ),
        })
    }

    /// Runs the program to its end; a status other than success is an error.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, ServiceError> {
        let output = self.try_run(arguments)?;
        if output.is_success {
            return Ok(output.output);
        }
        let words = [&[self.program], self.leading, arguments].concat();
        Err(ServiceError::Refused { command: words.join(" "), message: output.problem })
    }
}
