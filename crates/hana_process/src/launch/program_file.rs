//! Diagnosis of files that cannot be executed.
//!
//! The operating system reports a missing file and a missing interpreter with the same error, and every file that is
//! not a program with another. Inspecting the file distinguishes the cases.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use crate::os;

/// The reason why a file cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramFault {
    /// The file is a directory.
    Directory,
    /// The file lacks the permission to be executed.
    NotExecutable,
    /// The file is empty.
    Empty,
    /// The first line names an interpreter that is missing or cannot be executed.
    NoInterpreter {
        /// The interpreter.
        interpreter: PathBuf,
    },
    /// The program is for another processor architecture.
    OtherMachine {
        /// The architecture.
        machine: &'static str,
    },
    /// The file is neither a program nor a script.
    NoProgram,
}

impl fmt::Display for ProgramFault {
    /// Writes the cause and, after a semicolon, the remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("is a directory; give the path of the program in it"),
            Self::NotExecutable => {
                f.write_str("is not executable; run chmod +x on it")
            },
            Self::Empty => f.write_str("is empty; build or copy it again"),
            Self::NoInterpreter { interpreter } => write!(
                f,
                "is a script for {}, which is missing or not executable; install it, or correct the first line",
                interpreter.display()
            ),
            Self::OtherMachine { machine } => write!(
                f,
                "is a program for another architecture ({machine}); build it for this machine"
            ),
            Self::NoProgram => f.write_str(
                "is neither a program for this system nor a script; the first line of a script names its interpreter, such as #!/bin/sh",
            ),
        }
    }
}

impl ProgramFault {
    /// Returns the fault that certainly keeps the file from being executed. A missing file has none.
    #[must_use]
    pub fn of(file: &Path) -> Option<Self> {
        if file.is_dir() {
            return Some(Self::Directory);
        }
        if !file.is_file() {
            return None;
        }
        if !os::is_executable(file) {
            return Some(Self::NotExecutable);
        }
        Self::of_header(&header(file).ok()?)
    }

    /// Returns the fault that explains an error of the system, or `None` if the error has another cause.
    ///
    /// It is the fault of [`Self::of`], or [`Self::NoProgram`] if the error means that the file is not a program.
    pub(crate) fn behind(problem: &io::Error, file: &Path) -> Option<Self> {
        Self::of(file).or_else(|| os::is_no_program(problem).then_some(Self::NoProgram))
    }

    fn of_header(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::Empty);
        }
        if !cfg!(unix) {
            return None;
        }
        if let Some(interpreter) = interpreter(bytes) {
            let runs = fs::metadata(&interpreter).is_ok_and(|file| file.is_file())
                && os::is_executable(&interpreter);
            return (!runs).then_some(Self::NoInterpreter { interpreter });
        }
        other_machine(bytes).map(|machine| Self::OtherMachine { machine })
    }
}

/// Reads the first bytes of a file, as many as the kernel inspects.
fn header(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(256);
    File::open(file)?.take(256).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the absolute path of the interpreter in a script's first line.
fn interpreter(bytes: &[u8]) -> Option<PathBuf> {
    let line = bytes.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    // A carriage return is part of the name, which is why a script with Windows line ends cannot run.
    let line = String::from_utf8_lossy(line);
    let word = line.trim_start_matches([' ', '\t']).split([' ', '\t']).next()?;
    (!word.is_empty()).then(|| word.into()).filter(|path: &PathBuf| path.is_absolute())
}

/// Returns the program's architecture if this machine certainly cannot run it.
#[cfg(target_os = "linux")]
fn other_machine(bytes: &[u8]) -> Option<&'static str> {
    let (theirs, own) = (elf_machine(bytes)?, own_machine()?);
    let runs_too = [(X86_64, I386), (AARCH64, ARM)].contains(&(own, theirs));
    // An emulator registered with the kernel can run programs of other architectures.
    if theirs == own || runs_too || has_emulators() {
        return None;
    }
    Some(match theirs {
        I386 => "x86",
        ARM => "ARM",
        X86_64 => "x86-64",
        AARCH64 => "ARM, 64 bits",
        243 => "RISC-V",
        _ => "unknown",
    })
}

#[cfg(not(target_os = "linux"))]
const fn other_machine(_bytes: &[u8]) -> Option<&'static str> {
    None
}

#[cfg(target_os = "linux")]
const I386: u16 = 3;
#[cfg(target_os = "linux")]
const ARM: u16 = 40;
#[cfg(target_os = "linux")]
const X86_64: u16 = 62;
#[cfg(target_os = "linux")]
const AARCH64: u16 = 183;

/// Returns the field `e_machine` of an ELF file.
#[cfg(target_os = "linux")]
fn elf_machine(bytes: &[u8]) -> Option<u16> {
    let header = bytes.strip_prefix(b"\x7fELF")?;
    let field = [*header.get(14)?, *header.get(15)?];
    let is_big_endian = *header.get(1)? == 2;
    Some(if is_big_endian { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) })
}

#[cfg(target_os = "linux")]
fn own_machine() -> Option<u16> {
    elf_machine(&header(Path::new("/proc/self/exe")).ok()?)
}

#[cfg(target_os = "linux")]
fn has_emulators() -> bool {
    fs::read_dir("/proc/sys/fs/binfmt_misc").is_ok_and(|found| {
        found
            .flatten()
            .any(|entry| !["register", "status"].iter().any(|own| entry.file_name() == *own))
    })
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fault_of(content: &[u8], mode: u32) -> Option<ProgramFault> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("program");
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        ProgramFault::of(&file)
    }

    #[test]
    fn each_faulty_file_is_reported_by_its_fault() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ProgramFault::of(dir.path()), Some(ProgramFault::Directory));
        assert_eq!(ProgramFault::of(&dir.path().join("missing")), None);
        assert_eq!(fault_of(b"#!/bin/sh\n", 0o644), Some(ProgramFault::NotExecutable));
        assert_eq!(fault_of(b"", 0o755), Some(ProgramFault::Empty));
        for (script, name) in [("#!/no/such", "/no/such"), ("#! /bin/sh\r\necho\n", "/bin/sh\r")] {
            let interpreter = name.into();
            let expected = Some(ProgramFault::NoInterpreter { interpreter });
            assert_eq!(fault_of(script.as_bytes(), 0o755), expected);
        }
    }

    #[test]
    fn working_program_and_script_have_no_fault() {
        assert_eq!(fault_of(b"#!/bin/sh -e\n", 0o755), None);
        assert_eq!(ProgramFault::of(&std::env::current_exe().unwrap()), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn program_of_another_architecture_is_refused() {
        let mut program = header(Path::new("/proc/self/exe")).unwrap();
        program[18] = 243;
        let fault = other_machine(&program);
        assert_eq!(fault, (!has_emulators()).then_some("RISC-V"));
    }
}
