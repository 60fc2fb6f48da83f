//! A visualization being played: its board, the links and streams that lead to it.

pub(crate) mod board;
pub(crate) mod conductor;
pub(crate) mod frame_stream;
pub(crate) mod operator;
pub(crate) mod play;
pub(crate) mod play_session;
pub(crate) mod play_transport;
pub(crate) mod when_app_vanishes;
