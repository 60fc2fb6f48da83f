use std::io;
use std::path::Path;

pub(crate) fn is_executable(_file: &Path) -> bool {
    true
}

/// `ERROR_BAD_EXE_FORMAT`.
pub(crate) fn is_no_program(problem: &io::Error) -> bool {
    problem.raw_os_error() == Some(193)
}

pub(crate) const fn started(_pid: u32) -> Option<String> {
    None
}

#[allow(clippy::unnecessary_wraps)]
pub(crate) const fn become_subreaper() -> io::Result<()> {
    Ok(())
}

pub(crate) const fn reap_orphans() -> usize {
    0
}

/// Does nothing: killing the job already ends all processes of the launch.
#[allow(clippy::unnecessary_wraps)]
pub(crate) const fn kill_launch(_launch_id: &str) -> io::Result<()> {
    Ok(())
}
