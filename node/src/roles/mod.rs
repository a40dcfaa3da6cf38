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
pub mod lines;
pub mod operator;
pub mod trust_operator;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every holder leaves the value whole, so a panic elsewhere doesn't spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
