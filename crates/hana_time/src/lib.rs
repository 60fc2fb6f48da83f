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

pub use beat_detector::BeatWatch;
pub use change_schedule::{ChangeSchedule, ScheduleError, Scheduled};
pub use clock_offset::{ClockEstimate, ClockReading, DistantClock, Exchange};
pub use easing::{Easing, Jump};
pub use link_protocol::{LinkLineError, LinkOrder, LinkReport};
pub use sanitize_line::one_line;
pub use schedule_at::{When, WhenError};
pub use slew::Approach;
pub use tempo_map::Course;
pub use timeline::{Timeline, TimelineError};
