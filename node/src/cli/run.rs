//! `warifu run`: starts the node of a directory, and stops it gracefully on SIGINT or SIGTERM.

use std::{path::PathBuf, time::Duration};

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
    /// Bench only: every sync of journal and vault takes so much longer, in milliseconds.
    #[arg(long, hide = true, default_value_t = 0, value_name = "MS")]
    sync_delay_ms: u64,
    /// Bench only: also stop when standard input ends, so that the node does not outlive the bench.
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut config = Config::load(&args.dir)
        .map_err(|error| Failure::from_error(Exit::Configuration, &error))?;
    // Signing with another key than the pinned one would be refused by everybody else.
    config
        .identity()
        .map_err(|error| Failure::from_error(Exit::Configuration, &error))?;
    config.node.sync_delay = Duration::from_millis(args.sync_delay_ms);
    start_log(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(Exit::Io, &error))?;
    runtime.block_on(async {
        let mut interrupt = watch(SignalKind::interrupt())?;
        let mut terminate = watch(SignalKind::terminate())?;
        let input = until_stdin_ends(args.until_stdin_ends);
        let shutdown = async move {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
                () = input => "standard input ended",
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
        | RunError::Listen { .. } => Exit::Configuration,
        _ => Exit::Io,
    }
}

/// Ready when standard input ends; never, unless `wanted`. Its thread ends with the process.
pub(super) async fn until_stdin_ends(wanted: bool) {
    let (ended, end) = tokio::sync::oneshot::channel();
    if !wanted {
        return std::future::pending().await;
    }
    std::thread::spawn(move || {
        // An input that can't be read has ended too; nobody may wait for it any more.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = end.await;
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
