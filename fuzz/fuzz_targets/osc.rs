#![no_main]

#[path = "../checks/osc.rs"]
mod osc;
#[path = "../../crates/hana_cli/src/play/bridge/osc_message.rs"]
mod osc_message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| osc::check(bytes));
