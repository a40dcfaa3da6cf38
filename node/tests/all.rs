//! The node's integration tests, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, also outside of test functions"
)]

mod api;
mod audit;
mod cli;
mod contract;
mod log;
mod nodes;
mod pki;
mod store;
#[path = "../../client-sdk/tests/login_service/trio.rs"]
mod trio;
