//! The node's integration tests, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, also outside of test functions"
)]

mod nodes;
mod store;
