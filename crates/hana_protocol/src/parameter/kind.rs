use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The kind of a parameter, which decides how it is written and displayed. On the wire every value is a number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    /// Any number from the minimum to the maximum. A range from -1 to 1 is bipolar and rests at 0; 0 to 1 is
    /// unipolar.
    #[default]
    Range,
    /// A switch: 0 is off, 1 is on.
    Toggle,
    /// One of these choices: the first is 0, the second 1, and so on.
    Choice(Vec<String>),
    /// A component of a colour, 0 to 1 in sRGB.
    ///
    /// The three components are three parameters, so that each can be played, and moves smoothly, like any other
    /// parameter.
    Colour {
        /// The name of the colour.
        of: String,
        /// The component.
        part: ColourPart,
    },
}

/// A component of a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColourPart {
    /// The red component.
    Red,
    /// The green component.
    Green,
    /// The blue component.
    Blue,
}

impl ColourPart {
    /// All components, in the order in which a colour is written.
    pub const ALL: [Self; 3] = [Self::Red, Self::Green, Self::Blue];

    /// Returns the suffix that makes the component's name from the colour's name.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Red => "-r",
            Self::Green => "-g",
            Self::Blue => "-b",
        }
    }
}

impl fmt::Display for ColourPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
        })
    }
}

impl ParameterKind {
    /// Whether only whole numbers are valid; values between them are rounded to the nearest.
    #[must_use]
    pub const fn is_stepped(&self) -> bool {
        matches!(self, Self::Toggle | Self::Choice(_))
    }

    pub(crate) fn is_range(&self) -> bool {
        *self == Self::Range
    }
}

/// Deserializes a kind; an unknown kind becomes a range, which suits every parameter.
pub(crate) fn kind_or_range<'de, D: Deserializer<'de>>(from: D) -> Result<ParameterKind, D::Error> {
    let written = Value::deserialize(from)?;
    Ok(serde_json::from_value(written).unwrap_or_default())
}
