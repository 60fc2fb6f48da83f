//! Keeps the developer's environment out of the tests.

use std::env;
use std::process::Command;

/// The prefixes of variables to remove: settings of hana, Zenoh and cargo, the desktop's folders, the language.
const PREFIXES: [&str; 6] = ["HANA_", "ZENOH_", "CARGO", "XDG_", "LC_", "CLICOLOR"];

/// Further variables to remove, of a desktop, a terminal, a login and a service manager.
const NAMES: [&str; 15] = [
    "COLUMNS",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LANG",
    "LANGUAGE",
    "LINES",
    "NOTIFY_SOCKET",
    "NO_COLOR",
    "RUST_LOG",
    "SUDO_USER",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "WAYLAND_DISPLAY",
];

/// The variables that a developer sets for the tests, which are kept.
const FOR_TESTS: [&str; 4] = ["HANA_SEED", "HANA_CASES", "HANA_PICTURES", "HANA_STEADY_S"];

/// Makes a program run as on a machine without any settings.
pub(crate) fn clear_developer_settings(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_developer_setting) {
            command.env_remove(&name);
        }
    }
    // Messages of other programs, which tests read, are in English.
    command.env("LC_ALL", "C.UTF-8");
}

fn is_developer_setting(name: &str) -> bool {
    let is_listed = NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    is_listed && !FOR_TESTS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn developer_settings_do_not_reach_programs_of_tests() {
        for name in
            ["HANA_SHOW", "ZENOH_CONFIG", "XDG_RUNTIME_DIR", "LC_TIME", "NO_COLOR", "DISPLAY"]
        {
            assert!(is_developer_setting(name), "{name}");
        }
        for name in ["PATH", "HOME", "RUST_BACKTRACE", "HANA_SEED", "DISPLAYS", "TERM"] {
            assert!(!is_developer_setting(name), "{name}");
        }
    }
}
