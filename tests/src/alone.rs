use std::net::TcpListener;
use std::process::Command;
use std::{env, fs};

use crate::environment;

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
    let mut command = Command::new(env::current_exe().expect("a process knows its program"));
    environment::forget_the_person(&mut command);
    let status = command
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, test)
        .env("HANA_CONFIG", file)
        .env("HANA_PORT", port_without_daemon().to_string())
        .status()
        .expect("a test can be started again");
    assert!(status.success(), "{test}, in a process of its own: {status}");
    false
}

/// A daemon of the person who runs the test may listen at the usual port.
fn port_without_daemon() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    free.local_addr().expect("a listener has an address").port()
}
