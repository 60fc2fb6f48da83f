//! Types for the values of the catalogue file. Each type refuses a value that is out of its range.

use std::fmt;
use std::time::Duration;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, de};

#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ProgramName(pub(super) String);

impl TryFrom<String> for ProgramName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        if name.is_empty() {
            return Err("a program must be named: a file beside hanad or in PATH, or a path");
        }
        Ok(Self(name))
    }
}

/// Defines a number type that accepts only a given range.
macro_rules! ranged {
    ($name:ident, $range:expr, $remedy:literal, $number:ident => $into:ty { $convert:expr }) => {
        #[derive(Clone, Copy, Deserialize)]
        #[serde(try_from = "f64")]
        pub(super) struct $name(f64);

        impl TryFrom<f64> for $name {
            type Error = &'static str;

            fn try_from(number: f64) -> Result<Self, Self::Error> {
                if $range.contains(&number) { Ok(Self(number)) } else { Err($remedy) }
            }
        }

        impl From<$name> for $into {
            fn from($name($number): $name) -> Self {
                $convert
            }
        }
    };
}

ranged!(Seconds, (0.0..=86_400.0), "give seconds, 0 to 86400", seconds => Duration {
    Self::from_secs_f64(seconds)
});
ranged!(Factor, (1.0..=100.0), "give a factor, 1 to 100", factor => f64 { factor });
ranged!(Share, (0.0..=1.0), "give a share, 0 to 1", share => f64 { share });
ranged!(Rate, (0.0..=1000.0), "give frames per second, 0 to 1000", rate => f32 {
    #[allow(clippy::cast_possible_truncation)]
    { rate as Self }
});

ranged!(Number, (1.0..=1000.0), "give a number, 1 to 1000", number => usize {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    { number as Self }
});

/// A number, or `None` for "unlimited".
#[derive(Clone, Copy)]
pub(super) struct Budget(Option<u32>);

impl From<Budget> for Option<u32> {
    fn from(budget: Budget) -> Self {
        budget.0
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrWord;

        impl Visitor<'_> for NumberOrWord {
            type Value = Budget;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of restarts, 0 or more, or \"unlimited\"")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Budget, E> {
                u32::try_from(number)
                    .map(|number| Budget(Some(number)))
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Budget, E> {
                if word == "unlimited" {
                    Ok(Budget(None))
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(word), &self))
                }
            }
        }

        deserializer.deserialize_any(NumberOrWord)
    }
}
