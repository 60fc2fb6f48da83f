use std::time::Duration;

use hana_engine::ownership::OwnershipArbiter;

/// The reaction of a visualization to the loss of the controller that last played its parameters.
///
/// A controller is lost when it crashes, closes or is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnControllerLost {
    /// The parameters keep their values, so that a crash of the controller does not change the picture.
    #[default]
    Keep,
    /// The parameters return to their defaults within this duration.
    ///
    /// The fade starts when the controller has been gone for [`OnControllerLost::GRACE`]. For each parameter, it ends
    /// as soon as another controller plays or claims the parameter.
    FadeToDefault(Duration),
}

impl OnControllerLost {
    /// The grace period: long enough for a controller whose daemon crashed to reconnect.
    pub const GRACE: Duration = OwnershipArbiter::GRACE;
}
