//! Runs a node of any role until it is told to stop.

use std::future::Future;

use crate::config::Config;

/// Why a node stopped on its own.
#[derive(Debug, thiserror::Error)]
pub enum RunError {}

/// Runs the node of `config` until `shutdown` is ready, then stops it gracefully.
///
/// # Errors
/// [`RunError`] when it could not start or had to stop.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    drop(config);
    shutdown.await;
    Ok(())
}
