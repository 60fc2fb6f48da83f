use serde::Deserialize;
use serde::Serialize;

use crate::Lane;
use crate::Message;

/// What a node says of itself ten times a second, on `hana/<node>/health`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Its frames, if it draws or otherwise works in a loop. A node without a loop leaves it out and is
    /// judged by its presence alone.
    #[serde(default)]
    pub frames: Option<Frames>,
    /// Milliseconds since it joined.
    pub uptime_ms: u64,
    /// Resident memory of its process in bytes; 0 where the platform does not tell.
    #[serde(default)]
    pub memory_bytes: u64,
    /// What it sent, received and threw away since it joined.
    #[serde(default)]
    pub counters: Counters,
}

/// The loop of a node that draws.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Frames {
    /// Frames since it joined. Bumped by the render loop itself, never by a network thread.
    pub count: u64,
    /// Frames per second over the last second.
    pub fps: f32,
    /// Longest frame of the last second in microseconds.
    #[serde(default)]
    pub max_us: u64,
}

/// Messages counted since the node joined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Handed to the network.
    pub sent: u64,
    /// Delivered to the program.
    pub received: u64,
    /// Thrown away because a queue was full or a newer value was there.
    pub dropped: u64,
    /// Sequence numbers that never came.
    pub missed: u64,
    /// Arrived after a newer one, and thrown away.
    pub late: u64,
    /// Not understood: undecodable, of the wrong type, too large, out of range.
    pub malformed: u64,
}

impl Message for Health {
    const LANE: Lane = Lane::UnreliableSequenced;
    const MAX_BYTES: usize = 4 * 1024;
    const NAME: &'static str = "health";
}
