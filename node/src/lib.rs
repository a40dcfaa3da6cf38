//! A running Warifu operator or device, and the commands around it.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
mod explorer;
pub mod export;
pub mod log;
pub mod log_http;
pub mod memory;
pub mod observe;
mod outgoing;
pub mod output;
pub mod progress;
mod receipt;
pub mod roles;
pub mod run;
pub mod secrets;
pub mod store;
mod words;
