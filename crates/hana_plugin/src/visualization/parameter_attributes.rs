//! Attributes of the fields of a parameter struct.

use bevy_reflect::Reflect;

/// A short description of a parameter, as an attribute of its field.
///
/// Example: `#[reflect(@Description("distance of the rings"))]`.
#[derive(Reflect, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description(
    /// The text.
    pub &'static str,
);

/// The time that a parameter takes to follow a step to 63 %, in milliseconds, as an attribute of its field.
///
/// Example: `#[reflect(@Smoothing(80.0))]`. Without the attribute, or with 0, the parameter follows a step
/// immediately.
#[derive(Reflect, Debug, Clone, Copy, PartialEq)]
pub struct Smoothing(
    /// The time in milliseconds.
    pub f32,
);

/// Disables interpolation between received values of a number, as an attribute of its field: `#[reflect(@Stepped)]`.
///
/// Toggles and choices are never interpolated. Other parameters are interpolated linearly if the playout has a delay.
#[derive(Reflect, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stepped;

/// A number that several controllers play together, as an attribute of its field: `#[reflect(@Additive)]`.
///
/// Each controller's offset from the default is added to the sum. Without the attribute, one controller at a
/// time owns the parameter.
#[derive(Reflect, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Additive;

/// The name that operators read instead of the field's name: `#[reflect(@ParameterLabel("Ring speed"))]`.
#[derive(Reflect, Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterLabel(
    /// The text.
    pub &'static str,
);

/// The group under which lists and screens show a parameter, as an attribute of its field or of the whole struct.
///
/// Example: `#[reflect(@Group("ring"))]`. The group of a field takes precedence over the group of its struct.
#[derive(Reflect, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group(
    /// The text.
    pub &'static str,
);

/// The unit of a parameter's values, as an attribute of its field: `#[reflect(@Unit("Hz"))]`.
#[derive(Reflect, Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit(
    /// The text.
    pub &'static str,
);
