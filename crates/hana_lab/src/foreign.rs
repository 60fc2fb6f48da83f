//! Foreign programs: the `zenoh` CLI with our codec, and Python with `python-osc`.
//!
//! They are in a virtual environment in `target/foreign`, which `tests/foreign/setup.sh` creates from
//! `tests/foreign/requirements.txt`.

use std::path::PathBuf;

use crate::program;

/// Returns the path of the `zenoh` CLI, with the codec `hana`.
#[must_use]
pub fn zenoh() -> PathBuf {
    installed("zenoh")
}

/// Returns the path of a Python with `python-osc`, `zenoh` and `msgpack`.
#[must_use]
pub fn python() -> PathBuf {
    installed("python3")
}

/// Returns the path of a script in `tests/foreign` for [`python`], such as `osc_send.py`.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    let path = program::project_root().join("tests/foreign").join(name);
    assert!(path.is_file(), "there is no script {}", path.display());
    path
}

fn installed(name: &str) -> PathBuf {
    let target =
        program::programs().parent().expect("cargo builds below a target directory").to_path_buf();
    let path = target.join("foreign/bin").join(name);
    assert!(
        path.is_file(),
        "there is no {}: run `scripts/test.sh`, or `tests/foreign/setup.sh` alone, which makes it",
        path.display()
    );
    path
}
