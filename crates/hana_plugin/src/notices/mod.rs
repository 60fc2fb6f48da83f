//! Notices on the screen.

#[cfg(feature = "ui")]
mod notice_panel;
pub(crate) mod notice_reports;
pub(crate) mod notices;
