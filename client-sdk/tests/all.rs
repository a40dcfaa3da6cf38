//! The one integration binary of this crate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy exempts only the test functions themselves"
)]

#[cfg(feature = "login-service")]
mod login_service;
#[cfg(feature = "device")]
mod store;
#[cfg(feature = "device")]
mod transport;
