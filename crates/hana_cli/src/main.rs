//! `hana`: the command line to see the mesh, start and stop, set and watch.
//!
//! Prints for people; with `--json`, prints only one JSON document (or JSON lines for streams) to standard
//! output. Exit status: 0 for success, 1 for a failure, with one line on standard error, 2 for wrong usage. A
//! command succeeds when the reader of its output has gone, as in `hana watch | head`.

mod arguments;
mod inspect;
mod mesh;
mod output;
mod play;
mod screen;
mod setup;
mod show;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use hana_output::Stream;
use hana_protocol::message::{Blackout, Freeze, Resume};
use hana_protocol::wire::error_chain;

use crate::arguments::{Arguments, Bridge, Command};
use crate::inspect::{logs, nodes, ping, top, watch};
use crate::output::OutputError;
use crate::play::{bridge, send, set, tempo};
use crate::setup::{reload, service};
use crate::show::{demo, overrides, process};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => return print_usage(&usage),
    };
    let stderr = match output::start() {
        Ok(stderr) => stderr,
        Err(problem) => return end(Err(problem)),
    };
    // Log lines would garble the screen.
    let silent = matches!(arguments.command, Command::Top).then_some("off");
    let filter = tracing_subscriber::EnvFilter::try_from_env("HANA_LOG").unwrap_or_else(|_| {
        // A command reports once, by its own error, why it cannot reach its daemon; going on without one is
        // worth a line.
        tracing_subscriber::EnvFilter::new(
            silent.unwrap_or("error,zenoh_transport=off,hana_network::session::open=warn"),
        )
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || stderr.clone())
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .log_internal_errors(false)
        .init();
    let json = arguments.json;
    let outcome = match arguments.command {
        Command::Nodes(arguments) => nodes::run(&arguments, json),
        Command::Top => top::run(),
        Command::Start(arguments) => process::start(&arguments, json),
        Command::Stop(node) => process::stop(&node, json),
        Command::Restart(node) => process::restart(&node, json),
        Command::Kill(node) => process::kill(&node, json),
        Command::Ack(node) => process::acknowledge(&node, json),
        Command::Reload(arguments) => reload::run(&arguments, json),
        Command::Freeze(arguments) => overrides::run::<Freeze>(&arguments, json),
        Command::Blackout(arguments) => overrides::run::<Blackout>(&arguments, json),
        Command::Resume(arguments) => overrides::run::<Resume>(&arguments, json),
        Command::Set(arguments) => set::run(&arguments, json),
        Command::Tempo(arguments) => tempo::run(&arguments, json),
        Command::Play => tempo::play(json),
        Command::Pause => tempo::pause(json),
        Command::Send(arguments) => send::run(&arguments, json),
        Command::Watch(arguments) => watch::run(&arguments, json),
        Command::Logs(arguments) => logs::run(&arguments, json),
        Command::Ping(arguments) => ping::run(&arguments, json),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Bridge(Bridge::Osc(arguments)) => bridge::osc::run(&arguments),
        Command::Service(command) => service::run(command, json),
    };
    end(outcome)
}

fn end(outcome: anyhow::Result<()>) -> ExitCode {
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_reader_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::warn(error_chain(error.as_ref()));
            ExitCode::FAILURE
        },
    };
    output::flush();
    code
}

/// Prints the help, the version, or the error in the arguments.
fn print_usage(usage: &clap::Error) -> ExitCode {
    match usage.print() {
        Err(problem) if !usage.use_stderr() && !Stream::Stdout.is_closed_by(&problem) => {
            end(Err(OutputError::Unwritable(problem).into()))
        },
        _ => u8::try_from(usage.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from),
    }
}
