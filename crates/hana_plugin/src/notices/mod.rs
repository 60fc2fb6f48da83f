//! Notices on the screen.

#[cfg(feature = "ui")]
mod notice_panel;
pub(crate) mod notices;
