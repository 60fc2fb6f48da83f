//! The command line: commands, options, help.

mod command;
mod help;
mod inspect;
mod play;
mod setup;
mod show;

pub(crate) use command::{Arguments, Command};
pub(crate) use help::command;
pub(crate) use inspect::{LogsArguments, NodesArguments, PingArguments, WatchArguments};
pub(crate) use play::{Bridge, OscArguments, SendArguments, SetArguments, TempoArguments};
pub(crate) use setup::{CompletionsArguments, ManArguments, ReloadArguments, Service, Shell};
pub(crate) use show::{DemoArguments, NodeArgument, OverrideArguments, StartArguments};
