use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// What kind of thing a parameter is: how people write it and see it. What travels is a number, whatever the kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    /// Any number from the least to the greatest. -1 to 1 is bipolar, with rest in the middle; 0 to 1 unipolar.
    #[default]
    Range,
    /// 0 is off, 1 is on.
    Toggle,
    /// One of these: the first is 0, the second 1, and so on.
    Choice(Vec<String>),
    /// A part of a colour, 0 to 1 in sRGB. The three parts are three parameters, so that each can be played, and moves
    /// smoothly, like any other.
    Colour {
        /// The name of the whole.
        of: String,
        /// Which part.
        part: ColourPart,
    },
}

/// A part of a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColourPart {
    /// How red.
    Red,
    /// How green.
    Green,
    /// How blue.
    Blue,
}

impl ColourPart {
    /// All, in the order in which a colour is written.
    pub const ALL: [Self; 3] = [Self::Red, Self::Green, Self::Blue];

    /// What is appended to the name of the colour to name the part.
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
    /// Whether only whole numbers are meant: what lies between two is taken as the nearest.
    #[must_use]
    pub const fn is_stepped(&self) -> bool {
        matches!(self, Self::Toggle | Self::Choice(_))
    }

    pub(crate) fn is_range(&self) -> bool {
        *self == Self::Range
    }
}

/// Reads a kind; one that this build does not know is a range, which every parameter is.
pub(crate) fn kind_or_range<'de, D: Deserializer<'de>>(from: D) -> Result<ParameterKind, D::Error> {
    let written = Value::deserialize(from)?;
    Ok(serde_json::from_value(written).unwrap_or_default())
}
