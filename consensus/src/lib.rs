//! What is true in a Warifu ledger: blocks, chains, shares and the agreement of three parties.
//!
//! Pure: no IO, no clock, no randomness of its own, no async. Time and entropy are arguments, so
//! every decision here can be replayed. Each module uses only those listed above it.

pub mod random;

pub mod signature;

pub mod encoding;

pub mod party;

pub mod time;

pub mod vote;

pub mod block;

pub mod body;

pub mod chain;
