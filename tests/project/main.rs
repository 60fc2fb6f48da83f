//! The repository itself: imports, licences, documents.

// A test that cannot continue should fail.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

mod documents;
mod import_cycles;
mod imports;
mod licences;
mod sizes;
