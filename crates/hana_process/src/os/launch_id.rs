use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The environment variable that identifies every process of one launch, whichever group it moves to.
pub const LAUNCH_ID_VAR: &str = "HANA_LAUNCH";

/// Creates a launch id ([`LAUNCH_ID_VAR`]) that is unique on this machine.
#[must_use]
pub fn new_launch_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    format!("{}-{now}-{count}", std::process::id())
}
