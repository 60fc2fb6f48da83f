#![no_main]

#[path = "../checks/catalogue.rs"]
mod catalogue;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| catalogue::check(bytes));
