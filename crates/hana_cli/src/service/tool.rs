use std::process::{Command, Stdio};

use crate::service::error::ServiceError;

/// A program of the operating system that hana asks for something.
#[derive(Debug)]
pub(crate) struct Tool {
    program: &'static str,
    always: &'static [&'static str],
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) is_success: bool,
    pub(crate) output: String,
    /// Its last line on standard error, which is where such programs say what is wrong.
    pub(crate) complaint: String,
}

impl Tool {
    /// The program, and arguments that come before all others.
    pub(crate) const fn new(program: &'static str, always: &'static [&'static str]) -> Self {
        Self { program, always }
    }

    /// Runs it to its end, whatever it answers.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Result<Answer, ServiceError> {
        let output = Command::new(self.program)
            .args(self.always)
            .args(arguments)
            .stdin(Stdio::null())
            // Its words are read here, and have to be the ones that are known.
            .env("LC_ALL", "C")
            .output()
            .map_err(|source| ServiceError::Tool { tool: self.program.into(), source })?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        Ok(Answer {
            is_success: output.status.success(),
            output: String::from_utf8_lossy(&output.stdout).trim_end().into(),
            complaint: complaint.lines().rfind(|line| !line.trim().is_empty()).map_or_else(
                || format!("nothing ({})", output.status),
                |line| line.trim().to_owned(),
            ),
        })
    }

    /// Runs it to its end; anything but success is an error.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, ServiceError> {
        let answer = self.ask(arguments)?;
        if answer.is_success {
            return Ok(answer.output);
        }
        let words = [&[self.program], self.always, arguments].concat();
        Err(ServiceError::Refused { command: words.join(" "), said: answer.complaint })
    }
}
