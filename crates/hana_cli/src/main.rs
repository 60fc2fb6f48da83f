//! `hana`: the command line to see the mesh, start and stop, set and watch.
//!
//! Prints text for people; with `--json`, prints only one JSON document (or JSON lines for streams) to standard
//! output. Exit status: 0 for success, 1 for a failure, with one line on standard error, 2 for wrong usage. A command
//! succeeds when the reader of its output closes it, as in `hana watch | head`.

mod arguments;
mod inspect;
mod mesh;
mod output;
mod play;
mod screen;
mod setup;
mod show;
mod suggest;

use std::process::ExitCode;

use clap::FromArgMatches;
use hana_output::Stream;
use hana_protocol::message::{Blackout, Freeze, Resume};
use hana_protocol::wire::error_chain;

use crate::arguments::{Arguments, Bridge, Command};
use crate::inspect::{logs, nodes, ping, top, watch};
use crate::output::OutputError;
use crate::play::{bridge, send, set, tempo};
use crate::setup::{completions, man, reload, service};
use crate::show::{demo, overrides, process};

fn main() -> ExitCode {
    completions::reply_to_shell();
    let matches = arguments::command().try_get_matches();
    let arguments = match matches.and_then(|matches| Arguments::from_arg_matches(&matches)) {
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
        // A command that cannot reach its daemon reports the reason once, in its own error. A command that continues
        // without a daemon logs a warning.
        tracing_subscriber::EnvFilter::new(
            silent.unwrap_or("error,zenoh_transport=off,hana_network::session::session_kind=warn"),
        )
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || stderr.clone())
        .with_ansi(output::has_colours(Stream::Stderr))
        .with_target(false)
        .log_internal_errors(false)
        .init();
    let format = arguments.format();
    let outcome = match arguments.command {
        Command::Nodes(arguments) => nodes::run(&arguments, format),
        Command::Top => top::run(),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Start(arguments) => process::start(&arguments, format),
        Command::Stop(node) => process::stop(&node, format),
        Command::Restart(node) => process::restart(&node, format),
        Command::Kill(node) => process::kill(&node, format),
        Command::Ack(node) => process::acknowledge(&node, format),
        Command::Reload(arguments) => reload::run(&arguments, format),
        Command::Freeze(arguments) => overrides::run::<Freeze>(&arguments, format),
        Command::Blackout(arguments) => overrides::run::<Blackout>(&arguments, format),
        Command::Resume(arguments) => overrides::run::<Resume>(&arguments, format),
        Command::Set(arguments) => set::run(&arguments, format),
        Command::Tempo(arguments) => tempo::run(&arguments, format),
        Command::Play => tempo::play(format),
        Command::Pause => tempo::pause(format),
        Command::Send(arguments) => send::run(&arguments, format),
        Command::Watch(arguments) => watch::run(&arguments, format),
        Command::Logs(arguments) => logs::run(&arguments, format),
        Command::Ping(arguments) => ping::run(&arguments, format),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Bridge(Bridge::Osc(arguments)) => bridge::osc::run(&arguments),
        Command::Service(command) => service::run(command, format),
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
