//! `warifu doctor`: looks at a node's directory and what is around it, and says what it found, what was
//! expected and what to do.
//!
//! Each finding is made by looking for real: files are opened, the journal is read to its end, peers
//! are dialled. It changes nothing that a node keeps, takes no lock, and works beside a running node;
//! what can't be seen then is said. It dials as a stranger with a key of its own, since the node's
//! own key would end the node's own lines.

mod certificate;
mod clock;
mod disk;
mod files;
mod finding;
mod index;
mod journal;
mod log;
mod peers;
mod process;
mod vault;

use std::path::PathBuf;

use warifu_client_sdk::store::{self, Occupant};

use crate::{
    config::{Config, ConfigError, FILE_NAME, RoleConfig},
    output::{Exit, Failure, Output, role_name},
};
use finding::Report;

/// Arguments of `warifu doctor`.
///
/// The exit code is that of the worst finding: 0 for ok and notes, 1 for warnings, and for errors
/// what kind they are: 3 configuration and keys, 4 a peer that can't be reached, 6 disk and data.
/// With --json one list of {"check","level","found","expected","do"} is printed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The node's directory.
    dir: PathBuf,
    /// The broker's HTTP side, whose clock is compared with this machine's.
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Certificate authorities that vouch for that broker, PEM [default: those of this system].
    #[arg(long, value_name = "FILE", requires = "broker")]
    ca: Option<PathBuf>,
    /// Dial nobody.
    #[arg(long)]
    offline: bool,
}

/// What every check sees.
struct Patient<'a> {
    config: &'a Config,
    /// The running node of this directory.
    running: Option<Occupant>,
    output: Output,
}

impl Patient<'_> {
    const fn is_running(&self) -> bool {
        self.running.is_some()
    }
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let mut report = Report::default();
    version(&mut report);
    match Config::load(&args.dir) {
        Ok(config) => {
            let about = format!("{}: {}", args.dir.display(), role_name(config.role()));
            report.ok("config", about);
            examine(args, &config, output, &mut report)?;
        }
        Err(error) => no_config(&error, &mut report),
    }
    report.print(output)
}

fn version(report: &mut Report) {
    report.ok(
        "version",
        format!("warifu {}", super::LONG_VERSION.as_str()),
    );
}

fn no_config(error: &ConfigError, report: &mut Report) {
    let advice = match error {
        ConfigError::Missing { .. } => {
            "name a node's directory, or make one with `warifu init`".to_owned()
        }
        ConfigError::Incomplete { .. } => "run the command that it names".to_owned(),
        ConfigError::Syntax { reason, .. } if reason.contains("unknown field") => {
            "mend the field's name; if a later release wrote it, use that release".to_owned()
        }
        _ => format!("mend {FILE_NAME}; docs/operating.md explains each field"),
    };
    for line in error.to_string().lines() {
        report.error(
            "config",
            Exit::Configuration,
            line,
            "a node's configuration",
            &advice,
        );
    }
}

fn examine(
    args: &Args,
    config: &Config,
    output: Output,
    report: &mut Report,
) -> Result<(), Failure> {
    let running = match store::occupant(&config.node.data) {
        Ok(running) => running,
        Err(error) => {
            let advice = "run doctor as the node's user";
            report.error(
                "process",
                Exit::Io,
                error.to_string(),
                "a lock file that can be read",
                advice,
            );
            None
        }
    };
    let patient = Patient {
        config,
        running,
        output,
    };
    files::directory(config, report);
    files::secrets(config, report);
    if let RoleConfig::Broker(broker) = &config.role {
        files::tokens(config, broker, report);
        certificate::check(broker, report);
    }
    process::check(&patient, report);
    disk::check(config, report);
    let index = index::open_copy(&patient, report);
    let checkpoints = log::Checkpoints::read(config);
    let journal = journal::check(&patient, index.as_ref(), checkpoints.sizes(), report);
    vault::check(&patient, journal.as_ref(), report);
    log::check(config, &checkpoints, journal.as_ref(), report);
    super::block_on(async {
        process::ports(&patient, args.offline, report).await;
        process::control(&patient, report).await;
        if args.offline {
            report.note("peers", "not dialled: --offline", "", "");
        } else {
            peers::check(&patient, journal.as_ref(), report).await;
            clock::check(&patient, args.broker.as_deref(), args.ca.as_deref(), report).await;
        }
        Ok(())
    })
}
