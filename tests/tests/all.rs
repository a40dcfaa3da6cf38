//! The one integration binary: scenarios, and what needs several crates at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets what it did not expect stops loudly"
)]

mod house;
mod load;
mod processes;
