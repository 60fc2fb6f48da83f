use std::time::Duration;

use hana_engine::ownership::OwnershipArbiter;

/// The reaction of a visualization to the loss of a controller (crashed, closed or cut off) that played its
/// parameters last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnControllerLost {
    /// Parameters keep their values: a controller's crash must not change the picture.
    #[default]
    Keep,
    /// Parameters return to their defaults over this time.
    ///
    /// The fade starts once the controller has been gone for [`OnControllerLost::GRACE`], and ends for each parameter
    /// as soon as another controller plays or claims it.
    FadeToDefault(Duration),
}

impl OnControllerLost {
    /// The grace period: long enough for a controller whose daemon crashed to reconnect.
    pub const GRACE: Duration = OwnershipArbiter::GRACE;
}
