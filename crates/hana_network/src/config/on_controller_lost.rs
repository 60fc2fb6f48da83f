use std::time::Duration;

use hana_engine::ownership::OwnershipArbiter;

/// What a visualization does with the parameters that an app had played last, once that app is gone: crashed, closed or
/// cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnControllerLost {
    /// They stay as they are: what is seen does not change because somebody's laptop died.
    #[default]
    Hold,
    /// They go back to their defaults, as slowly as this. It begins once the app has been gone for
    /// [`OnControllerLost::GRACE`], and ends for each parameter as soon as somebody plays or takes it.
    Ease(Duration),
}

impl OnControllerLost {
    /// An app whose daemon has crashed is back by itself before this.
    pub const GRACE: Duration = OwnershipArbiter::GRACE;
}
