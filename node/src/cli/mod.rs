//! The commands: parsed here, one file each. A command returns a [`Failure`] with its exit code;
//! nothing else ends the process, a second signal to `warifu run` aside.

mod account;
mod bench;
mod completions;
mod device;
mod doctor;
mod enrol;
mod init;
mod ledger;
mod login;
mod run;
mod service;

use std::{process::ExitCode, sync::LazyLock};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::output::{Exit, Failure, Lang, Output};

/// A three-party authentication ledger: any one can refuse, only all three can admit.
#[derive(Debug, Parser)]
#[command(name = "warifu", version = LONG_VERSION.as_str(), propagate_version = true)]
struct Cli {
    /// Print JSON, one value a line, for programs.
    #[arg(long, global = true, display_order = 900)]
    json: bool,
    /// Whose language comes first in texts for customers [default: from LANG].
    #[arg(long, global = true, value_enum, display_order = 901)]
    lang: Option<Lang>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prepare a directory: keys, configuration, card.
    #[command(subcommand)]
    Init(init::Command),
    /// Run the node of a directory until SIGINT or SIGTERM.
    Run(run::Args),
    /// Talk to a running device: enrol, approve, deny, freeze, look.
    Device(device::Args),
    /// Verify, show or export chains, offline; audit, watch and bundle the log.
    #[command(subcommand)]
    Ledger(ledger::Command),
    Login(Box<login::Args>),
    /// Enrol a customer's device, as a login service: ticket, digits, pin.
    #[command(subcommand)]
    Enrol(enrol::Command),
    /// Look at, freeze or unfreeze a customer's account, as a login service.
    #[command(subcommand)]
    Account(account::Command),
    /// Look at a node's directory and what is around it; say what is wrong and what to do.
    Doctor(doctor::Args),
    /// Print a shell's completions, or the manual page.
    Completions(completions::Args),
    /// Measure logins, or what idle devices cost, with three processes of its own.
    #[command(subcommand)]
    Bench(bench::Command),
}

/// Parses the process's arguments, runs the command, and gives its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let parsed = definition()
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell when the terminal is gone.
            let _ = error.print();
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            return exit.into();
        }
    };
    let output = Output::new(cli.json, cli.lang);
    match dispatch(cli.command, output) {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            output.fail(&failure);
            failure.exit.into()
        }
    }
}

fn dispatch(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Init(command) => init::run(command, output),
        Command::Run(args) => run::run(&args),
        Command::Device(args) => device::run(args, output),
        Command::Ledger(command) => ledger::run(command, output),
        Command::Login(args) => login::run(*args, output),
        Command::Enrol(command) => enrol::run(command, output),
        Command::Account(command) => account::run(command, output),
        Command::Doctor(args) => doctor::run(&args, output),
        Command::Completions(args) => completions::run(&args),
        Command::Bench(command) => bench::run(command, output),
    }
}

/// The release, how it was built, and what it reads and writes: `0.1.0 (release, linux x86_64,
/// journal format 1)`.
pub(crate) static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    format!(
        "{} ({build}, {} {}, journal format {})",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        warifu_client_sdk::store::JOURNAL_FORMAT
    )
});

/// The command's definition, as help, completions and the manual page show it.
fn definition() -> clap::Command {
    Cli::command().after_help(Exit::help())
}

/// A single-threaded runtime for commands that wait on a line.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(Exit::Io, &error))?
        .block_on(future)
}
