//! What must hold for any bytes, as plain functions: each fuzz target calls one.
//!
//! A decoder takes exactly what its encoder writes, or says why not. It never panics, and never
//! takes memory that its input does not pay for (`scripts/fuzz` bounds both). The machines are given
//! lists of operations, and may be sent anything by anybody: they never panic, come back from their
//! records, and never break a lock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a property that does not hold stops loudly"
)]

mod bytes;
pub mod enrolling;
mod files;
pub mod frames;
pub mod logs;
pub mod machines;
mod texts;
pub mod trio;

pub use bytes::{body, record, share, wire};
pub use enrolling::enrolment;
pub use files::{export, index, journal, vault};
pub use logs::log;
pub use machines::machines;
pub use texts::{config, control, text};
