use serde::{Deserialize, Serialize};

use crate::os;

/// A process id with the start time of the process, which distinguishes it from a later process with the same id.
///
/// It can be saved and compared after a restart of the daemon or the machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PidFingerprint {
    /// The process id.
    pub pid: u32,
    /// The start time in the platform's own format, for comparison only.
    pub started: String,
}

impl PidFingerprint {
    /// Returns the fingerprint of a living process.
    ///
    /// Returns `None` if there is no such process, and always on Windows, which has no fingerprints.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        os::started(pid).map(|started| Self { pid, started })
    }

    /// Returns whether the process with this fingerprint is alive. A zombie is not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        os::started(self.pid).is_some_and(|started| started == self.started)
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn fingerprint_matches_one_process_while_it_lives() {
        let own = PidFingerprint::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(!PidFingerprint { started: "another time".into(), ..own }.is_alive());

        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let child_fingerprint = PidFingerprint::of(child.id()).unwrap();
        assert!(child_fingerprint.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!child_fingerprint.is_alive());
    }
}
