//! Arithmetic of musical time: timelines, tempo maps, slewing, clock offsets, schedules, beats, and the lines that
//! `hanad` and `hana-link` exchange.
//!
//! Nothing here does I/O or reads a clock; functions take the time as an argument.

mod beat_detector;
mod change_schedule;
mod clock_offset;
mod easing;
mod link_protocol;
mod sanitize_line;
mod schedule_at;
mod slew;
mod tempo_map;
mod timeline;
pub mod timeline_number;

pub use beat_detector::BeatDetector;
pub use change_schedule::{ChangeSchedule, ScheduleError, Scheduled};
pub use clock_offset::{ClockEstimate, ClockOffset, ClockReading, ClockSample};
pub use easing::{SlewRate, TimelineStep};
pub use link_protocol::{LinkLineError, LinkOrder, LinkReport};
pub use sanitize_line::sanitize_line;
pub use schedule_at::{ScheduleAt, ScheduleAtError};
pub use slew::Slew;
pub use tempo_map::TempoMap;
pub use timeline::{Timeline, TimelineError};
