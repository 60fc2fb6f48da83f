//! The operator's view of the show. Pure: it reads neither clock nor mesh.

pub(crate) mod app_model;
pub(crate) mod effect;
pub(crate) mod key;
pub(crate) mod operators;
pub(crate) mod toasts;
