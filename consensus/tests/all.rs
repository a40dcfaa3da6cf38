//! The crate's one integration binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its support functions included"
)]

mod bases;
mod bodies;
mod canonical;
mod chains;
mod checkpoints;
mod clocks;
mod device_words;
mod devices;
mod enrolments;
mod evidence;
mod frames;
mod gathered;
mod go;
mod logs;
mod machines;
mod mutations;
mod notes;
mod restricts;
mod rivals;
mod sessions;
mod signed_bytes;
mod support;
mod tickets;
mod trust_operators;
mod words;
