use std::fmt::Write;
use std::path::{Path, PathBuf};

use hana_network::MachineConfig;
use hana_process::{Catalogue, LaunchError};
use hana_protocol::wire::error_chain;

use crate::config::{CATALOGUE_FILE, catalogue_file};

/// The result of `hanad --check`.
#[derive(Debug, Default)]
pub(crate) struct ConfigCheck {
    /// The faults, one line each: the location, the fault, and the remedy.
    faults: Vec<String>,
    /// Notes on settings that may be intentional, such as a program that is not installed on this machine.
    notes: Vec<String>,
    /// The files that were checked.
    checked: String,
}

impl ConfigCheck {
    /// Checks the settings and the catalogue that a daemon with the argument `--config NAMED` would use.
    ///
    /// `program_dir` is the directory that is searched first for programs without a path.
    pub(crate) fn run(named: Option<&Path>, program_dir: &Path) -> Self {
        let mut check = Self::default();
        let catalogue = match MachineConfig::find(named) {
            Ok(settings) => {
                check.checked = settings.origin.to_string();
                catalogue_file(&settings.origin, settings.visualizations.as_deref())
            },
            Err(problem) => {
                check.faults.push(error_chain(&problem));
                beside_faulty_settings(named)
            },
        };
        if let Some(file) = catalogue {
            check.check_catalogue(&file, program_dir);
        }
        check
    }

    fn check_catalogue(&mut self, file: &Path, program_dir: &Path) {
        let mistakes = Catalogue::mistakes(file);
        if !mistakes.is_empty() {
            self.faults.extend(mistakes.iter().map(|mistake| error_chain(mistake)));
            return;
        }
        let catalogue = match Catalogue::load(file) {
            Ok(catalogue) => catalogue,
            Err(problem) => return self.faults.push(error_chain(&problem)),
        };
        let path = file.display();
        for entry in catalogue.entries() {
            let place = format!("{path}: visualizations.{}", entry.name);
            match entry.check(program_dir) {
                Ok(()) => {},
                Err(problem @ LaunchError::ProgramNotFound { .. }) => {
                    self.notes.push(format!("{place}.program: {problem}"));
                },
                Err(problem) => self.faults.push(format!("{place}.program: {problem}")),
            }
            if let Some(dir) = entry.missing_dir() {
                self.faults.push(format!(
                    "{place}.dir: the directory {} does not exist; create it, or change 'dir'",
                    dir.display()
                ));
            }
        }
        let count = catalogue.entries().count();
        write!(self.checked, "; visualizations in {path}: {count}").ok();
    }

    pub(crate) const fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    /// Returns the lines to print.
    pub(crate) fn report(&self) -> String {
        let faults = self.faults.iter().map(|fault| format!("error: {fault}\n"));
        let notes = self.notes.iter().map(|note| format!("note: {note}\n"));
        let mut report: String = faults.chain(notes).collect();
        if !self.has_faults() {
            writeln!(report, "no faults: {}", self.checked).ok();
        }
        report
    }
}

/// Returns the catalogue in the directory of settings that cannot be read.
fn beside_faulty_settings(named: Option<&Path>) -> Option<PathBuf> {
    MachineConfig::places(named)
        .into_iter()
        .find(|path| path.ends_with(CATALOGUE_FILE) && path.exists())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    fn check(settings: &str, catalogue: &str) -> ConfigCheck {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("hanad.toml"), settings).unwrap();
        fs::write(directory.path().join(CATALOGUE_FILE), catalogue).unwrap();
        ConfigCheck::run(Some(directory.path()), Path::new("/nowhere"))
    }

    #[test]
    fn shipped_configuration_has_no_faults() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
        let check = ConfigCheck::run(Some(&shipped), Path::new("/nowhere"));
        assert!(!check.has_faults(), "{}", check.report());
        assert!(check.report().contains("visualizations.toml: 2\n"), "{check:?}");
    }

    #[test]
    fn faults_of_both_files_are_reported_in_one_line_each() {
        let catalogue = "[visualizations.a]\npolcy = 1\nprogram = \"a\"\n[visualizations.b]\n";
        let check = check("# mine\nmulticast = \"maybe\"\n", catalogue);
        let report = check.report();
        assert!(check.has_faults());
        let lines: Vec<&str> = report.lines().collect();
        assert_eq!(lines.len(), 3, "{report}");
        assert!(lines.iter().all(|line| line.starts_with("error: ")), "{report}");
        assert!(lines[0].contains("hanad.toml:2: "), "{report}");
        assert!(lines[1].contains("visualizations.toml:2: visualizations.a.polcy: "), "{report}");
        assert!(lines[2].contains("visualizations.toml:4: visualizations.b: "), "{report}");
    }

    #[test]
    fn missing_program_is_a_note_and_missing_directory_a_fault() {
        let catalogue = "[visualizations.a]\nprogram = \"no-such-program\"\n\
                         [visualizations.b]\nprogram = \"no-such-program\"\ndir = \"no-such-directory\"\n";
        let check = check("", catalogue);
        let (faults, notes) = (&check.faults, &check.notes);
        assert_eq!((faults.len(), notes.len()), (1, 2), "{check:?}");
        assert!(faults[0].contains("visualizations.b.dir: "), "{check:?}");
        assert!(notes[0].contains("visualizations.a.program: "), "{check:?}");
    }
}
