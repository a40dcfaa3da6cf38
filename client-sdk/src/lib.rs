//! The device's side and the login service's side of Warifu.

#[cfg(feature = "device")]
pub mod store;
