//! `warifu bench`: measures with three real processes of its own, in a temporary directory.
//!
//! A broker and a trust operator run as `warifu run` runs them, a third process holds the devices,
//! and the bench itself is the login service, over HTTP. Every account is really enrolled, every
//! login is agreed by all three and verified. Customers approve by themselves here and nowhere else.

mod all;
mod audit;
mod customers;
mod devices;
mod enrol;
mod files;
mod flood;
mod floor;
mod hostile;
mod idle;
mod load;
mod log;
mod logins;
mod marker;
mod measured;
mod pipe;
mod process;
mod scrape;
mod stage;
mod usage;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::block_on,
    output::{Exit, Failure, Output},
};
use stage::{Stage, StageArgs};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Logins with so many in flight: how many a second, how long each, and what each costs.
    Logins(logins::Args),
    /// What a device that only keeps its line costs the broker.
    Idle(idle::Args),
    /// The whole set, as a table in Markdown.
    All(all::Args),
    /// Logins at a steady pace, calm and under hostile peers in turn: what the peers cost the customers.
    Hostile(hostile::Args),
    /// What an audit of a directory costs, beside the same signatures verified alone.
    Audit(audit::Args),
    /// The global log's own path: blocks fed in at both operators, until proofs can be made of them.
    Log(log::Args),
    /// The process of devices that the others start.
    #[command(hide = true)]
    Devices(devices::Args),
    /// The process of hostile peers.
    #[command(hide = true)]
    Flood(flood::Args),
    /// The process of one operator of `bench log`.
    #[command(hide = true)]
    LogSide(log::SideArgs),
}

pub(super) fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Logins(args) => logins::run(&args, output),
        Command::Idle(args) => idle::run(&args, output),
        Command::All(args) => all::run(&args, output),
        Command::Hostile(args) => hostile::run(&args, output),
        Command::Audit(args) => audit::run(&args, output),
        Command::Devices(args) => devices::run(&args),
        Command::Flood(args) => flood::run(&args),
        Command::Log(args) => log::run(&args, output),
        Command::LogSide(args) => log::run_side(&args),
    }
}

/// Plays on a fresh stage, and takes it down whatever comes, a signal included.
fn play<T>(
    args: &StageArgs,
    sync_delay_ms: u64,
    act: impl AsyncFnOnce(&mut Stage) -> Result<T, Failure>,
) -> Result<T, Failure> {
    block_on(async {
        let mut stage = Stage::new(args, sync_delay_ms)?;
        let done = unless_stopped(act(&mut stage)).await;
        let closed = stage.close().await;
        let done = done?;
        closed.map(|()| done)
    })
}

/// What `work` comes to, unless a signal comes first.
async fn unless_stopped<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let watch = |kind| signal(kind).map_err(|error| Failure::from_error(Exit::Io, &error));
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut terminate = watch(SignalKind::terminate())?;
    let mut hangup = watch(SignalKind::hangup())?;
    let stopped = |name| {
        let text = format!("stopped by {name} before anything was measured");
        Err(Failure::new(Exit::Io, text))
    };
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => stopped("SIGINT"),
        _ = terminate.recv() => stopped("SIGTERM"),
        _ = hangup.recv() => stopped("SIGHUP"),
    }
}

/// A bar on a terminal's stderr; nothing elsewhere.
fn progress(what: &'static str, length: usize) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(length).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{prefix:12} {bar:40} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar.with_prefix(what)
}
