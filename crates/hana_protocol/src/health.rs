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
    /// Over the rate that is taken of one sender on one key, and thrown away unread.
    #[serde(default)]
    pub limited: u64,
    /// Said by somebody else in the name of a node that speaks for itself alone, and thrown away unread.
    #[serde(default)]
    pub impersonated: u64,
}

impl Counters {
    /// Whether messages never came or could not be used. What was late or dropped is no error: of a value only
    /// the newest matters, and a copy may come by a second way.
    #[must_use]
    pub const fn has_errors(&self) -> bool {
        self.missed + self.malformed + self.limited + self.impersonated > 0
    }
}

impl Message for Health {
    const LANE: Lane = Lane::UnreliableSequenced;
    const MAX_BYTES: usize = 4 * 1024;
    /// Five times the ten beats of a second.
    const MAX_PER_SECOND: u32 = 50;
    const NAME: &'static str = "health";
}
