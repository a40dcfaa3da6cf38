//! Seeded walks, and by hand what a walk rarely meets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets what it did not expect stops loudly"
)]

mod attacks;
mod broker;
mod clocks;
mod conflicts;
mod found_bugs;
mod holes;
mod idleness;
mod model;
mod refusals;
mod rules;
mod seeds;
mod shares;
mod stage;
