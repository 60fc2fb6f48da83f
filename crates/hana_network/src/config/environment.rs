use std::env;

use crate::config::machine_config_error::MachineConfigError;

/// Returns the value of an environment variable; `None` if it is unset or empty.
pub(crate) fn env_var(variable: &'static str) -> Result<Option<String>, MachineConfigError> {
    match env::var(variable) {
        Ok(value) if !value.is_empty() => Ok(Some(value)),
        Ok(_) | Err(env::VarError::NotPresent) => Ok(None),
        // The message does not contain the value, which may be a secret.
        Err(env::VarError::NotUnicode(_)) => {
            Err(MachineConfigError::Variable { variable, problem: "it is not UTF-8 text".into() })
        },
    }
}
