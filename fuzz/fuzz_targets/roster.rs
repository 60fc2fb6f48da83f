#![no_main]

#[path = "../checks/roster.rs"]
mod roster;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| roster::check(bytes));
