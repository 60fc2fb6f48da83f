use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

/// An inclusive range of TCP ports, written like `7450-7499`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// The error for a text that is not a port range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is not a port range; write two numbers from 1 to 65535, the smaller first, such as \"7450-7499\""
)]
pub struct PortRangeError(String);

impl PortRange {
    /// Returns all ports of the range, in order.
    pub(crate) const fn ports(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, PortRangeError> {
        let range = text.split_once('-').and_then(|(first, last)| {
            Some(Self { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? })
        });
        range
            .filter(|range| range.first > 0 && range.first <= range.last)
            .ok_or_else(|| PortRangeError(text.chars().take(40).collect()))
    }
}

impl TryFrom<String> for PortRange {
    type Error = PortRangeError;

    fn try_from(text: String) -> Result<Self, PortRangeError> {
        text.parse()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn range_has_two_ordered_ends() {
        let range: PortRange = "7450-7452".parse().unwrap();
        assert_eq!(range.ports().collect::<Vec<_>>(), [7450, 7451, 7452]);
        assert_eq!(range.to_string(), "7450-7452");
        for text in ["", "7450", "7452-7450", "0-7", "1-70000", "a-b", "1-2-3"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }
}
