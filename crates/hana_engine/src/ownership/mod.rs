//! Ownership of parameters, and what operators claim and share.

mod arbiter;
mod claims;
mod hybrid_clock;
mod lww_map;

pub use arbiter::Hands;
pub use claims::{Ask, WishNews, Wishes};
pub use hybrid_clock::HybridClock;
pub use lww_map::{ReplicatedMap, Written};
