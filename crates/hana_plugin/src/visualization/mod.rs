//! The plugin of a visualization: parameters, looks, overrides.

pub(crate) mod active_override;
#[cfg(feature = "ui")]
mod blackout;
mod blackout_support;
pub(crate) mod display;
#[cfg(feature = "ui")]
mod open_windows;
pub(crate) mod parameter_attributes;
mod parameter_fields;
pub(crate) mod parameters;
mod resume_on_bar;
pub(crate) mod shared_parameters;
pub(crate) mod visualization_plugin;
