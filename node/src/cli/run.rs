//! `warifu run`: starts the node of a directory, and stops it gracefully on SIGINT or SIGTERM.

use std::{path::PathBuf, sync::Arc};

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};
use warifu_client_sdk::runtime::STEPS_TARGET;

use crate::{
    config::{Config, LogFormat},
    observe::traces::{Spans, StepsLayer},
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(Exit::Io, &error))?;
    runtime.block_on(async {
        let spans = start_log(&config)?;
        let mut interrupt = watch(SignalKind::interrupt())?;
        let mut terminate = watch(SignalKind::terminate())?;
        let shutdown = async move {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            tracing::info!(signal = name, "stopping");
        };
        let ended = run::run(config, shutdown).await;
        if let Some(spans) = spans {
            // A panic there would be the exporter's, and the node has ended.
            drop(tokio::task::spawn_blocking(move || spans.end()).await);
        }
        ended.map_err(|error| Failure::from_error(exit(&error), &error))
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

/// Lines on stderr, and spans if a collector is configured. Each has a filter of its own: what one does not
/// want costs nothing for the other.
fn start_log(config: &Config) -> Result<Option<Arc<Spans>>, Failure> {
    let filter = EnvFilter::try_new(&config.node.log)
        .map_err(|error| Failure::from_error(Exit::Configuration, &error))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(output::is_coloured(&std::io::stderr()))
        .with_writer(std::io::stderr);
    let lines = match config.node.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let spans = config.node.otlp.as_deref().map(|otlp| {
        Spans::start(otlp, config.role(), &config.ledger.iss)
            .map_err(|error| Failure::from_error(Exit::Io, &error))
    });
    let spans = spans.transpose()?;
    let steps = spans.clone().map(|spans| {
        let finished = Targets::new().with_target(STEPS_TARGET, LevelFilter::TRACE);
        StepsLayer(spans).with_filter(finished)
    });
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(steps)
        .try_init()
        .map_err(|error| Failure::from_error(Exit::Io, &error))?;
    Ok(spans)
}
