//! Windows: a task of the Task Scheduler. Prints PowerShell commands, which a person carries out.

use crate::setup::service::error::ServiceError;
use crate::setup::service::log_file;
use crate::setup::service::manager::{Change, Installation, Manager, Removal, Restarted, Status};
use crate::setup::service::plan::{Plan, ServiceScope};

/// The Task Scheduler of Windows.
#[derive(Debug)]
pub(crate) struct TaskScheduler;

const MANAGER: &str = "task_scheduler";

impl Manager for TaskScheduler {
    fn install(&self, plan: &Plan) -> Result<Installation, ServiceError> {
        Ok(Installation {
            manager: MANAGER,
            scope: ServiceScope::User,
            change: Change::Manual,
            file: None,
            log: log_file::of_daemon_with(&plan.environment),
            notes: to_install(plan),
        })
    }

    fn remove(&self) -> Result<Removal, ServiceError> {
        Ok(Removal {
            manager: MANAGER,
            scope: ServiceScope::User,
            removed: false,
            notes: to_remove(),
        })
    }

    fn restart(&self) -> Result<Restarted, ServiceError> {
        Err(ServiceError::NoHandover)
    }

    fn status(&self) -> Result<Status, ServiceError> {
        Ok(Status {
            manager: MANAGER,
            scope: ServiceScope::User,
            installed: false,
            running: hana_network::daemon_is_listening(),
            state: "unknown".into(),
            pid: None,
            since: None,
            restarts: None,
            says: None,
            file: None,
            log: None,
            notes: vec!["in PowerShell: Get-ScheduledTaskInfo -TaskName hanad".into()],
        })
    }
}

fn to_install(plan: &Plan) -> Vec<String> {
    let variables = plan.environment.iter().map(|(key, value)| {
        format!("[Environment]::SetEnvironmentVariable('{key}', {}, 'User')", quoted(value))
    });
    let daemon = quoted(&plan.daemon.display().to_string());
    let task = [
        format!("$action = New-ScheduledTaskAction -Execute {daemon}"),
        "$trigger = New-ScheduledTaskTrigger -AtLogOn -User $env:USERNAME".into(),
        "$settings = New-ScheduledTaskSettingsSet -RestartCount 999 -RestartInterval (New-TimeSpan -Minutes 1) -ExecutionTimeLimit ([TimeSpan]::Zero) -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries".into(),
        "Register-ScheduledTask -TaskName hanad -Action $action -Trigger $trigger -Settings $settings -Force".into(),
        "Start-ScheduledTask -TaskName hanad".into(),
    ];
    std::iter::once("in PowerShell:".into()).chain(variables).chain(task).collect()
}

fn to_remove() -> Vec<String> {
    [
        "in PowerShell:",
        "Stop-ScheduledTask -TaskName hanad",
        "Unregister-ScheduledTask -TaskName hanad -Confirm:$false",
    ]
    .map(String::from)
    .into()
}

/// Quotes a word for PowerShell; the word may have any characters.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_set_the_daemon_and_its_variables() {
        let commands = to_install(&Plan {
            daemon: r"C:\Ada's hana\hanad.exe".into(),
            environment: [("HANA_HOST".into(), "wall-left".into())].into(),
            scope: ServiceScope::User,
        });
        assert_eq!(
            commands[1],
            "[Environment]::SetEnvironmentVariable('HANA_HOST', 'wall-left', 'User')"
        );
        assert_eq!(
            commands[2],
            r"$action = New-ScheduledTaskAction -Execute 'C:\Ada''s hana\hanad.exe'"
        );
    }
}
