//! The daemon as a service of a real systemd: the instance of a user, on a host of the lab.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hana_lab::show::figure;
use hana_lab::{Host, Lab, Output, Running, Signal, eventually, show};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(20);
/// The time limit for the unit's `WatchdogSec` and the restart, on a machine that is busy with other tests.
const WATCHDOG: Duration = Duration::from_mins(1);
const SYSTEMD: &str = "/lib/systemd/systemd";

/// Control groups for this test, since systemd must be able to create groups inside its own. Dropping this removes
/// them.
struct ControlGroups(Vec<PathBuf>);

impl ControlGroups {
    fn make() -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let is_unified = root.join("cgroup.controllers").exists();
        let of_this = fs::read_to_string("/proc/self/cgroup").ok()?;
        let made: Vec<PathBuf> = of_this
            .lines()
            .filter_map(|line| {
                let (hierarchy, path) = line.rsplit_once(':')?;
                let base = match hierarchy {
                    "0:" if is_unified => root.into(),
                    "0:" => root.join("unified"),
                    _ if hierarchy.ends_with(":name=systemd") => root.join("systemd"),
                    _ => return None,
                };
                let name = format!("hana-test-{}", std::process::id());
                Some(base.join(path.trim_start_matches('/')).join(name))
            })
            .collect();
        let groups = Self(made);
        let is_made = groups.0.iter().all(|group| fs::create_dir(group).is_ok());
        (is_made && !groups.0.is_empty()).then_some(groups)
    }
}

impl Drop for ControlGroups {
    fn drop(&mut self) {
        for group in &self.0 {
            let begun = Instant::now();
            // A group can be removed once its last process has ended.
            while group.exists() && begun.elapsed() < Duration::from_secs(5) {
                remove_groups(group);
            }
        }
    }
}

fn remove_groups(group: &Path) {
    for below in fs::read_dir(group).into_iter().flatten().flatten() {
        if below.path().is_dir() {
            remove_groups(&below.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// A user's systemd on a host.
struct UserManager {
    host: Host,
    _running: Running,
}

impl UserManager {
    fn start(host: &Host, groups: &ControlGroups) -> Self {
        let script = format!(
            "set -e
            mount -t tmpfs tmpfs /run
            mkdir -p /run/systemd/system
            for group in \"$@\"; do echo 0 > \"$group/cgroup.procs\"; done
            exec {SYSTEMD} --user --log-target=null"
        );
        let mut command = host.command("sh");
        command.args(["-c", &script, "sh"]).args(&groups.0);
        command.env_remove("HANA_STATE");
        let running = host.spawn(in_session(host, command));
        let manager = Self { host: host.clone(), _running: running };
        eventually(DEADLINE, "the user's systemd to run", || {
            let mut command = host.command("systemctl");
            command.args(["--user", "is-system-running"]);
            let output = host.run_within(DEADLINE, in_session(host, command)).stdout;
            // `degraded` means that another unit of this machine cannot start in the lab.
            if matches!(output.trim(), "running" | "degraded") { Ok(()) } else { Err(output) }
        });
        manager
    }

    /// Runs `hana service` in a login session of this user.
    fn service(&self, words: &[&str], environment: &[(&str, &Path)]) -> Output {
        let mut command = self.host.command("hana");
        command.arg("service").args(words).env_remove("HANA_STATE");
        for (variable, value) in environment {
            command.env(variable, value);
        }
        self.host.run_within(Duration::from_secs(90), in_session(&self.host, command))
    }

    fn status(&self) -> Value {
        self.service(&["status", "--json"], &[]).ok().json()
    }

    fn pid(&self) -> i32 {
        pid_in(&self.status()).unwrap()
    }

    /// Waits until systemd has restarted the daemon this many times, and returns its pid.
    fn await_restart(&self, times: u64, within: Duration) -> i32 {
        eventually(within, "systemd to have started the daemon again", || {
            let status = self.status();
            let again = status["running"] == true && status["restarts"] == times;
            pid_in(&status).filter(|_| again).ok_or(status)
        })
    }
}

fn pid_in(status: &Value) -> Option<i32> {
    i32::try_from(status["pid"].as_i64()?).ok()
}

fn in_session(host: &Host, mut command: Command) -> Command {
    let runtime = host.directory().join("tmp/run");
    fs::create_dir_all(&runtime).unwrap();
    command.env("XDG_RUNTIME_DIR", runtime).env_remove("DBUS_SESSION_BUS_ADDRESS");
    command
}

fn skipped(why: &str) {
    // The test harness would capture the output of `eprintln!`.
    let _ = writeln!(std::io::stderr(), "skipped: the daemon as a service: {why}");
}

fn frames(host: &Host, id: &str) -> Option<u64> {
    show::node(&show::nodes(host), id)?["frame"].as_u64()
}

/// Asserts that a visualization still draws in the same process, and returns the frame number.
fn await_drawing(host: &Host, id: &str, pid: i32, since: u64) -> u64 {
    assert!(host.processes().iter().any(|process| process.pid == pid), "{id} is gone");
    eventually(DEADLINE, "the visualization to draw", || {
        frames(host, id).filter(|now| *now > since)
    })
}

#[test]
fn service_installs_restarts_after_crash_and_hang_and_removes() {
    if !Path::new(SYSTEMD).exists() {
        return skipped("there is no systemd on this machine");
    }
    let Some(groups) = ControlGroups::make() else {
        return skipped("this user may not make control groups for a systemd");
    };
    let Some(lab) = Lab::new("service") else { return };
    let host = lab.host("h1");
    let manager = UserManager::start(&host, &groups);

    // A daemon that is not a service is not stopped, but reported.
    let by_hand = show::start_daemon(&host);
    let refused = manager.service(&["install"], &[]);
    assert_eq!(refused.code(), Some(1), "{refused}");
    assert!(
        refused.stderr.contains("a daemon that is not a service runs on this machine already"),
        "{refused}"
    );
    drop(by_hand);

    let before = manager.status();
    assert_eq!((&before["installed"], &before["running"]), (&false.into(), &false.into()));
    assert_eq!(manager.service(&["remove", "--json"], &[]).ok().json()["removed"], false);

    // The service gets the current environment.
    let state = lab.directory().join("a state of its own");
    let config = lab.directory().join("config");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("visualizations.toml"), "[visualizations.light]\nprogram = \"pulse\"\n")
        .unwrap();
    let set = [("HANA_STATE", &*state), ("HANA_CONFIG", &*config)];
    let installed = manager.service(&["install", "--json"], &set).ok().json();
    assert_eq!(installed["change"], "installed");
    let log = state.join("h1/log/hanad.log");
    assert_eq!(installed["log"], log.display().to_string());
    assert!(fs::read_to_string(&log).unwrap().contains("'h1' is on the mesh"));
    let daemon = manager.pid();
    let (_, light) = show::start(&host, &host, "light");
    let drawn = await_drawing(&host, "light", light, 0);

    // The same installation again does not restart the daemon.
    let again = manager.service(&["install", "--json"], &set).ok().json();
    assert_eq!(again["change"], "unchanged");
    assert_eq!(manager.pid(), daemon);

    // The daemon crashes.
    let crashed = Instant::now();
    host.kill(Signal::KILL, daemon);
    let second = manager.await_restart(1, DEADLINE);
    figure(&format!("killed, the daemon ran again after {:.2} s", crashed.elapsed().as_secs_f64()));
    let drawn = await_drawing(&host, "light", light, drawn);

    // All threads of the daemon hang.
    let hung = Instant::now();
    host.kill(Signal::STOP, second);
    let third = manager.await_restart(2, WATCHDOG);
    figure(&format!("stopped, the daemon ran again after {:.1} s", hung.elapsed().as_secs_f64()));
    await_drawing(&host, "light", light, drawn);

    // Wrong settings are reported, and used once they are fixed.
    let wrong = lab.directory().join("wrong");
    fs::create_dir_all(&wrong).unwrap();
    let catalogue = wrong.join("visualizations.toml");
    fs::write(&catalogue, "[visualizations.light]\nprogram = 7\n").unwrap();
    let with_wrong = [("HANA_STATE", &*state), ("HANA_CONFIG", &*wrong)];
    let refused = manager.service(&["install"], &with_wrong);
    assert_eq!(refused.code(), Some(1), "{refused}");
    let place = format!("{}:2: visualizations.light.program: ", catalogue.display());
    assert!(refused.stderr.contains(&place), "{refused}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused}");
    fs::write(&catalogue, "[visualizations.light]\nprogram = \"pulse\"\n").unwrap();
    eventually(DEADLINE, "the daemon to run with the fixed settings", || {
        let status = manager.status();
        if status["running"] == true { Ok(()) } else { Err(status) }
    });
    let mended = manager.pid();

    // An installation with another environment is an update.
    let updated = manager.service(&["install", "--json"], &set[..1]).ok().json();
    assert_eq!(updated["change"], "updated");
    assert_ne!(manager.pid(), mended);
    assert!(!host.processes().iter().any(|process| process.pid == third));

    // An orderly end stops the launched processes.
    let (_, pulse) = show::start(&host, &host, "pulse");
    assert_eq!(manager.service(&["remove", "--json"], &[]).ok().json()["removed"], true);
    let runs = |pid| host.processes().iter().any(|process| process.pid == pid);
    eventually(DEADLINE, "the visualization to end with the daemon", || !runs(pulse));
    let after = manager.status();
    assert_eq!((&after["installed"], &after["running"]), (&false.into(), &false.into()));
    assert_eq!(after["pid"], Value::Null);
    assert!(!host.directory().join("home/.config/systemd/user/hanad.service").exists());
}

#[test]
fn impossible_service_is_refused_in_one_line_with_advice() {
    let Some(lab) = Lab::new("no-service") else { return };
    let host = lab.host("h1");
    // A machine with another init system has no systemd directory.
    let without = |words: &str| {
        let mut command = host.command("sh");
        command.args(["-c", &format!("mount -t tmpfs tmpfs /run && {words}")]);
        host.run_within(DEADLINE, command)
    };
    let refused = without("hana service install");
    assert_eq!(refused.code(), Some(1), "{refused}");
    assert!(refused.stderr.contains("this machine does not run systemd"), "{refused}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused}");

    let refused = without("mkdir -p /run/systemd/system && hana service install");
    assert_eq!(refused.code(), Some(1), "{refused}");
    assert!(refused.stderr.contains("this user's systemd does not respond"), "{refused}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused}");

    // This `hana` has no daemon in its directory.
    let lonely = lab.directory().join("lonely");
    fs::create_dir_all(&lonely).unwrap();
    let program = host.run(["sh", "-c", "command -v hana"]).ok().stdout;
    fs::copy(program.trim(), lonely.join("hana")).unwrap();
    let words = format!(
        "mkdir -p /run/systemd/system && '{}' service install",
        lonely.join("hana").display()
    );
    let refused = without(&words);
    assert_eq!(refused.code(), Some(1), "{refused}");
    assert!(refused.stderr.contains("build or install hanad beside hana"), "{refused}");
}

/// Suspends the daemon for longer than the watchdog allows, as an operator or a closed lid does.
#[test]
fn daemon_suspended_beyond_the_watchdog_limit_goes_on() {
    const STOPPED: Duration = Duration::from_secs(13);
    let Some(lab) = Lab::new("continued") else { return };
    let host = lab.host("h1");
    let mut daemon = show::start_daemon(&host);
    let (_, pulse) = show::start(&host, &host, "pulse");
    let drawn = await_drawing(&host, "pulse", pulse, 0);
    host.kill(Signal::STOP, daemon.pid());
    let stopped = Instant::now();
    eventually(STOPPED * 2, "13 s to pass", || stopped.elapsed() >= STOPPED);
    host.kill(Signal::CONT, daemon.pid());
    let continued = Instant::now();
    // The time is long enough for the watchdog to check several times.
    eventually(DEADLINE, "the watchdog to have had time to fail", || {
        continued.elapsed() >= Duration::from_secs(3)
    });
    assert!(daemon.try_wait().is_none(), "{}", daemon.stderr());
    await_drawing(&host, "pulse", pulse, drawn);
    show::hana(&host, ["stop", "pulse"]).ok();
}
