//! The running roles: what an operator keeps open, and how its accounts reach its lines.
//!
//! [`operator`] is common to broker and trust operator: store, vault, network, enrolments, and the
//! loop that carries frames to accounts. [`broker`] adds what login services ask for, [`device`]
//! the customer's control channel. No rule is decided here.

pub mod broker;
pub mod device;

pub mod directory;
pub mod ending;
pub mod enrolments;
mod erasing;
pub mod lines;
pub mod operator;
pub mod trust_operator;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every holder leaves the value whole, so a panic elsewhere doesn't spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads that carry lines and requests: half of the processors. One more would be woken for nearly
/// every message, which costs more than what it takes over.
pub(crate) fn line_threads() -> usize {
    processors().div_ceil(2)
}

/// Threads that sign: the other half.
pub(crate) fn signing_threads() -> usize {
    processors().saturating_sub(line_threads()).max(1)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
