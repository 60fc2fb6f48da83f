//! Runs programs on a host.

use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;

use crate::network::host::Host;
use crate::running::{Output, Running};

/// The time limit of [`Host::run`], which is ample for any program that prints a result and ends.
const RUN_DEADLINE: Duration = Duration::from_secs(20);

impl Host {
    /// Runs a program to its end and returns its output. Fails the test if that takes more than 20 s.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, line: impl IntoIterator<Item = S>) -> Output {
        let mut words = line.into_iter();
        let program = words.next().expect("a command line begins with a program");
        let mut command = self.command(program);
        command.args(words);
        self.run_within(RUN_DEADLINE, command)
    }

    /// Runs a [`Host::command`] to its end and returns its output. Fails the test if that takes longer than
    /// `deadline`.
    #[track_caller]
    pub fn run_within(&self, deadline: Duration, command: Command) -> Output {
        self.spawn(command).finish(deadline)
    }

    /// Starts a [`Host::command`]. Dropping the returned value kills and reaps the program.
    ///
    /// The output goes to files, which are printed if the test fails.
    #[track_caller]
    #[must_use]
    pub fn spawn(&self, command: Command) -> Running {
        Running::start(self.clone(), command, self.next_number())
    }

    /// Starts a program that reads lines from [`Running::send_line`].
    ///
    /// Its input ends with [`Running::hang_up`], or when the value is dropped.
    #[track_caller]
    #[must_use]
    pub fn spawn_with_input(&self, command: Command) -> Running {
        Running::start_with_input(self.clone(), command, self.next_number())
    }
}
