//! `warifu run`: starts the node of a directory, and stops it gracefully on SIGINT or SIGTERM: within
//! 5 s whatever peers and disks do, and at once on a second signal.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};
use warifu_client_sdk::runtime::STEPS_TARGET;

use crate::{
    config::{Config, LogFormat},
    memory,
    observe::traces::{Spans, StepsLayer},
    output::{self, Exit, Failure},
    roles,
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
    /// Bench only: also stop when standard input ends, so that the node does not outlive the bench; and let
    /// the bench read in /proc what the node wrote.
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
    // Before any thread and any secret. A bench reads in /proc what its nodes wrote to the disk.
    let private = memory::no_core_files().and_then(|()| match args.until_stdin_ends {
        true => Ok(()),
        false => memory::make_undumpable(),
    });
    let asked = watch_signals()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(roles::line_threads())
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(Exit::Io, &error))?;
    let ended = runtime.block_on(async {
        let spans = start_log(&config)?;
        if let Err(error) = private {
            tracing::warn!(%error, "this process's memory may end up in a file");
        }
        let input = until_stdin_ends(args.until_stdin_ends);
        let shutdown = async move {
            tokio::select! {
                asked = asked => match asked {
                    Ok(name) => tracing::info!(signal = name, "stopping"),
                    // The watching thread is gone: there is nobody to ask for a stop.
                    Err(_) => std::future::pending().await,
                },
                () = input => tracing::info!("standard input ended, stopping"),
            }
        };
        let ended = run::run(config, shutdown).await;
        if let Some(spans) = spans {
            // A panic there would be the exporter's, and the node has ended.
            drop(tokio::task::spawn_blocking(move || spans.end()).await);
        }
        ended.map_err(|error| Failure::from_error(exit(&error), &error))
    });
    // A thread that hangs in a system call holds nothing that was promised.
    runtime.shutdown_timeout(LAST_THREADS);
    ended
}

/// How long a graceful stop may take; then the process ends all the same.
const STOP: Duration = Duration::from_millis(4_800);

/// How long threads of the runtime may take to end.
const LAST_THREADS: Duration = Duration::from_secs(1);

/// Watches for signals on a thread of its own, which hung disks and peers can't hold up: the first
/// SIGINT or SIGTERM is told, the second ends the process, and so does a stop that takes too long.
/// Nothing acknowledged is lost by that: it was durable before it was said.
fn watch_signals() -> Result<oneshot::Receiver<&'static str>, Failure> {
    let io = |error: std::io::Error| Failure::from_error(Exit::Io, &error);
    let (tell, told) = oneshot::channel();
    let (begun, has_begun) = mpsc::sync_channel(1);
    let watching = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            // Nobody hears it if the caller is gone.
            Err(error) => return drop(begun.send(Err(error))),
        };
        runtime.block_on(async move {
            let (mut interrupt, mut terminate) = match signals() {
                Ok(signals) => signals,
                Err(error) => return drop(begun.send(Err(error))),
            };
            drop(begun.send(Ok(())));
            let name = either(&mut interrupt, &mut terminate).await;
            if tell.send(name).is_err() {
                return;
            }
            let why = tokio::select! {
                name = either(&mut interrupt, &mut terminate) => format!("a second {name} came"),
                () = tokio::time::sleep(STOP) => {
                    format!("stopping took longer than {} ms", STOP.as_millis())
                }
            };
            tracing::warn!(why, "ended at once");
            std::process::exit(i32::from(Exit::Io as u8));
        });
    };
    std::thread::Builder::new()
        .name("warifu-signals".into())
        .spawn(watching)
        .map_err(io)?;
    match has_begun.recv() {
        Ok(begun) => begun.map(|()| told).map_err(io),
        Err(_) => Err(Failure::new(Exit::Io, "signals can't be watched")),
    }
}

fn signals() -> std::io::Result<(Signal, Signal)> {
    Ok((
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    ))
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
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
