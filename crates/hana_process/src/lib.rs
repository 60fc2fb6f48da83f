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
//! | what of that outlives the daemon | [`Memory`] |
//! | whose launch comes when, if many are wanted | [`LaunchPacer`] |
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

mod backoff;
mod catalogue;
mod catalogue_changes;
mod copy_budget;
mod fingerprint;
mod launch;
mod launch_pacer;
mod line_splitter;
mod log_follower;
mod orphans;
mod os;
mod output_file;
mod output_reader;
mod policy;
mod process;
mod program_file;
mod rotating_file;
mod running_launch;
mod supervisor;

pub use backoff::Backoff;
pub use backoff::Jitter;
pub use catalogue::Catalogue;
pub use catalogue::CatalogueEntry;
pub use catalogue::CatalogueError;
pub use catalogue::UnknownVisualization;
pub use catalogue_changes::CatalogueChanges;
pub use fingerprint::PidFingerprint;
pub use launch::LaunchError;
pub use launch::LaunchSpec;
pub use launch::find_program_beside;
pub use launch_pacer::LaunchPace;
pub use launch_pacer::LaunchPacer;
pub use launch_pacer::Wish;
pub use line_splitter::Line;
pub use line_splitter::LineSplitter;
pub use log_follower::LogFollower;
pub use log_follower::LogLimits;
pub use orphans::adopt_orphans;
pub use orphans::reap_orphans;
pub use output_file::in_megabytes;
pub use output_reader::OutputNews;
pub use output_reader::OutputReader;
pub use policy::HealthPolicy;
pub use policy::Mesh;
pub use policy::Policy;
pub use policy::Preset;
pub use policy::RestartOn;
pub use policy::RestartPolicy;
pub use policy::StopPolicy;
pub use policy::WhenUnresponsive;
pub use process::AdoptError;
pub use process::MARK_VARIABLE;
pub use process::OutputError;
pub use process::Process;
pub use process::ProcessOutput;
pub use process::ProcessRecord;
pub use process::new_mark;
pub use process::sweep_marked;
pub use program_file::ProgramFault;
pub use rotating_file::RotatingFile;
pub use running_launch::RunningLaunch;
pub use running_launch::nameless_output_of;
pub use supervisor::Action;
pub use supervisor::Found;
pub use supervisor::Incarnation;
pub use supervisor::Memory;
pub use supervisor::MissedEnd;
pub use supervisor::ProcessEvent;
pub use supervisor::Supervisor;
