use serde::{Deserialize, Serialize};

use crate::os;

/// A process id together with when that process began, so that a recycled id is not taken for it. Can be
/// saved and compared after the daemon, or the machine, was started again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PidFingerprint {
    /// The process id.
    pub pid: u32,
    /// When it began, as the platform says it; only good for comparing.
    pub started: String,
}

impl PidFingerprint {
    /// The fingerprint of a process that lives. `None` where it does not, and on platforms that cannot tell
    /// (Windows).
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        os::started(pid).map(|started| Self { pid, started })
    }

    /// Whether that very process lives; a zombie does not.
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
    fn a_fingerprint_is_of_one_process_and_dies_with_it() {
        let own = PidFingerprint::of(std::process::id()).unwrap();
        assert!(own.is_alive());
        assert!(!PidFingerprint { started: "another time".into(), ..own }.is_alive());

        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let of_child = PidFingerprint::of(child.id()).unwrap();
        assert!(of_child.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!of_child.is_alive());
    }
}
