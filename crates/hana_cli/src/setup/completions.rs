//! `hana completions`: the script by which a shell requests completions from this program.

use anyhow::Context;
use clap_complete::env::{CompleteEnv, Shells};

use crate::arguments::{CompletionsArguments, Shell};
use crate::{arguments, output};

/// The variable by which the script requests completions.
const VARIABLE: &str = "HANA_COMPLETE";

pub(crate) fn run(arguments: &CompletionsArguments) -> anyhow::Result<()> {
    let shell = match arguments.shell {
        Shell::Bash => "bash",
        Shell::Elvish => "elvish",
        Shell::Fish => "fish",
        Shell::Powershell => "powershell",
        Shell::Zsh => "zsh",
    };
    let shells = Shells::builtins();
    let completer = shells.completer(shell).context("unknown shell")?;
    let mut script = vec![];
    completer
        .write_registration(VARIABLE, "hana", "hana", "hana", &mut script)
        .context("cannot write the script")?;
    output::write(&String::from_utf8(script).context("cannot write the script")?)?;
    Ok(())
}

/// Prints completions and exits if a shell requests them.
pub(crate) fn reply_to_shell() {
    CompleteEnv::with_factory(arguments::command).var(VARIABLE).complete();
}
