use std::env;
use std::fs;
use std::process::Command;

/// Says to a process of its own which test it is there for.
const ALONE: &str = "HANA_TEST_ALONE";

/// Whether this process is there for this test alone, on a machine with these settings (`hanad.toml`): for what reads
/// them as a program does, or counts for a whole process.
///
/// In the process that all tests share it is not: there it starts the other one, and fails the test if that fails.
pub fn is_alone(test: &str, settings: &str) -> bool {
    if env::var_os(ALONE).is_some_and(|of| of == test) {
        return true;
    }
    let directory = tempfile::tempdir().expect("a temporary folder can be made");
    let file = directory.path().join("hanad.toml");
    fs::write(&file, settings).expect("a temporary file can be written");
    let status = Command::new(env::current_exe().expect("a process knows its program"))
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, test)
        .env("HANA_CONFIG", file)
        .status()
        .expect("a test can be started again");
    assert!(status.success(), "{test}, in a process of its own: {status}");
    false
}
