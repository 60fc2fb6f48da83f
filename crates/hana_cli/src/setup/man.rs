//! `hana man`: manual pages.

use std::fs;

use anyhow::Context;
use clap::CommandFactory;

use crate::arguments::{Arguments, ManArguments};
use crate::output;

pub(crate) fn run(arguments: &ManArguments) -> anyhow::Result<()> {
    let command = Arguments::command();
    let Some(directory) = &arguments.directory else {
        let mut page = vec![];
        clap_mangen::Man::new(command).render(&mut page).context("cannot write the page")?;
        output::write(&String::from_utf8_lossy(&page))?;
        return Ok(());
    };
    let doing = || format!("cannot write manual pages into {}", directory.display());
    fs::create_dir_all(directory).with_context(doing)?;
    clap_mangen::generate_to(command, directory).with_context(doing)?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn man_writes_a_page_for_each_command() {
        let directory = tempfile::tempdir().unwrap();
        run(&ManArguments { directory: Some(directory.path().join("man1")) }).unwrap();
        let page = |name: &str| {
            fs::read_to_string(directory.path().join("man1").join(format!("{name}.1"))).unwrap()
        };
        assert!(page("hana").contains("hana\\-start"), "{}", page("hana"));
        for command in Arguments::command().get_subcommands() {
            let page = page(&format!("hana-{}", command.get_name()));
            assert!(page.contains("Example: hana"), "{page}");
        }
        assert!(page("hana-service-install").contains("hana service install"));
    }
}
