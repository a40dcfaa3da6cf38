//! The device's side and the login service's side of Warifu.

#[cfg(feature = "login-service")]
pub mod login_service;
pub mod receipt;
#[cfg(feature = "device")]
pub mod store;
#[cfg(feature = "device")]
pub mod transport;
