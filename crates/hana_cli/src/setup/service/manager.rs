use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::setup::service::error::ServiceError;
use crate::setup::service::plan::{Plan, ServiceScope};

/// The operations that hana needs from the operating system's service manager.
pub(crate) trait Manager {
    /// Installs and starts the service. A repeated call updates it, and restarts it only if something changed.
    fn install(&self, plan: &Plan) -> Result<Installation, ServiceError>;

    /// Stops and removes the service, if it is installed.
    fn remove(&self) -> Result<Removal, ServiceError>;

    /// Replaces the running daemon with the program that is now at its path. Visualizations keep running.
    ///
    /// Starts the service if it is stopped.
    fn restart(&self) -> Result<Restarted, ServiceError>;

    /// Returns the status of the service.
    fn status(&self) -> Result<Status, ServiceError>;
}

/// The result of an installation.
#[derive(Debug, Serialize)]
pub(crate) struct Installation {
    pub(crate) manager: &'static str,
    pub(crate) scope: ServiceScope,
    pub(crate) change: Change,
    /// The file that describes the service.
    pub(crate) file: Option<PathBuf>,
    /// The path of its log.
    pub(crate) log: Option<PathBuf>,
    /// Notes for the person who installs the service, with steps to take.
    pub(crate) notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    Installed,
    /// The service was installed with other settings.
    Updated,
    /// The service was installed with the same settings.
    Unchanged,
    /// A person must make the change: see the notes.
    Manual,
}

/// The result of a removal.
#[derive(Debug, Serialize)]
pub(crate) struct Removal {
    pub(crate) manager: &'static str,
    pub(crate) scope: ServiceScope,
    /// Whether the service was removed; `false` if it was not installed.
    pub(crate) removed: bool,
    pub(crate) notes: Vec<String>,
}

/// The result of a restart.
#[derive(Debug, Serialize)]
pub(crate) struct Restarted {
    pub(crate) manager: &'static str,
    pub(crate) scope: ServiceScope,
    /// Whether a running daemon was replaced; `false` if the service was not running and was started.
    pub(crate) replaced: bool,
    pub(crate) notes: Vec<String>,
}

/// The status of a service.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    pub(crate) manager: &'static str,
    pub(crate) scope: ServiceScope,
    pub(crate) installed: bool,
    pub(crate) running: bool,
    /// The state, as the service manager names it.
    pub(crate) state: String,
    pub(crate) pid: Option<u32>,
    /// The time at which the service entered that state, as the service manager formats it.
    pub(crate) since: Option<String>,
    /// The number of restarts by the service manager since a person last started the service.
    pub(crate) restarts: Option<u32>,
    /// The daemon's own status text.
    pub(crate) says: Option<String>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) log: Option<PathBuf>,
    pub(crate) notes: Vec<String>,
}

impl Installation {
    pub(crate) fn for_people(&self) -> String {
        let mut text = match self.change {
            Change::Installed => "installed hanad as a service; it is running".into(),
            Change::Updated => "updated and restarted the service hanad".into(),
            Change::Unchanged => "hanad is already installed as a service; it is running".into(),
            Change::Manual => String::from("Run these commands yourself:"),
        };
        add_places(&mut text, self.file.as_ref(), self.log.as_ref());
        with_notes(text, &self.notes)
    }
}

impl Removal {
    pub(crate) fn for_people(&self) -> String {
        let text = if self.removed {
            "stopped and removed the service hanad"
        } else {
            "hanad is not installed as a service"
        };
        with_notes(text.into(), &self.notes)
    }
}

impl Restarted {
    pub(crate) fn for_people(&self) -> String {
        let text = if self.replaced {
            "restarting hanad; visualizations keep running"
        } else {
            "hanad was not running; started it"
        };
        with_notes(text.into(), &self.notes)
    }
}

impl Status {
    pub(crate) fn for_people(&self) -> String {
        let mut text = match (self.installed, self.running) {
            (false, _) => "hanad is not installed as a service; run `hana service install`".into(),
            (true, false) => {
                format!("hanad is installed as a service, but not running ({})", self.state)
            },
            (true, true) => "hanad is running as a service".to_owned(),
        };
        if let Some(pid) = self.pid {
            write!(text, " as process {pid}").ok();
        }
        if let Some(since) = &self.since {
            write!(text, " since {since}").ok();
        }
        match self.restarts {
            None | Some(0) => {},
            Some(times) => {
                write!(text, "; restarted {times} times").ok();
            },
        }
        if let Some(says) = &self.says {
            write!(text, "\nstatus: {says}").ok();
        }
        add_places(&mut text, self.file.as_ref(), self.log.as_ref());
        with_notes(text, &self.notes)
    }
}

fn add_places(text: &mut String, file: Option<&PathBuf>, log: Option<&PathBuf>) {
    for (what, place) in [("file", file), ("log", log)] {
        if let Some(place) = place {
            write!(text, "\n{what}: {}", place.display()).ok();
        }
    }
}

fn with_notes(text: String, notes: &[String]) -> String {
    notes.iter().fold(text, |text, note| text + "\n" + note)
}
