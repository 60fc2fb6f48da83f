use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{env, io};

use thiserror::Error;

use crate::launch::program_file::ProgramFault;

/// Everything needed to launch a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchSpec {
    /// The program's file.
    pub program: PathBuf,
    /// The arguments of the program.
    pub args: Vec<String>,
    /// The environment variables to add to those of the launching program.
    pub env: BTreeMap<String, String>,
    /// The working directory; `None` for that of the launching program.
    pub dir: Option<PathBuf>,
    /// The file for standard output and standard error.
    ///
    /// Earlier files are kept as `<output>.1`, `<output>.2`, ... Missing directories are created.
    pub output: PathBuf,
    /// The file to use if `output` cannot be written. If neither can be written, the output is discarded.
    pub fallback_output: Option<PathBuf>,
    /// A text unique to this launch ([`new_launch_id`](crate::new_launch_id)), set as
    /// [`LAUNCH_ID_VAR`](crate::LAUNCH_ID_VAR).
    ///
    /// A daemon that records it before the launch can later kill the launched processes, even if the daemon itself
    /// was killed in the middle of the launch.
    pub launch_id: String,
}

/// The error of a failed launch.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// The program does not exist.
    #[error("cannot find the program '{program}' in {}; build or install it, or set its path in the catalogue", places(.looked_in))]
    ProgramNotFound {
        /// The program as the catalogue names it.
        program: String,
        /// The searched files if the program was named by a path, otherwise the searched directories.
        looked_in: Vec<PathBuf>,
    },
    /// The file exists but cannot be executed.
    #[error("{} {fault}, or set another file in the catalogue", program.display())]
    Faulty {
        /// The file.
        program: PathBuf,
        /// The fault of the file.
        fault: ProgramFault,
    },
    /// The working directory does not exist.
    #[error("the working directory {} of '{}' does not exist; create it, or change 'dir' in the catalogue", dir.display(), program.display())]
    DirNotFound {
        /// The program.
        program: PathBuf,
        /// The directory.
        dir: PathBuf,
    },
    /// The operating system refused the launch.
    #[error("cannot launch {}: {source}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

fn places(looked_in: &[PathBuf]) -> String {
    let places: Vec<String> = looked_in.iter().map(|place| place.display().to_string()).collect();
    places.join(", ")
}

/// Finds the file of a program without a path: in `beside`, then in each directory of `PATH`.
///
/// A file that cannot be executed is skipped if a later directory has one that can.
///
/// # Errors
///
/// Fails if no file has that name, or none of them can be executed.
pub fn find_program_beside(program: &str, beside: &Path) -> Result<PathBuf, LaunchError> {
    find_program(program, Path::new(""), beside)
}

/// Finds the file of `program`.
///
/// A program with a path separator is a path relative to `base`. A program without one is searched for in `beside`,
/// then in each directory of `PATH`.
pub(crate) fn find_program(
    program: &str,
    base: &Path,
    beside: &Path,
) -> Result<PathBuf, LaunchError> {
    find_program_in(program, base, beside, env::var_os("PATH").as_deref())
}

fn find_program_in(
    program: &str,
    base: &Path,
    beside: &Path,
    path: Option<&OsStr>,
) -> Result<PathBuf, LaunchError> {
    if program.contains(std::path::is_separator) {
        let file = base.join(program);
        return match candidate(&file) {
            Candidate::Program(file) => Ok(file),
            Candidate::Faulty(program, fault) => Err(LaunchError::Faulty { program, fault }),
            Candidate::Missing => {
                Err(LaunchError::ProgramNotFound { program: program.into(), looked_in: vec![file] })
            },
        };
    }
    let mut looked_in = vec![beside.to_owned()];
    looked_in.extend(path.into_iter().flat_map(env::split_paths));
    let mut refused = None;
    for dir in &looked_in {
        match candidate(&dir.join(program)) {
            Candidate::Program(file) => return Ok(file),
            Candidate::Faulty(file, fault) => refused = refused.or(Some((file, fault))),
            Candidate::Missing => {},
        }
    }
    if let Some((program, fault)) = refused {
        return Err(LaunchError::Faulty { program, fault });
    }
    Err(LaunchError::ProgramNotFound { program: program.into(), looked_in })
}

enum Candidate {
    Program(PathBuf),
    Faulty(PathBuf, ProgramFault),
    Missing,
}

fn candidate(file: &Path) -> Candidate {
    let mut with_suffix = file.as_os_str().to_owned();
    with_suffix.push(env::consts::EXE_SUFFIX);
    let candidates = [file.to_owned(), PathBuf::from(with_suffix)];
    let is_file = |file: &&PathBuf| file.is_file();
    // A directory with the program's name is reported only if no file has it.
    let found =
        candidates.iter().find(is_file).or_else(|| candidates.iter().find(|file| file.exists()));
    let Some(found) = found.cloned() else { return Candidate::Missing };
    match ProgramFault::of(&found) {
        Some(fault) => Candidate::Faulty(found, fault),
        None if found.is_file() => Candidate::Program(found),
        // The candidate is a device or a pipe.
        None => Candidate::Faulty(found, ProgramFault::NoProgram),
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(dir: &Path, name: &str, mode: u32) -> PathBuf {
        fs::create_dir_all(dir).unwrap();
        let file = dir.join(name);
        fs::write(&file, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn program_is_found_beside_the_daemon_before_path() {
        let root = tempfile::tempdir().unwrap();
        let (beside, path) = (root.path().join("beside"), root.path().join("path"));
        let in_path = program(&path, "ripples", 0o755);
        fs::create_dir_all(&beside).unwrap();
        let find = |name| find_program_in(name, root.path(), &beside, Some(path.as_os_str()));

        assert_eq!(find("ripples").unwrap(), in_path);
        let in_beside = program(&beside, "ripples", 0o755);
        assert_eq!(find("ripples").unwrap(), in_beside);
        assert_eq!(find("path/ripples").unwrap(), in_path);
    }

    #[test]
    fn missing_program_is_reported_with_every_searched_place() {
        let root = tempfile::tempdir().unwrap();
        let beside = root.path().join("beside");
        let error = find_program_in("rpples", root.path(), &beside, Some(OsStr::new("/a:/b")));
        let text = error.unwrap_err().to_string();
        assert!(text.contains("'rpples'"), "{text}");
        assert!(text.contains(&format!("{}, /a, /b", beside.display())), "{text}");

        let error = find_program_in("bin/rpples", root.path(), &beside, None).unwrap_err();
        assert!(error.to_string().contains(&root.path().join("bin/rpples").display().to_string()));
    }

    #[test]
    fn non_executable_file_is_reported() {
        let root = tempfile::tempdir().unwrap();
        let file = program(root.path(), "ripples", 0o644);
        let error = find_program_in("ripples", root.path(), root.path(), None).unwrap_err();
        let LaunchError::Faulty { program, fault } = error else { unreachable!() };
        assert_eq!((program, fault), (file, ProgramFault::NotExecutable));
    }

    #[test]
    fn executable_in_path_is_preferred_to_a_faulty_file() {
        let root = tempfile::tempdir().unwrap();
        let (beside, path) = (root.path().join("beside"), root.path().join("path"));
        program(&beside, "hana-link", 0o644);
        let in_path = program(&path, "hana-link", 0o755);
        let found = find_program_in("hana-link", root.path(), &beside, Some(path.as_os_str()));
        assert_eq!(found.unwrap(), in_path);
    }

    #[test]
    fn directory_in_place_of_a_program_is_reported() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("ripples")).unwrap();
        let error = find_program_in("./ripples", root.path(), root.path(), None).unwrap_err();
        assert!(error.to_string().contains("ripples is a directory; "), "{error}");
    }
}
