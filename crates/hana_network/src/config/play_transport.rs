use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

/// The transport protocol of direct links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum DirectLinkTransport {
    /// Values are lost only when the queues are full, but a lost packet delays all packets behind it.
    #[default]
    Tcp,
    /// Lost packets are not retransmitted, and do not delay other packets.
    ///
    /// For modulation over Wi-Fi or a busy network, where the next value is worth more than a late one. Direct links
    /// over TCP are accepted too.
    Udp,
}

/// The error for a text that is not the name of a transport.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a transport for direct links; use \"tcp\" or \"udp\"")]
pub struct DirectLinkTransportError(String);

impl FromStr for DirectLinkTransport {
    type Err = DirectLinkTransportError;

    fn from_str(text: &str) -> Result<Self, DirectLinkTransportError> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            other => Err(DirectLinkTransportError(other.chars().take(40).collect())),
        }
    }
}

impl TryFrom<String> for DirectLinkTransport {
    type Error = DirectLinkTransportError;

    fn try_from(text: String) -> Result<Self, DirectLinkTransportError> {
        text.parse()
    }
}

impl fmt::Display for DirectLinkTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
