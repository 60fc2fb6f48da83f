//! `hana service`: runs the daemon permanently, by the operating system's service manager.
//!
//! | to find | look in |
//! |---|---|
//! | the description of the service | [`plan`] |
//! | the functions and results of every service manager | [`manager`] |
//! | Linux | [`systemd`] |
//! | macOS | [`launchd`] |
//! | Windows | [`task_scheduler`] |

mod error;
mod installed_file;
mod launchd;
mod log_file;
mod manager;
mod plan;
mod systemd;
mod task_scheduler;
mod tool;

use crate::arguments::Service;
use crate::output;
use crate::output::Format;
use crate::setup::service::error::ServiceError;
use crate::setup::service::launchd::Launchd;
use crate::setup::service::manager::Manager;
use crate::setup::service::plan::{Plan, ServiceScope};
use crate::setup::service::systemd::Systemd;
use crate::setup::service::task_scheduler::TaskScheduler;

const SECRET_NOTE: &str = "HANA_SECRET is not part of the service, where other users could read it; write it into hanad.toml";

pub(crate) fn run(command: Service, format: Format) -> anyhow::Result<()> {
    let (Service::Install(arguments)
    | Service::Remove(arguments)
    | Service::Restart(arguments)
    | Service::Status(arguments)) = command;
    let scope = if arguments.system { ServiceScope::System } else { ServiceScope::User };
    let manager = manager_here(scope)?;
    match command {
        Service::Install(_) => {
            let mut installed = manager.install(&Plan::of_this_machine(scope)?)?;
            if std::env::var_os("HANA_SECRET").is_some_and(|secret| !secret.is_empty()) {
                installed.notes.push(SECRET_NOTE.into());
            }
            output::print(format, &installed, || installed.for_people())
        },
        Service::Remove(_) => {
            let removed = manager.remove()?;
            output::print(format, &removed, || removed.for_people())
        },
        Service::Restart(_) => {
            let restarted = manager.restart()?;
            output::print(format, &restarted, || restarted.for_people())
        },
        Service::Status(_) => {
            let status = manager.status()?;
            output::print(format, &status, || status.for_people())
        },
    }
}

/// Returns the service manager of this operating system.
fn manager_here(scope: ServiceScope) -> Result<Box<dyn Manager>, ServiceError> {
    match (std::env::consts::OS, scope) {
        ("linux", _) => Ok(Box::new(Systemd::of(scope)?)),
        ("macos", ServiceScope::User) => Ok(Box::new(Launchd::of_user()?)),
        ("windows", ServiceScope::User) => Ok(Box::new(TaskScheduler)),
        ("macos" | "windows", ServiceScope::System) => Err(ServiceError::NoScreenForSystem),
        (system, _) => Err(ServiceError::UnknownSystem { system: system.into() }),
    }
}
