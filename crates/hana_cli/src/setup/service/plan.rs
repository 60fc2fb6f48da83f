use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::setup::service::error::ServiceError;

/// The description of the service: all contents of a unit or a plist that depend on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The absolute path of `hanad`.
    pub(crate) daemon: PathBuf,
    /// The hana variables that are set now: the service gets the same variables.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) scope: ServiceScope,
}

/// The scope of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ServiceScope {
    /// This user, from login on.
    User,
    /// The whole machine, from boot on.
    System,
}

/// The variables that the service inherits. File names are made absolute, since a service has another
/// working directory.
const INHERITED_VARS: [(&str, VarKind); 4] = [
    ("HANA_CONFIG", VarKind::Path),
    ("HANA_HOST", VarKind::Id),
    ("HANA_SHOW", VarKind::Id),
    ("HANA_STATE", VarKind::Path),
];

#[derive(Clone, Copy)]
enum VarKind {
    Path,
    Id,
}

impl Plan {
    /// Plans a service for the `hanad` in the directory of this program, with the variables that are set now.
    pub(crate) fn of_this_machine(scope: ServiceScope) -> Result<Self, ServiceError> {
        let daemon = daemon_beside()?;
        if !daemon.is_file() {
            return Err(ServiceError::NoDaemon { daemon });
        }
        let here = env::current_dir().unwrap_or_default();
        let environment = inherited(|variable| env::var(variable).ok(), &here)?;
        Ok(Self { daemon, environment, scope })
    }
}

/// Returns the path of the daemon that belongs to this program.
pub(crate) fn daemon_beside() -> Result<PathBuf, ServiceError> {
    let this = env::current_exe().map_err(ServiceError::NoPlace)?;
    Ok(this.with_file_name("hanad").with_extension(env::consts::EXE_EXTENSION))
}

fn inherited(
    set: impl Fn(&str) -> Option<String>,
    here: &Path,
) -> Result<BTreeMap<String, String>, ServiceError> {
    let mut environment = BTreeMap::new();
    for (variable, kind) in INHERITED_VARS {
        let Some(value) = set(variable).filter(|value| !value.is_empty()) else { continue };
        if value.contains('\n') {
            return Err(ServiceError::LineBreak { variable: variable.into() });
        }
        let value = match kind {
            VarKind::Path => here.join(value).display().to_string(),
            VarKind::Id => value,
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
    fn inherited_paths_are_absolute() {
        let set = |variable: &str| match variable {
            "HANA_CONFIG" => Some("show/hanad.toml".into()),
            "HANA_HOST" => Some("wall-left".into()),
            "HANA_SHOW" => None,
            "HANA_STATE" => Some(String::new()),
            _ => Some("not inherited".into()),
        };
        let inherited = inherited(set, Path::new("/home/ada")).unwrap();
        let expected = [("HANA_CONFIG", "/home/ada/show/hanad.toml"), ("HANA_HOST", "wall-left")];
        assert_eq!(inherited, expected.map(|(key, value)| (key.into(), value.into())).into());
    }

    #[test]
    fn value_with_line_break_is_refused() {
        let problem = inherited(|_| Some("a\nb".into()), Path::new("/")).unwrap_err();
        assert!(problem.to_string().starts_with("HANA_CONFIG has a line break"), "{problem}");
    }
}
