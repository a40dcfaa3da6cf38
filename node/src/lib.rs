//! A running Warifu operator or device, and the commands around it.

pub mod api;
pub mod roles;
pub mod store;
