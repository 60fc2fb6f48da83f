use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Returns the root of the project, with `config/` and `keyexprs.md`.
#[must_use]
pub fn project_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies two folders below the root")
}

/// Returns the folder of the workspace's programs: `debug` in the current target directory.
pub(crate) fn programs() -> PathBuf {
    let this = env::current_exe().expect("a process knows its program");
    let directory = this.parent().expect("a program lies in a directory");
    if directory.ends_with("deps") {
        directory.parent().expect("deps lies in a directory").into()
    } else {
        directory.into()
    }
}

/// Finds a program of this workspace, or else one in `PATH`. A path is returned unchanged.
///
/// Fails the test if there is no such program, because in most cases it was not built.
pub(crate) fn resolve(name: &OsStr) -> PathBuf {
    let path = Path::new(name);
    if path.components().count() > 1 {
        return path.into();
    }
    let ours = programs().join(path);
    if ours.is_file() {
        return ours;
    }
    let elsewhere = env::var_os("PATH").and_then(|paths| {
        env::split_paths(&paths).map(|directory| directory.join(path)).find(|p| p.is_file())
    });
    elsewhere.unwrap_or_else(|| {
        panic!(
            "there is no program {} and none in PATH: run `cargo build --workspace` first",
            ours.display()
        )
    })
}
