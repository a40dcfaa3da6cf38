//! `warifu run`: starts the node of a directory, and stops it gracefully on SIGINT or SIGTERM.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::{
    config::{Config, LogFormat},
    output::{self, Exit, Failure},
    run::{self, RunError},
};

/// Arguments of `warifu run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The node's directory, made by `warifu init`.
    #[arg(long)]
    dir: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::load(&args.dir)
        .map_err(|error| Failure::from_error(Exit::Configuration, &error))?;
    // Signing with another key than the pinned one would be refused by everybody else.
    config
        .identity()
        .map_err(|error| Failure::from_error(Exit::Configuration, &error))?;
    start_log(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(Exit::Io, &error))?;
    runtime.block_on(async {
        let mut interrupt = watch(SignalKind::interrupt())?;
        let mut terminate = watch(SignalKind::terminate())?;
        let shutdown = async move {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            tracing::info!(signal = name, "stopping");
        };
        run::run(config, shutdown)
            .await
            .map_err(|error| Failure::from_error(exit(&error), &error))
    })
}

/// A node that stops on its own has a wrong directory, or a machine that fails it.
const fn exit(error: &RunError) -> Exit {
    match error {
        RunError::Secret(_)
        | RunError::Config(_)
        | RunError::Control(_)
        | RunError::Certificate(_)
        | RunError::Listen { .. } => Exit::Configuration,
        _ => Exit::Io,
    }
}

fn watch(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::from_error(Exit::Io, &error))
}

fn start_log(config: &Config) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.node.log)
        .map_err(|error| Failure::from_error(Exit::Configuration, &error))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(output::is_coloured(&std::io::stderr()))
        .with_writer(std::io::stderr);
    let started = match config.node.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    started.map_err(|error| Failure::from_error(Exit::Io, error.as_ref()))
}
