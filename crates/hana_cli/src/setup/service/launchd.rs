//! macOS: an agent of launchd, which runs from login on and may open windows.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::thread;
use std::time::Duration;

use etcetera::BaseStrategy;

use crate::setup::service::error::ServiceError;
use crate::setup::service::installed_file::InstalledFile;
use crate::setup::service::log_file;
use crate::setup::service::manager::{Change, Installation, Manager, Removal, Restarted, Status};
use crate::setup::service::plan::{Plan, ServiceScope};
use crate::setup::service::tool::Tool;

/// launchd, for this user's login session.
#[derive(Debug)]
pub(crate) struct Launchd {
    plist: InstalledFile,
    /// The domain of the user's session, such as `gui/501`.
    domain: String,
    launchctl: Tool,
}

const MANAGER: &str = "launchd";
const LABEL: &str = "org.hana.hanad";
/// Maximum number of `bootstrap` attempts. `bootout` returns before the agent is gone, and `bootstrap` fails until
/// then.
const BOOTSTRAP_TRIES: u32 = 25;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

impl Launchd {
    pub(crate) fn of_user() -> Result<Self, ServiceError> {
        let base = etcetera::choose_base_strategy().map_err(|_| ServiceError::NoHome)?;
        let agents = base.home_dir().join("Library/LaunchAgents");
        Ok(Self {
            plist: InstalledFile::at(agents.join(format!("{LABEL}.plist"))),
            domain: format!("gui/{}", user_id()),
            launchctl: Tool::new("launchctl", &[]),
        })
    }

    fn agent(&self) -> String {
        format!("{}/{LABEL}", self.domain)
    }

    fn bootstrap(&self) -> Result<(), ServiceError> {
        let file = self.plist.path().display().to_string();
        let mut tries = 1;
        loop {
            match self.launchctl.run(&["bootstrap", &self.domain, &file]) {
                Err(_) if tries < BOOTSTRAP_TRIES => {
                    tries += 1;
                    thread::sleep(BETWEEN_TRIES);
                },
                outcome => return outcome.map(|_| ()),
            }
        }
    }
}

impl Manager for Launchd {
    fn install(&self, plan: &Plan) -> Result<Installation, ServiceError> {
        let is_loaded = self.launchctl.try_run(&["print", &self.agent()])?.is_success;
        if !is_loaded && hana_network::daemon_is_listening() {
            return Err(ServiceError::AlreadyRuns);
        }
        let change = self.plist.write(&plist(plan))?;
        if is_loaded && change != Change::Unchanged {
            self.launchctl.run(&["bootout", &self.agent()])?;
        }
        if !is_loaded || change != Change::Unchanged {
            self.bootstrap()?;
        }
        Ok(Installation {
            manager: MANAGER,
            scope: ServiceScope::User,
            change,
            file: Some(self.plist.path().into()),
            log: log_file::of_daemon_with(&plan.environment),
            notes: vec!["it runs while you are logged in".into()],
        })
    }

    fn remove(&self) -> Result<Removal, ServiceError> {
        if self.launchctl.try_run(&["print", &self.agent()])?.is_success {
            self.launchctl.run(&["bootout", &self.agent()])?;
        }
        let removed = self.plist.remove()?;
        Ok(Removal { manager: MANAGER, scope: ServiceScope::User, removed, notes: vec![] })
    }

    fn restart(&self) -> Result<Restarted, ServiceError> {
        if self.plist.read().is_none() {
            return Err(ServiceError::NotInstalled);
        }
        let agent = self.agent();
        let output = self.launchctl.try_run(&["print", &agent])?;
        let replaced = output.is_success && value(&output.output, "state") == Some("running");
        if replaced {
            self.launchctl.run(&["kill", "SIGUSR2", &agent])?;
        } else if output.is_success {
            self.launchctl.run(&["kickstart", &agent])?;
        } else {
            self.bootstrap()?;
        }
        Ok(Restarted { manager: MANAGER, scope: ServiceScope::User, replaced, notes: vec![] })
    }

    fn status(&self) -> Result<Status, ServiceError> {
        let installed = self.plist.read();
        let output = self.launchctl.try_run(&["print", &self.agent()])?;
        let state = if output.is_success { value(&output.output, "state") } else { None };
        let state = state.unwrap_or("not loaded").to_owned();
        let pid = value(&output.output, "pid").and_then(|pid| pid.parse().ok());
        let since = pid.and_then(|pid: u32| {
            let ps = Tool::new("ps", &["-o", "lstart="]);
            ps.run(&["-p", &pid.to_string()]).ok()
        });
        let environment = installed.as_deref().map(environment_of);
        Ok(Status {
            manager: MANAGER,
            scope: ServiceScope::User,
            installed: installed.is_some(),
            running: state == "running",
            state,
            pid,
            since: since.map(|since| since.trim().to_owned()),
            // launchd counts the first start too.
            restarts: value(&output.output, "runs")
                .and_then(|runs| runs.parse::<u32>().ok())
                .map(|runs| runs.saturating_sub(1)),
            says: None,
            file: installed.as_ref().map(|_| self.plist.path().into()),
            log: environment.as_ref().and_then(log_file::of_daemon_with),
            notes: vec![],
        })
    }
}

#[cfg(unix)]
fn user_id() -> u32 {
    rustix::process::getuid().as_raw()
}

#[cfg(not(unix))]
const fn user_id() -> u32 {
    0
}

/// Returns the first value of `name` in the output of `launchctl print`, which has one `name = value` per line.
///
/// The service's own values come first.
fn value<'a>(printed: &'a str, name: &str) -> Option<&'a str> {
    printed.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// Returns the text of the property list.
fn plist(plan: &Plan) -> String {
    let daemon = escaped(&plan.daemon.display().to_string());
    let environment = plan.environment.iter().fold(String::new(), |mut lines, (key, value)| {
        writeln!(lines, "        <key>{key}</key><string>{}</string>", escaped(value)).ok();
        lines
    });
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Written by `hana service install`, which writes it anew. -->
<plist version="1.0">
<dict>
    <key>Label</key><string>{LABEL}</string>
    <key>ProgramArguments</key>
    <array>
        <string>{daemon}</string>
    </array>
    <key>EnvironmentVariables</key>
    <dict>
{environment}    </dict>
    <key>RunAtLoad</key><true/>
    <key>KeepAlive</key><true/>
    <key>ThrottleInterval</key><integer>1</integer>
    <!-- A crash of the daemon leaves its visualizations running. -->
    <key>AbandonProcessGroup</key><true/>
    <!-- Told to end, the daemon ends its visualizations first, for which it needs up to 10 s. -->
    <key>ExitTimeOut</key><integer>20</integer>
    <!-- Not slowed down as a background task would be; with a screen. -->
    <key>ProcessType</key><string>Interactive</string>
    <key>LimitLoadToSessionType</key><string>Aqua</string>
</dict>
</plist>
"#
    )
}

/// Returns the variables in a property list written by [`plist`].
fn environment_of(plist: &str) -> BTreeMap<String, String> {
    plist
        .lines()
        .filter_map(|line| {
            let rest = line.trim().strip_prefix("<key>")?.strip_suffix("</string>")?;
            let (key, value) = rest.split_once("</key><string>")?;
            key.starts_with("HANA_").then(|| (key.to_owned(), unescaped(value)))
        })
        .collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn property_list_of_a_user_matches_the_golden_file() {
        let plan = Plan {
            daemon: "/Applications/hana & co/hanad".into(),
            environment: [("HANA_HOST".into(), "wall-left".into())].into(),
            scope: ServiceScope::User,
        };
        assert_eq!(plist(&plan), include_str!("launchd.golden.plist"));
    }

    #[test]
    fn launchd_environment_is_read_back() {
        let environment: BTreeMap<String, String> =
            [("HANA_STATE".into(), "/a&amp;b <c>".into())].into();
        let plan = Plan {
            daemon: "/hanad".into(),
            environment: environment.clone(),
            scope: ServiceScope::User,
        };
        assert_eq!(environment_of(&plist(&plan)), environment);
    }

    #[test]
    fn output_of_launchctl_is_parsed() {
        let printed = "gui/501/org.hana.hanad = {\n\tactive count = 1\n\tstate = running\n\n\tprogram = /hanad\n\truns = 3\n\tpid = 4711\n\tx = {\n\t\tstate = 7\n\t}\n}";
        assert_eq!(value(printed, "state"), Some("running"));
        assert_eq!(value(printed, "pid"), Some("4711"));
        assert_eq!(value(printed, "runs"), Some("3"));
        assert_eq!(value(printed, "last exit code"), None);
    }
}
