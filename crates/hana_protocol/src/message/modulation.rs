pub(crate) mod batch;

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// One value of one parameter, on `hana/<viz>/modulation/<param>`.
///
/// Encoded as a map `{"value": 0.5}`. A bare number is decoded too, so that a value can be typed by hand.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Modulation {
    /// The value, within the parameter's range (-1 to 1 by default).
    pub value: f32,
}

impl Message for Modulation {
    const LANE: Lane = Lane::UnreliableSequenced;
    const MAX_BYTES: usize = 256;
    /// Four times the rate of sensors and audio analysis, which is at most 1 kHz per parameter.
    const MAX_PER_SECOND: u32 = 4000;
    const NAME: &'static str = "modulation";
}

impl<'de> Deserialize<'de> for Modulation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ModulationVisitor)
    }
}

struct ModulationVisitor;

impl<'de> Visitor<'de> for ModulationVisitor {
    type Value = Modulation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a map with the field `value`")
    }

    // A parameter is an f32 on both ends; a foreign sender's value beyond the range of `f32` is out of the
    // parameter's range anyway.
    #[allow(clippy::cast_possible_truncation)]
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Modulation, E> {
        Ok(Modulation { value: value as f32 })
    }

    #[allow(clippy::cast_precision_loss)]
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Modulation, E> {
        self.visit_f64(value as f64)
    }

    #[allow(clippy::cast_precision_loss)]
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Modulation, E> {
        self.visit_f64(value as f64)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Modulation, A::Error> {
        let mut value = None;
        while let Some(field) = map.next_key::<String>()? {
            if field == "value" {
                value = Some(map.next_value()?);
            } else {
                map.next_value::<de::IgnoredAny>()?;
            }
        }
        value.map(|value| Modulation { value }).ok_or_else(|| de::Error::missing_field("value"))
    }
}
