//! Where a node lets itself be watched: what leaves the machine is said, never a default.

use std::net::SocketAddr;

use warifu_consensus::party::Role;

use super::{Check, ConfigError};

impl Check<'_> {
    /// Where the node is watched. Whoever reaches that address reads it, so leaving loopback is said twice.
    pub(super) fn metrics(
        &self,
        text: &str,
        off_loopback: bool,
        role: Role,
    ) -> Result<Option<SocketAddr>, ConfigError> {
        let wrong = |expected| Err(self.field("node.metrics", format!("{text:?}"), expected));
        if text.is_empty() {
            return Ok(None);
        }
        if role == Role::Device {
            return wrong("no such field: a device listens nowhere");
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() || off_loopback => Ok(Some(address)),
            Ok(_) => wrong(
                "a loopback address, or metrics_off_loopback = true: this listener has no TLS and asks nobody who calls",
            ),
            Err(_) => wrong("an address and port such as 127.0.0.1:7203, or nothing"),
        }
    }

    /// Where the log is served for everyone: what is there is public, so any address will do.
    pub(super) fn log_http(
        &self,
        text: &str,
        role: Role,
    ) -> Result<Option<SocketAddr>, ConfigError> {
        let wrong = |expected| Err(self.field("node.log_http", format!("{text:?}"), expected));
        if text.is_empty() {
            return Ok(None);
        }
        if role == Role::Device {
            return wrong("no such field: a device listens nowhere");
        }
        let address = text.parse::<SocketAddr>().map(Some);
        address.or_else(|_| wrong("an address and port such as 0.0.0.0:7204, or nothing"))
    }

    /// Spans name accounts and travel in the clear: `https` would promise what this exporter can't keep.
    pub(super) fn otlp(&self, text: String) -> Result<Option<String>, ConfigError> {
        if text.is_empty() {
            return Ok(None);
        }
        let authority = text.strip_prefix("http://").unwrap_or_default();
        let is_one = authority.parse::<axum::http::uri::Authority>().is_ok();
        if is_one && !authority.contains('@') {
            return Ok(Some(text));
        }
        let expected =
            "http:// with a host and port, such as http://127.0.0.1:4318: no path, no https";
        Err(self.field("node.otlp", format!("{text:?}"), expected))
    }
}
