use hana_time::ClockReading;

use crate::wire::lane::Lane;
use crate::wire::message::Message;

impl Message for ClockReading {
    const LANE: Lane = Lane::UnreliableSequenced;
    const MAX_BYTES: usize = 1024;
    /// Four queries per second from each of a few hundred hosts.
    const MAX_PER_SECOND: u32 = 500;
    const NAME: &'static str = "clock";
}
