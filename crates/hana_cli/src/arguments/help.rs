use clap::builder::StyledStr;
use clap::{Command, CommandFactory};

use crate::arguments::command::Arguments;

/// The groups of commands in `hana --help`.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Show", &["demo", "start", "stop", "restart", "kill", "ack", "freeze", "blackout", "resume"]),
    ("Play", &["set", "tempo", "play", "pause", "send", "bridge"]),
    ("Inspect", &["nodes", "top", "logs", "watch", "ping"]),
    ("Set up", &["reload", "service", "completions", "man"]),
];

/// Returns the command line, with the commands in groups.
pub(crate) fn command() -> Command {
    let command = Arguments::command();
    let header = *command.get_styles().get_header();
    let literal = *command.get_styles().get_literal();
    let groups = GROUPS.map(|(title, names)| {
        let lines = names.iter().map(|name| {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(StyledStr::to_string).unwrap_or_default();
            format!("  {literal}{name:<11}{literal:#}  {about}\n")
        });
        format!("{header}{title}:{header:#}\n{}\n", lines.collect::<String>())
    });
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}{header}Options:{header:#}\n{{options}}\n\n\
        `hana help COMMAND` describes a command.",
        groups.concat()
    );
    command.help_template(template)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Splits a line as a shell does; knows only single quotes.
    fn words(line: &str) -> Vec<String> {
        let quoted = line.split('\'').enumerate();
        let mut words = vec![];
        for (index, part) in quoted {
            if index % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(String::from));
            }
        }
        words
    }

    /// Calls `check` for each command that runs something, with its name.
    fn for_each_command(command: &Command, path: &str, check: &mut impl FnMut(&Command, &str)) {
        let subcommands: Vec<&Command> =
            command.get_subcommands().filter(|command| command.get_name() != "help").collect();
        if path != "hana" {
            check(command, path);
        }
        for subcommand in subcommands {
            let path = format!("{path} {}", subcommand.get_name());
            for_each_command(subcommand, &path, check);
        }
    }

    #[test]
    fn every_command_is_in_one_group() {
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        let command = Arguments::command();
        let all: BTreeSet<&str> = command.get_subcommands().map(Command::get_name).collect();
        assert_eq!(grouped.iter().copied().collect::<BTreeSet<_>>(), all);
        assert_eq!(grouped.len(), all.len(), "a command is in two groups");
    }

    #[test]
    fn every_example_parses() {
        let mut examples = 0;
        for_each_command(&Arguments::command(), "hana", &mut |of, path| {
            for help in [of.get_after_help(), of.get_after_long_help()].into_iter().flatten() {
                let help = help.to_string();
                let example = help.lines().last().unwrap().strip_prefix("Example: ").unwrap();
                assert!(example.starts_with(path), "{path}: {example}");
                if let Err(problem) = command().try_get_matches_from(words(example)) {
                    unreachable!("{example}: {problem}");
                }
            }
            assert!(of.get_after_help().is_some(), "{path} has no example");
            examples += 1;
        });
        assert!(examples > 25, "{examples} examples");
    }

    #[test]
    fn every_line_about_a_modulator_parses() {
        let command = Arguments::command();
        let help = command.find_subcommand("set").unwrap().get_after_long_help().unwrap();
        let help = help.to_string();
        let lines: Vec<&str> =
            help.lines().map(str::trim).filter(|line| line.starts_with("hana set")).collect();
        assert_eq!(lines.len(), 3, "{help}");
        for line in lines {
            assert!(super::command().try_get_matches_from(words(line)).is_ok(), "{line}");
        }
    }

    #[test]
    fn help_lists_groups_without_colours_in_a_pipe() {
        let help = command().render_help().to_string();
        for (title, names) in GROUPS {
            assert!(help.contains(&format!("\n{title}:\n")), "{help}");
            assert!(names.iter().all(|name| help.contains(&format!("\n  {name} "))), "{help}");
        }
        assert!(help.contains("--json") && !help.contains('\x1b'), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }

    #[test]
    fn misspelt_command_is_corrected() {
        let Err(problem) = command().try_get_matches_from(["hana", "nods"]) else {
            unreachable!("a misspelt command parsed")
        };
        assert!(problem.to_string().contains("'nodes'"), "{problem}");
    }
}
