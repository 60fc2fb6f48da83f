use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::wire::lane::Lane;
use crate::wire::message::Message;

/// The values of many parameters at several moments, on `hana/<viz>/modulation/_batch`.
///
/// For 64 parameters, one message in one packet replaces 64 messages on 64 keys. The values are one block of
/// little-endian `f32`, moment by moment; in JSON, an array of numbers. A NaN (`null` in JSON) means that the batch
/// has no value of that parameter at that moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct ModulationBatch {
    /// The instance of the visualization that the indices refer to: the `instance` of its info.
    ///
    /// Another instance may have other parameters.
    pub instance: u64,
    /// The base time of the batch: Unix microseconds by the sender's clock.
    pub at: i64,
    /// The moments: microseconds after `at`, ascending.
    pub after: Vec<u32>,
    /// The parameters: indices into `parameters` of the visualization's info, from 0, ascending.
    pub indices: Vec<u16>,
    /// The values: one for each of `indices` at the first moment, then the values at the second moment, and so on.
    #[serde(with = "packed")]
    pub samples: Vec<f32>,
}

impl Message for ModulationBatch {
    const LANE: Lane = Lane::UnreliableSequenced;
    /// Enough for the values of the largest batch and the other fields.
    const MAX_BYTES: usize = 32 * 1024;
    /// Four times the rate of a sender that samples at 1 kHz and sends each sample separately.
    const MAX_PER_SECOND: u32 = 4000;
    const NAME: &'static str = "modulation_batch";
}

/// The reason why a batch is invalid; names the field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ModulationBatchError {
    /// A field has too few or too many items.
    #[error("{field}: there are {count}, it takes 1 to {most}")]
    Count {
        /// The field.
        field: &'static str,
        /// The number of items.
        count: usize,
        /// The maximum number of items.
        most: usize,
    },
    /// The items of a field do not ascend.
    #[error("{field}[{place}]: it is not larger than the one before")]
    Order {
        /// The field.
        field: &'static str,
        /// The index of the invalid item, from 0.
        place: usize,
    },
    /// A moment is too long after the base time.
    #[error("after[{place}]: {us} is more than {} microseconds", ModulationBatch::MAX_SPAN.as_micros())]
    Span {
        /// The index of the invalid item, from 0.
        place: usize,
        /// The moment, in microseconds after the base time.
        us: u32,
    },
    /// The number of values does not match the numbers of parameters and moments.
    #[error("samples: there are {count}; {indices} parameters at {moments} moments are {wanted}")]
    Block {
        /// The number of values.
        count: usize,
        /// The number of parameters.
        indices: usize,
        /// The number of moments.
        moments: usize,
        /// The expected number of values.
        wanted: usize,
    },
    /// A value is infinite.
    #[error("samples[{place}]: it is infinite")]
    Infinite {
        /// The index of the invalid item, from 0.
        place: usize,
    },
}

impl ModulationBatch {
    /// Maximum number of parameters in a batch.
    pub const MAX_PARAMETERS: usize = 1024;
    /// Maximum number of moments.
    pub const MAX_MOMENTS: usize = 64;
    /// Maximum number of values, over all parameters and moments.
    pub const MAX_VALUES: usize = 4096;
    /// Maximum time from the base to the last moment. A sender that samples at 1 kHz sends its batches at far shorter
    /// intervals.
    pub const MAX_SPAN: Duration = Duration::from_secs(1);

    /// Checks that the batch is valid.
    ///
    /// # Errors
    ///
    /// The first problem found; the error names the field.
    pub fn check(&self) -> Result<(), ModulationBatchError> {
        let count = |field, count, most| {
            let fits = (1..=most).contains(&count);
            if fits { Ok(()) } else { Err(ModulationBatchError::Count { field, count, most }) }
        };
        let (indices, moments) = (self.indices.len(), self.after.len());
        count("indices", indices, Self::MAX_PARAMETERS)?;
        count("after", moments, Self::MAX_MOMENTS)?;
        ascends("indices", &self.indices)?;
        ascends("after", &self.after)?;
        let most = u32::try_from(Self::MAX_SPAN.as_micros()).unwrap_or(u32::MAX);
        if let Some(place) = self.after.iter().position(|us| *us > most) {
            return Err(ModulationBatchError::Span { place, us: self.after[place] });
        }
        let (count_of, wanted) = (self.samples.len(), indices * moments);
        if count_of != wanted {
            return Err(ModulationBatchError::Block { count: count_of, indices, moments, wanted });
        }
        count("samples", count_of, Self::MAX_VALUES)?;
        let infinite = self.samples.iter().position(|value| value.is_infinite());
        infinite.map_or(Ok(()), |place| Err(ModulationBatchError::Infinite { place }))
    }

    /// Iterates over all values, moment by moment, as (parameter index, Unix microseconds by the sender's clock,
    /// value).
    pub fn values(&self) -> impl Iterator<Item = (usize, i64, f32)> {
        let rows = self.samples.chunks(self.indices.len().max(1));
        self.after.iter().zip(rows).flat_map(|(after, row)| {
            let at = self.at.saturating_add(i64::from(*after));
            let said = self.indices.iter().zip(row).filter(|(_, value)| !value.is_nan());
            said.map(move |(index, value)| (usize::from(*index), at, *value))
        })
    }

    /// Iterates over the index and the last value of each parameter; omits parameters without a value.
    pub fn last_values(&self) -> impl Iterator<Item = (usize, f32)> {
        self.indices.iter().enumerate().filter_map(|(column, index)| {
            let mut rows = self.samples.chunks(self.indices.len().max(1)).rev();
            let value = rows.find_map(|row| row.get(column).filter(|value| !value.is_nan()))?;
            Some((usize::from(*index), *value))
        })
    }
}

fn ascends<T: PartialOrd>(field: &'static str, numbers: &[T]) -> Result<(), ModulationBatchError> {
    let before = numbers.windows(2).position(|pair| pair[0] >= pair[1]);
    before.map_or(Ok(()), |before| Err(ModulationBatchError::Order { field, place: before + 1 }))
}

/// The batch as received, not yet checked.
#[derive(Deserialize)]
struct Unchecked {
    instance: u64,
    at: i64,
    after: Vec<u32>,
    indices: Vec<u16>,
    #[serde(with = "packed")]
    samples: Vec<f32>,
}

impl TryFrom<Unchecked> for ModulationBatch {
    type Error = ModulationBatchError;

    fn try_from(read: Unchecked) -> Result<Self, ModulationBatchError> {
        let Unchecked { instance, at, after, indices, samples } = read;
        let frame = Self { instance, at, after, indices, samples };
        frame.check()?;
        Ok(frame)
    }
}

/// Serde for the values: a block of bytes, or a list of numbers in human-readable formats.
mod packed {
    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};

    use super::fmt;

    pub(super) fn serialize<S: Serializer>(
        values: &[f32],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_seq(values);
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<f32>, D::Error> {
        deserializer.deserialize_any(Block)
    }

    struct Block;

    impl<'de> Visitor<'de> for Block {
        type Value = Vec<f32>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a block of little-endian f32, or an array of numbers")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<f32>, E> {
            let (values, rest) = bytes.as_chunks();
            if !rest.is_empty() {
                return Err(E::custom(format!("{} bytes are no block of f32", bytes.len())));
            }
            Ok(values.iter().copied().map(f32::from_le_bytes).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Vec<f32>, A::Error> {
            // No capacity is reserved up front, so memory is bounded by the bytes that were read.
            let mut values = vec![];
            while let Some(value) = numbers.next_element::<Option<f32>>()? {
                values.push(value.unwrap_or(f32::NAN));
            }
            Ok(values)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::codec;
    use crate::wire::codec::{Encoding, PayloadError};

    fn frame() -> ModulationBatch {
        ModulationBatch {
            instance: 7,
            at: 1_760_000_000_000_000,
            after: vec![0, 1000],
            indices: vec![1, 3, 4],
            samples: vec![0.1, f32::NAN, 0.2, f32::NAN, f32::NAN, 0.5],
        }
    }

    /// The fields, with the values as bits so that NaN compares equal.
    fn bits(frame: &ModulationBatch) -> (u64, i64, Vec<u32>, Vec<u16>, Vec<u32>) {
        let ModulationBatch { instance, at, after, indices, samples } = frame.clone();
        (instance, at, after, indices, samples.into_iter().map(f32::to_bits).collect())
    }

    #[test]
    fn batch_survives_the_wire_packed_and_as_numbers() {
        let sent = codec::encode(&frame()).unwrap();
        let packed = [0xc4, 24, 0xcd, 0xcc, 0xcc, 0x3d];
        assert!(sent.windows(6).any(|window| window == packed), "{sent:02x?}");
        let read: ModulationBatch = codec::decode(&sent, Encoding::MessagePack).unwrap();
        assert_eq!(bits(&read), bits(&frame()));
        let json = serde_json::to_vec(&frame()).unwrap();
        let read: ModulationBatch = codec::decode(&json, Encoding::Unknown).unwrap();
        assert_eq!(bits(&read), bits(&frame()));
    }

    #[test]
    fn four_ms_of_64_parameters_fit_into_a_packet() {
        let frame = ModulationBatch {
            instance: 1_760_000_000_000_000,
            at: 1_760_000_000_000_000,
            after: (0..4).map(|ms| ms * 1003).collect(),
            indices: (0..64).collect(),
            samples: vec![0.123; 256],
        };
        let bytes = codec::encode(&frame).unwrap().len();
        assert!(bytes < 1200, "{bytes}");
    }

    #[test]
    fn every_sample_is_a_value_or_absent() {
        let at = frame().at;
        let values: Vec<_> = frame().values().collect();
        assert_eq!(values, [(1, at, 0.1), (4, at, 0.2), (4, at + 1000, 0.5)]);
        assert_eq!(frame().last_values().collect::<Vec<_>>(), [(1, 0.1), (4, 0.5)]);
    }

    #[test]
    fn error_names_the_field() {
        type Spoil = fn(&mut ModulationBatch);
        let spoilt: [(Spoil, &str); 9] = [
            (|frame| frame.indices = vec![], "indices: there are 0"),
            (|frame| frame.indices = (0..2000).collect(), "indices: there are 2000"),
            (|frame| frame.indices = vec![1, 4, 4], "indices[2]"),
            (|frame| frame.after = vec![], "after: there are 0"),
            (|frame| frame.after = vec![0, 0], "after[1]"),
            (|frame| frame.after = vec![0, 2_000_000], "after[1]: 2000000"),
            (|frame| frame.samples.truncate(5), "samples: there are 5; 3 parameters at 2 moments"),
            (|frame| frame.samples[4] = f32::INFINITY, "samples[4]"),
            (
                |frame| {
                    frame.indices = (0..1000).collect();
                    frame.after = (0..5).collect();
                    frame.samples = vec![0.0; 5000];
                },
                "samples: there are 5000",
            ),
        ];
        for (spoil, words) in spoilt {
            let mut frame = frame();
            spoil(&mut frame);
            let sent = codec::encode(&frame).unwrap();
            let problem = codec::decode::<ModulationBatch>(&sent, Encoding::MessagePack);
            let problem = problem.unwrap_err().to_string();
            assert!(problem.contains(words), "{problem}");
        }
        let text =
            br#"{"instance": 7, "at": 0, "after": [0], "indices": [0], "samples": ["loud"]}"#;
        let problem = codec::decode::<ModulationBatch>(text, Encoding::Json).unwrap_err();
        assert!(
            matches!(&problem, PayloadError::Field { field, .. } if field == "samples[0]"),
            "{problem}"
        );
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn valid_batch_is_read_as_it_was_sent(
            at: i64,
            instance: u64,
            indices in prop::collection::btree_set(any::<u16>(), 1..40),
            after in prop::collection::btree_set(0_u32..1_000_000, 1..20),
            seed: u32,
        ) {
            let indices: Vec<u16> = indices.into_iter().collect();
            let after: Vec<u32> = after.into_iter().collect();
            let samples = (0..u32::try_from(indices.len() * after.len()).unwrap())
                .map(|n| f32::from_bits(seed.wrapping_mul(n) & 0xbfff_ffff))
                .collect();
            let sent = ModulationBatch { instance, at, after, indices, samples };
            let bytes = codec::encode(&sent).unwrap();
            prop_assert!(bytes.len() <= ModulationBatch::MAX_BYTES);
            let read: ModulationBatch = codec::decode(&bytes, Encoding::MessagePack).unwrap();
            prop_assert_eq!(bits(&read), bits(&sent));
            prop_assert!(read.values().count() <= read.samples.len());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, cut in 0_usize..200, flips: [(u8, u8); 3]) {
            for encoding in [Encoding::MessagePack, Encoding::Json, Encoding::Unknown] {
                let _ = codec::decode::<ModulationBatch>(&bytes, encoding);
            }
            // A valid batch with a few flipped bits.
            let mut sent = codec::encode(&frame()).unwrap();
            for (place, byte) in flips {
                let place = usize::from(place) % sent.len();
                sent[place] = byte;
            }
            sent.truncate(cut);
            if let Ok(read) = codec::decode::<ModulationBatch>(&sent, Encoding::MessagePack) {
                prop_assert!(read.check().is_ok());
                prop_assert!(read.values().all(|(_, _, value)| value.is_finite()));
                prop_assert!(read.last_values().count() <= read.indices.len());
            }
        }
    }
}
