use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

/// What play links ride on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum PlayTransport {
    /// Nothing is lost as long as there is room; where the network loses a packet, what comes after waits for it.
    #[default]
    Tcp,
    /// What the network loses is lost, and nothing waits for it. For modulation over Wi-Fi or a busy network, where a
    /// late value is worth less than the next. Play links over TCP are taken beside.
    Udp,
}

/// A text that is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is nothing that a play link rides on; it is \"tcp\" or \"udp\"")]
pub struct PlayTransportError(String);

impl FromStr for PlayTransport {
    type Err = PlayTransportError;

    fn from_str(text: &str) -> Result<Self, PlayTransportError> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            other => Err(PlayTransportError(other.chars().take(40).collect())),
        }
    }
}

impl TryFrom<String> for PlayTransport {
    type Error = PlayTransportError;

    fn try_from(text: String) -> Result<Self, PlayTransportError> {
        text.parse()
    }
}

impl fmt::Display for PlayTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
