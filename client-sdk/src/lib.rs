//! What a party's program needs to take part in a Warifu ledger.

#[cfg(feature = "device")]
pub mod transport;
