//! The broker's HTTP side.

pub mod desk;
