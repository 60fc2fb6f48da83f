//! The model that every operator screen shares, in the terminal and in the window.
//!
//! | to find | look in |
//! |---|---|
//! | the nodes by host, faults, frame times, automatic restarts | [`Dashboard`] |
//! | the actions of the operator, their keys and when they apply | [`OperatorAction`] |
//! | the command that an action sends | [`OperatorAction::dispatch`] |
//! | short messages | [`TimedNotice`], [`describe_outcome`], [`short_duration`] |

mod action_dispatch;
mod dashboard;
mod duration;
mod operator_action;
#[cfg(test)]
mod test_views;
mod timed_notice;

pub use action_dispatch::{CommandSender, describe_outcome};
pub use dashboard::{AutoRecovery, Dashboard, DashboardRow, adjacent_row};
pub use duration::{short_duration, time_since};
pub use operator_action::{ActionRequest, CANCELLED, OperatorAction};
pub use timed_notice::TimedNotice;
