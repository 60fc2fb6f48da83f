//! Launch, watch, stop, restart: what keeps the processes of one host.
//!
//! Two halves that do not know each other. [`Supervisor`] decides: a pure machine, told what happened and
//! what time it is, that answers with what to do. [`Process`] and [`LogFollower`] do: thin drivers of the
//! operating system, without a policy. The daemon stands between and carries events one way and actions
//! the other. Nothing here knows the mesh.
//!
//! | to find | look in |
//! |---|---|
//! | what may be launched, and the file people write | [`Catalogue`] |
//! | every knob and the three presets | [`Policy`] |
//! | what follows on what: stop, crash, freeze, restart | [`Supervisor`] |
//! | what of that outlives the daemon | [`SupervisorSnapshot`] |
//! | whose launch comes when, if many are wanted | [`LaunchQueue`] |
//! | a process of the operating system, its group, its end; taking over one that runs | [`Process`] |
//! | its output: where it goes, following and bounding it | [`ProcessOutput`], [`OutputReader`], [`LogFollower`] |
//! | launches that run and of which no record is left | [`RunningLaunch`] |
//! | a log of one's own | [`RotatingFile`] |
//! | what differs by platform | the private module `os` |
//!
//! # What a stop reaches
//!
//! A launched process leads a group of its own (on Windows, a job). Signals go to the group, and when the
//! leader has ended whatever is left of the group is killed. On Linux also what has left the group but
//! still carries the mark of its launch in its environment ([`MARK_VARIABLE`]): daemons that forked twice,
//! programs under `setsid`. Not reached: on macOS what left the group; on Linux what left the group *and*
//! cleared its environment, or runs as another user. A wrapper script must therefore stay until its program
//! ends (`exec program` is best): once the leader is gone, what it left behind is taken for an orphan.

mod catalogue;
mod launch;
mod os;
mod output;
mod supervisor;

pub use output::line_splitter::{Line, LineSplitter};
pub use output::log_follower::{LogFollower, LogLimits};
pub use output::output_file::in_megabytes;
pub use output::output_reader::{OutputNews, OutputReader};
pub use output::rotating_file::RotatingFile;

pub use catalogue::catalogue::{Catalogue, CatalogueEntry, CatalogueError, UnknownVisualization};
pub use catalogue::catalogue_changes::CatalogueChanges;
pub use launch::launch_queue::{LaunchLimits, LaunchPriority, LaunchQueue};
pub use launch::launch_spec::{LaunchError, LaunchSpec, find_program_beside};
pub use launch::process::{
    AdoptError, MARK_VARIABLE, OutputError, Process, ProcessOutput, ProcessRecord, new_mark,
    sweep_marked,
};
pub use launch::program_file::ProgramFault;
pub use launch::running_launch::{RunningLaunch, nameless_output_of};
pub use os::fingerprint::PidFingerprint;
pub use os::orphans::{adopt_orphans, reap_orphans};
pub use supervisor::backoff::{Backoff, Jitter};
pub use supervisor::policy::{
    HealthPolicy, Monitoring, Policy, Preset, RestartOn, RestartPolicy, StopPolicy,
    WhenUnresponsive,
};
pub use supervisor::supervisor::snapshot::SupervisorSnapshot;
pub use supervisor::supervisor::{
    Action, AdoptionOutcome, Instance, MissedExit, ProcessEvent, Supervisor,
};
