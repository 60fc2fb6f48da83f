//! The repository itself: imports, licences, documents.

// A test that cannot go on fails.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

mod documents;
mod import_cycles;
mod imports;
mod licences;
mod sizes;
