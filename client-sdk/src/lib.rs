//! What a party's program, or a login service, needs to take part in a Warifu ledger.

#[cfg(feature = "login-service")]
pub mod login_service;
pub mod receipt;
