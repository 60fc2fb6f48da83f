use std::fmt;

use serde::{Deserialize, Serialize};

/// The path by which an app or a bridge plays a visualization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlayPath {
    /// A direct link to the visualization, not through a daemon.
    Direct,
    /// The mesh, used while there is no direct link or the link is blocked.
    Mesh,
}

impl fmt::Display for PlayPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Mesh => "mesh",
        })
    }
}

/// The state of a play session: how an app or a bridge plays one visualization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlayStatus {
    /// The path in use.
    pub path: PlayPath,
    /// Round-trip time of that path in microseconds; `None` while the visualization does not reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u32>,
    /// The share of recent probes on that path without a reply, in percent.
    #[serde(default)]
    pub loss_percent: u8,
    /// The number of path changes since the direct link was first used.
    #[serde(default)]
    pub switches: u32,
}

impl PlayStatus {
    /// Whether the visualization replies.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.round_trip_us.is_some()
    }
}

/// Formats the status: `direct 0.2 ms`, `mesh 1.4 ms, 3 % lost`, `mesh, no reply`.
impl fmt::Display for PlayStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, round_trip_us, loss_percent, .. } = self;
        match round_trip_us {
            Some(us) => write!(f, "{path} {:.1} ms", f64::from(*us) / 1000.0)?,
            None => write!(f, "{path}, no reply")?,
        }
        if *loss_percent > 0 && round_trip_us.is_some() {
            write!(f, ", {loss_percent} % lost")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn play_status_shows_path_time_and_loss() {
        let direct = PlayStatus {
            path: PlayPath::Direct,
            round_trip_us: Some(180),
            loss_percent: 0,
            switches: 0,
        };
        let slow = PlayStatus {
            path: PlayPath::Mesh,
            round_trip_us: Some(1400),
            loss_percent: 3,
            ..direct
        };
        let silent = PlayStatus { round_trip_us: None, loss_percent: 100, ..slow };
        assert_eq!(direct.to_string(), "direct 0.2 ms");
        assert_eq!(slow.to_string(), "mesh 1.4 ms, 3 % lost");
        assert_eq!(silent.to_string(), "mesh, no reply");
    }
}
