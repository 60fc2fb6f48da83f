use std::io::ErrorKind;
use std::path::Path;
use std::{fs, io};

use hana_protocol::id::NodeId;
use hana_protocol::message::Look;
use serde::{Deserialize, Serialize};

/// The look that a visualization had when its last run ended.
///
/// The daemon keeps it on disk and hands it to the next run: JSON in the file that the environment variable
/// [`LastLook::VARIABLE`] names. So the look is there before the
/// first frame, without a question to anybody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastLook {
    /// Whose it is: the variable is inherited by whatever a visualization starts itself.
    pub node: NodeId,
    /// The look.
    pub look: Look,
}

impl LastLook {
    /// The environment variable with the path of the file.
    pub const VARIABLE: &'static str = "HANA_LOOK";

    /// Reads the file. `None` if there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is not what [`LastLook::write`] writes.
    pub fn read(file: &Path) -> io::Result<Option<Self>> {
        match fs::read(file) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(problem) if problem.kind() == ErrorKind::NotFound => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Writes the file, whole or not at all: who is killed in the middle of it leaves the one before. It is not forced
    /// onto the disk, so a power cut may cost the last seconds, or the file.
    ///
    /// # Errors
    ///
    /// When it cannot be written; the file before it stays.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let new = file.with_extension("new");
        fs::write(&new, serde_json::to_vec(self)?)
            .and_then(|()| fs::rename(&new, file))
            .inspect_err(|_| {
                fs::remove_file(&new).ok();
            })
    }

    /// The look that this run of `node` is to begin with, if a daemon left one.
    pub(crate) fn of_environment(node: &NodeId) -> Option<Look> {
        let file = std::env::var_os(Self::VARIABLE)?;
        match Self::read(Path::new(&file)) {
            Ok(Some(last)) if last.node == *node => Some(last.look),
            Ok(_) => None,
            Err(problem) => {
                tracing::warn!(
                    "{}: the last look cannot be read ({problem}); it begins with its defaults",
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
    fn what_is_written_is_read_and_what_is_cut_short_is_told() {
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
