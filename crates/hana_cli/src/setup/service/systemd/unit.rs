//! The text of the unit.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::setup::service::plan::{Plan, ServiceScope};

/// The trigger that starts the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StartedBy {
    /// The user's first login, or the boot if lingering is enabled for the user.
    Login,
    /// The start of the user's desktop, with which the service also ends, since the display is known only during that
    /// time.
    Desktop,
    /// The boot of the machine; the service runs as this user.
    Boot { user: String },
}

/// Default state directory of a machine-wide service, without `HANA_STATE`: the directory that `StateDirectory=hana`
/// creates.
pub(super) const STATE_OF_SYSTEM: &str = "/var/lib/hana";

pub(super) fn text(plan: &Plan, started_by: &StartedBy) -> String {
    let how = match plan.scope {
        ServiceScope::User => "systemctl --user",
        ServiceScope::System => "systemctl",
    };
    let (unit, service, wanted_by) = match started_by {
        StartedBy::Login => (String::new(), String::new(), "default.target"),
        StartedBy::Desktop => (
            "After=graphical-session.target\nPartOf=graphical-session.target\n".into(),
            String::new(),
            "graphical-session.target",
        ),
        StartedBy::Boot { user } => (
            "After=network.target\n".into(),
            format!("User={user}\nStateDirectory=hana\n"),
            "multi-user.target",
        ),
    };
    let environment = environment_lines(&plan.environment);
    let daemon = quoted(&plan.daemon.display().to_string());
    format!(
        "\
# Written by `hana service install`, which overwrites it. For lasting changes: `{how} edit hanad`.
[Unit]
Description=hana: finds the other machines, launches and watches visualizations
# No limit: it starts once the cause of its failures is gone.
StartLimitIntervalSec=0
{unit}
[Service]
Type=notify
ExecStart={daemon}
# Reads the catalogue again. `hana service restart` replaces hanad and keeps visualizations; `restart` ends them.
ExecReload=/bin/kill -HUP $MAINPID
{environment}{service}Restart=always
RestartSec=1
# Its own watchdog ends it if its loop hangs for 10 s; this one is for a process whose threads all hang.
WatchdogSec=15
# After a crash of the daemon, its visualizations keep running, and the next daemon adopts them. In any other mode,
# systemd would kill them before it restarts the daemon. A clean stop ends them: the daemon does that itself, and
# needs up to 10 s.
KillMode=process
TimeoutStopSec=20
TimeoutStartSec=60

[Install]
WantedBy={wanted_by}
"
    )
}

fn environment_lines(environment: &BTreeMap<String, String>) -> String {
    environment.iter().fold(String::new(), |mut lines, (key, value)| {
        writeln!(lines, "Environment={}", quoted(&format!("{key}={value}"))).ok();
        lines
    })
}

/// Quotes a word for a unit file; the word may have any characters.
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{escaped}\"")
}

/// Returns the variables in a unit written by [`text`].
pub(super) fn environment_of(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("Environment=\"")?.strip_suffix('"'))
        .map(|word| word.replace("%%", "%").replace("\\\"", "\"").replace(r"\\", r"\"))
        .filter_map(|word| {
            let (key, value) = word.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Whether systemd can start a program at that path.
pub(super) fn can_start(daemon: &Path) -> bool {
    !daemon
        .display()
        .to_string()
        .contains(|char: char| char.is_control() || matches!(char, '"' | '\'' | '\\'))
}

/// Whether a unit starts that daemon.
pub(super) fn starts(text: &str, daemon: &Path) -> bool {
    text.contains(&format!("\nExecStart={}\n", quoted(&daemon.display().to_string())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn plan(scope: ServiceScope) -> Plan {
        Plan {
            daemon: "/opt/hana/bin/hanad".into(),
            environment: [("HANA_HOST".into(), "wall-left".into())].into(),
            scope,
        }
    }

    fn awkward() -> Plan {
        let environment = [
            ("HANA_CONFIG".into(), r#"/home/a b/50%\"show"/hanad.toml"#.into()),
            ("HANA_STATE".into(), "/tmp/$HOME/x=y".into()),
        ];
        let daemon = r#"/opt/my "hana" 100%/hanad"#.into();
        Plan { daemon, environment: environment.into(), scope: ServiceScope::User }
    }

    #[test]
    fn unit_of_a_user_matches_the_golden_file() {
        assert_eq!(
            text(&plan(ServiceScope::User), &StartedBy::Login),
            include_str!("user.golden.service")
        );
    }

    #[test]
    fn unit_of_a_machine_matches_the_golden_file() {
        let by = StartedBy::Boot { user: "ada".into() };
        assert_eq!(text(&plan(ServiceScope::System), &by), include_str!("system.golden.service"));
    }

    #[test]
    fn desktop_unit_starts_and_ends_with_the_session() {
        let text = text(&plan(ServiceScope::User), &StartedBy::Desktop);
        assert!(text.contains("\nWantedBy=graphical-session.target\n"), "{text}");
        assert!(text.contains("\nPartOf=graphical-session.target\n"), "{text}");
    }

    #[test]
    fn unit_environment_is_read_back() {
        let plan = awkward();
        let text = text(&plan, &StartedBy::Login);
        assert_eq!(environment_of(&text), plan.environment);
        assert!(starts(&text, &plan.daemon) && !starts(&text, Path::new("/opt/hanad")));
    }

    /// Has systemd check the units, if it is installed.
    #[test]
    fn systemd_accepts_the_units() {
        use std::process::Command;

        let dir = tempfile::tempdir().unwrap();
        // systemd also checks that the program exists, so the test uses a copy of `/bin/true`.
        let daemon = dir.path().join("my hana 100%");
        std::fs::copy("/bin/true", &daemon).unwrap();
        let units = [
            ("login", Plan { daemon: daemon.clone(), ..awkward() }, StartedBy::Login),
            ("desktop", Plan { daemon: daemon.clone(), ..awkward() }, StartedBy::Desktop),
            (
                "boot",
                Plan { daemon, scope: ServiceScope::System, ..awkward() },
                StartedBy::Boot { user: "root".into() },
            ),
        ];
        for (name, plan, by) in units {
            let file = dir.path().join(format!("hanad-{name}.service"));
            std::fs::write(&file, text(&plan, &by)).unwrap();
            let manager = if plan.scope == ServiceScope::User { "--user" } else { "--system" };
            let answer = Command::new("systemd-analyze")
                .args(["verify", manager, "--man=no", "--recursive-errors=no"])
                .arg(&file)
                .env("XDG_RUNTIME_DIR", dir.path())
                .output();
            let Ok(answer) = answer else {
                eprintln!("skipped: there is no systemd-analyze here");
                return;
            };
            let said = String::from_utf8_lossy(&answer.stderr);
            assert!(answer.status.success() && !said.contains("hanad-"), "{name}: {said}");
        }
    }
}
