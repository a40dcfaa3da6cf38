//! Seeded walks.

mod seeds;
