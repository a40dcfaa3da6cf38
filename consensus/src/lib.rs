//! What is true in a Warifu ledger. Pure: no IO, no clock, no randomness of its own.

pub mod party;
pub mod random;
pub mod session;
pub mod share;
pub mod signature;
