use std::io::ErrorKind;
use std::path::Path;
use std::{fs, io};

use hana_protocol::id::NodeId;
use hana_protocol::message::Look;
use serde::{Deserialize, Serialize};

/// The look that a visualization had when its previous instance ended.
///
/// The daemon stores it on disk, and passes it to the next instance as a JSON file, which the environment variable
/// [`LastLook::VARIABLE`] names. The look is therefore available before the first frame, without a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastLook {
    /// The visualization that the look belongs to; its child processes inherit the environment variable too.
    pub node: NodeId,
    /// The look.
    pub look: Look,
}

impl LastLook {
    /// The environment variable with the path of the file.
    pub const VARIABLE: &'static str = "HANA_LOOK";

    /// Reads the file. Returns `None` if the file does not exist.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is not in the format of [`LastLook::write`].
    pub fn read(file: &Path) -> io::Result<Option<Self>> {
        match fs::read(file) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(problem) if problem.kind() == ErrorKind::NotFound => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Writes the file atomically: a process killed while writing leaves the previous file intact.
    ///
    /// The file is not flushed to the disk, so a power failure may lose the last seconds, or the whole file.
    ///
    /// # Errors
    ///
    /// When the file cannot be written. The previous file then stays.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let new = file.with_extension("new");
        fs::write(&new, serde_json::to_vec(self)?)
            .and_then(|()| fs::rename(&new, file))
            .inspect_err(|_| {
                fs::remove_file(&new).ok();
            })
    }

    /// Returns the look with which this instance of `node` starts, if a daemon stored one.
    pub(crate) fn of_environment(node: &NodeId) -> Option<Look> {
        let file = std::env::var_os(Self::VARIABLE)?;
        match Self::read(Path::new(&file)) {
            Ok(Some(last)) if last.node == *node => Some(last.look),
            Ok(_) => None,
            Err(problem) => {
                tracing::warn!(
                    "{}: cannot read the last look ({problem}); starting with the defaults",
                    Path::new(&file).display()
                );
                None
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hana_protocol::message::Override;
    use hana_protocol::parameter::ParameterName;

    use super::*;

    #[test]
    fn look_round_trips_and_truncation_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ripples.look");
        assert_eq!(LastLook::read(&file).unwrap(), None);
        let last = LastLook {
            node: NodeId::new("ripples").unwrap(),
            look: Look {
                parameters: [(ParameterName::new("zoom").unwrap(), 0.25)].into(),
                in_force: Some(Override::Blackout),
                ..Look::default()
            },
        };
        last.write(&file).unwrap();
        assert_eq!(LastLook::read(&file).unwrap().as_ref(), Some(&last));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        LastLook::read(&file).unwrap_err();
    }
}
