//! Ownership of parameters, and the claims and notes that operators share.

mod arbiter;
mod claims;
mod hybrid_clock;
mod lww_map;
mod mixer;
mod parameter_claims;
mod writers;

pub use arbiter::OwnershipArbiter;
pub use claims::ClaimManager;
pub use claims::claim_event::ClaimEvent;
pub use claims::targets::ClaimRequest;
pub use hybrid_clock::HybridClock;
pub use lww_map::{LwwEntry, LwwMap};
