use std::io::{self, Write};
use std::{env, thread};

/// Reports that the current test does not run on this machine, and why.
pub(crate) fn skip(name: &str, reason: &str) {
    let test = thread::current().name().unwrap_or(name).to_owned();
    // Not `eprintln!`: the test harness captures it.
    let _ = writeln!(io::stderr(), "skipped: {test}: {reason}");
}

/// Whether a machine that allows no network of hosts fails the tests: `HANA_LAB=required`, which CI sets.
pub(crate) fn is_lab_required() -> bool {
    env::var_os("HANA_LAB").is_some_and(|lab| lab == "required")
}
