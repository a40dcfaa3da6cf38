//! What only several parties together can show: scenarios, and real processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets what it did not expect stops loudly"
)]

pub mod chaos;
pub mod load;
pub mod processes;
