//! Ownership of parameters, and the claims and notes that operators share.

mod arbiter;
mod claims;
mod hybrid_clock;
mod lww_map;

pub use arbiter::OwnershipArbiter;
pub use claims::{ClaimEvent, ClaimManager, ClaimRequest};
pub use hybrid_clock::HybridClock;
pub use lww_map::{LwwEntry, LwwMap};
