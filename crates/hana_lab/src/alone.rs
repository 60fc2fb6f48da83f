use std::net::TcpListener;
use std::process::Command;
use std::{env, fs};

use crate::environment;

/// The variable with the name of the test that a process runs alone.
const ALONE: &str = "HANA_TEST_ALONE";

/// Returns whether this process runs this test alone, with these settings (`hanad.toml`).
///
/// It is for tests that read the settings like a program, or that count resources of a whole process. In the process
/// that all tests share, it returns false after it has run the test in another process. It fails the test if that
/// process fails.
pub fn is_alone(test: &str, settings: &str) -> bool {
    if env::var_os(ALONE).is_some_and(|of| of == test) {
        return true;
    }
    let directory = tempfile::tempdir().expect("a temporary folder can be made");
    let file = directory.path().join("hanad.toml");
    fs::write(&file, settings).expect("a temporary file can be written");
    let mut command = Command::new(env::current_exe().expect("a process knows its program"));
    environment::clear_developer_settings(&mut command);
    let status = command
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, test)
        .env("HANA_CONFIG", file)
        .env("HANA_PORT", port_without_daemon().to_string())
        .status()
        .expect("a test program can be started");
    assert!(status.success(), "{test}, in a process of its own: {status}");
    false
}

/// Returns a port on which no daemon listens, since a daemon of the developer may use the default port.
fn port_without_daemon() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    free.local_addr().expect("a listener has an address").port()
}
