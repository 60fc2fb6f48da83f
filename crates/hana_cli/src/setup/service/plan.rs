use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::setup::service::error::ServiceError;

/// The description of the service: everything in a unit or a plist that depends on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The absolute path of `hanad`.
    pub(crate) daemon: PathBuf,
    /// The hana variables that are set now: the service gets the same ones.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) scope: Scope,
}

/// The scope of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    /// This user, from login on.
    User,
    /// The whole machine, from boot on.
    System,
}

/// The variables carried over into the service. File names are made absolute, since a service has another
/// working directory.
const CARRIED: [(&str, Names); 4] = [
    ("HANA_CONFIG", Names::AFile),
    ("HANA_HOST", Names::AnId),
    ("HANA_SHOW", Names::AnId),
    ("HANA_STATE", Names::AFile),
];

#[derive(Clone, Copy)]
enum Names {
    AFile,
    AnId,
}

impl Plan {
    /// Plans a service for the `hanad` beside this program, with the variables that are set now.
    pub(crate) fn of_this_machine(scope: Scope) -> Result<Self, ServiceError> {
        let daemon = daemon_beside()?;
        if !daemon.is_file() {
            return Err(ServiceError::NoDaemon { daemon });
        }
        let here = env::current_dir().unwrap_or_default();
        let environment = carried(|variable| env::var(variable).ok(), &here)?;
        Ok(Self { daemon, environment, scope })
    }
}

/// Returns the path of the daemon that belongs to this program.
pub(crate) fn daemon_beside() -> Result<PathBuf, ServiceError> {
    let this = env::current_exe().map_err(ServiceError::NoPlace)?;
    Ok(this.with_file_name("hanad").with_extension(env::consts::EXE_EXTENSION))
}

fn carried(
    set: impl Fn(&str) -> Option<String>,
    here: &Path,
) -> Result<BTreeMap<String, String>, ServiceError> {
    let mut environment = BTreeMap::new();
    for (variable, names) in CARRIED {
        let Some(value) = set(variable).filter(|value| !value.is_empty()) else { continue };
        if value.contains('\n') {
            return Err(ServiceError::LineBreak { variable: variable.into() });
        }
        let value = match names {
            Names::AFile => here.join(value).display().to_string(),
            Names::AnId => value,
        };
        environment.insert(variable.into(), value);
    }
    Ok(environment)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_carried_over_and_paths_are_made_absolute() {
        let set = |variable: &str| match variable {
            "HANA_CONFIG" => Some("show/hanad.toml".into()),
            "HANA_HOST" => Some("wall-left".into()),
            "HANA_SHOW" => None,
            "HANA_STATE" => Some(String::new()),
            _ => Some("not carried".into()),
        };
        let carried = carried(set, Path::new("/home/ada")).unwrap();
        let expected = [("HANA_CONFIG", "/home/ada/show/hanad.toml"), ("HANA_HOST", "wall-left")];
        assert_eq!(carried, expected.map(|(key, value)| (key.into(), value.into())).into());
    }

    #[test]
    fn a_value_with_a_line_break_is_refused() {
        let problem = carried(|_| Some("a\nb".into()), Path::new("/")).unwrap_err();
        assert!(problem.to_string().starts_with("HANA_CONFIG has a line break"), "{problem}");
    }
}
