use std::io::{self, Write};
use std::{env, thread};

/// Prints that the current test is skipped on this machine, with the reason.
pub(crate) fn skip(name: &str, reason: &str) {
    let test = thread::current().name().unwrap_or(name).to_owned();
    // The test harness would capture the output of `eprintln!`.
    let _ = writeln!(io::stderr(), "skipped: {test}: {reason}");
}

/// Returns whether tests fail on a machine that does not allow labs: `HANA_LAB=required`, which CI sets.
pub(crate) fn is_lab_required() -> bool {
    env::var_os("HANA_LAB").is_some_and(|lab| lab == "required")
}
