//! A running Warifu operator or device.

pub mod api;
