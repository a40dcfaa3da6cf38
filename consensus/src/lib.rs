//! What is true in a Warifu ledger.
//!
//! A customer's account key exists only as three FROST shares: **device**, **broker**, **trust
//! operator**. Each login is the next block of the account's hash chain, signed by that key, so it
//! exists only if all three shares reconciled. *Any one can refuse; only all three can admit.*
//!
//! This crate is pure: no IO, no clock, no randomness of its own, no async. Time and randomness
//! are arguments; what is to be done is returned. Each module uses only those above it:
//!
//! [`party`] · [`time`] · [`encoding`] (all domain strings, all text codecs) · [`signature`] ·
//! [`random`] · [`vote`] · [`block`] · [`body`] · [`chain`] · [`share`] (the only user of FROST) · [`session`] ·
//! [`enrol`] · [`wire`] · [`agree`].

pub mod agree;
pub mod block;
pub mod body;
pub mod chain;
pub mod encoding;
pub mod enrol;
pub mod log;
pub mod party;
pub mod random;
pub mod session;
pub mod share;
pub mod signature;
pub mod time;
pub mod vote;
pub mod wire;
