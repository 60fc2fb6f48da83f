//! Launches, watches, stops and restarts the processes of one host.
//!
//! The crate has two independent halves. [`Supervisor`] decides: it is a pure machine that takes events and the time
//! and returns actions. [`Process`] and [`LogFollower`] act: they are thin drivers of the operating system, without a
//! policy. The daemon passes events to the supervisor and actions to the drivers. Nothing here depends on the mesh.
//!
//! | to find | look in |
//! |---|---|
//! | the programs that may be launched, and the file that people write | [`Catalogue`] |
//! | every knob and the three presets | [`Policy`] |
//! | the response to each event: stop, crash, freeze, restart | [`Supervisor`] |
//! | the supervisor's state that outlives the daemon | [`SupervisorSnapshot`] |
//! | the order of launches when many are requested | [`LaunchQueue`] |
//! | an operating-system process: its group, its exit status, its adoption | [`Process`] |
//! | its output: destination, following, bounds | [`ProcessOutput`], [`OutputReader`], [`LogFollower`] |
//! | running launches without a record | [`RunningLaunch`] |
//! | a rotating log file | [`RotatingFile`] |
//! | platform differences | the private module `os` |
//!
//! # What a stop reaches
//!
//! A launched process leads its own group (on Windows, a job). Signals go to the group, and when the leader has
//! ended, the rest of the group is killed. On Linux, a stop also kills processes that have left the group but
//! still carry the id of the launch in their environment ([`LAUNCH_ID_VAR`]): daemons that forked twice,
//! programs under `setsid`.
//!
//! Some processes are not reached: on macOS, processes that left the group; on Linux, processes that left the group
//! *and* cleared their environment, or that run as another user. A wrapper script must therefore stay until its
//! program ends (`exec program` is best): once the leader is gone, the processes it left behind count as orphans.

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
pub use launch::process::{OutputError, Process, ProcessOutput, ProcessRecord, kill_remaining};
pub use launch::program_file::ProgramFault;
pub use launch::running_launch::{RunningLaunch, deleted_output_of};
pub use os::adopt_error::AdoptError;
pub use os::fingerprint::PidFingerprint;
pub use os::launch_id::{LAUNCH_ID_VAR, new_launch_id};
pub use os::orphans::{become_subreaper, reap_orphans};
pub use supervisor::backoff::{Backoff, Jitter};
pub use supervisor::event::{Action, AdoptionOutcome, MissedExit, ProcessEvent};
pub use supervisor::instance::Instance;
pub use supervisor::policy::{
    HealthPolicy, Monitoring, Policy, Preset, RestartOn, RestartPolicy, StopPolicy,
    WhenUnresponsive,
};
pub use supervisor::snapshot::SupervisorSnapshot;
pub use supervisor::supervisor::Supervisor;
