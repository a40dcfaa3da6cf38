//! `warifu ledger audit`: a node's directory, or a served log, computed again from its first byte to its last.

use std::{
    path::{Path, PathBuf},
    thread,
};

use warifu_consensus::party::Role;

use super::{
    counted,
    pinned::{Directory, KeyArgs},
};
use crate::{
    cli::block_on,
    clock,
    config::{Card, Config, render_ledger},
    log::audit::{
        ACCOUNTS_AT_ONCE, Audited, AuditedLog, DirectoryAudit, Fault, FetchError, LogClient, Mode,
        RemoteAudit, RemoteError,
    },
    output::{Exit, Failure, Output, Style},
    progress,
};

/// Faults that are shown one by one.
const SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Where a log is served (http:// or https://), or a node's directory or data directory.
    #[arg(value_name = "URL|DIR")]
    source: String,
    #[command(flatten)]
    keys: KeyArgs,
    /// Each signature alone, as every party verifies it. This is the default, and what counts as evidence.
    #[arg(long, conflicts_with = "batch")]
    strict: bool,
    /// Signatures 64 at once: faster, and weaker.
    #[arg(long)]
    batch: bool,
    /// Of a URL: go on from this file, and write it.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Of a URL: where evidence of a fork is put.
    #[arg(long, value_name = "DIR", default_value = ".")]
    evidence: PathBuf,
    /// Of a data directory without a configuration: what opens its vault.
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,
    /// Threads that verify [default: one for each processor].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Of a directory: accounts that are looked at in one pass over it, some 3.5 KiB of memory each.
    #[arg(long, value_name = "N", default_value_t = ACCOUNTS_AT_ONCE, value_parser = at_least_one)]
    accounts_at_once: usize,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!(
            "found {text:?}, expected a number of accounts from 1 on"
        )),
        Ok(number) => Ok(number),
    }
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    if args.source.starts_with("http://") || args.source.starts_with("https://") {
        return served(args, output);
    }
    let mode = if args.batch {
        Mode::Batch
    } else {
        Mode::Strict
    };
    let dir = Path::new(&args.source);
    if args.resume.is_some() {
        let text = "--resume is for served logs: a directory is read as a whole";
        return Err(Failure::new(Exit::Usage, text));
    }
    let Directory {
        data,
        ledger,
        keys,
        master_key,
        config,
    } = Directory::open(dir, args.keys.ledger.as_deref(), args.master_key.as_deref())?;
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let audit = DirectoryAudit {
        data,
        ledger,
        keys,
        master_key,
        mode,
        threads: args.threads.unwrap_or(processors),
        accounts_at_once: args.accounts_at_once,
    };
    let bar = progress::bytes("auditing", output.is_json());
    let mut audited = audit.run(&mut |what, done, total| {
        bar.set_message(what);
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    if let Some(config) = &config {
        own_files(config, &mut audited);
    }
    tell(&audited, output)?;
    match audited.faults.first() {
        None => Ok(()),
        Some(first) => {
            let more = match audited.faults.len() {
                1 => String::new(),
                count => format!(" (the first of {count} faults)"),
            };
            Err(Failure::new(
                Exit::Refused,
                format!("not as it should be: {first}{more}"),
            ))
        }
    }
}

/// The files of a node's directory that have only one right content: keys, and what is handed out of them.
fn own_files(config: &Config, audited: &mut Audited) {
    let fault = |path: &Path, found: String| Fault {
        file: path.to_path_buf(),
        offset: None,
        found,
        derived: false,
    };
    if let (Err(error), Some(path)) = (config.identity(), &config.node.identity) {
        audited.faults.push(fault(path, error.to_string()));
    }
    if let (Err(error), Some(path)) = (config.checkpoint_key(), &config.node.checkpoint_key) {
        audited.faults.push(fault(path, error.to_string()));
    }
    let role = config.role();
    let card = config.dir.join("card.toml");
    if role != Role::Device && card.is_file() {
        match Card::read(&card, role) {
            Ok(read) => {
                let own = match role {
                    Role::Broker => config.ledger.broker,
                    _ => config.ledger.trust_operator,
                };
                if read.public_key != own || read.iss != config.ledger.iss {
                    let found = "is not this node's card".to_owned();
                    audited.faults.push(fault(&card, found));
                } else {
                    compare(&card, &read.render(), audited);
                }
            }
            Err(error) => audited.faults.push(fault(&card, error.to_string())),
        }
    }
    let ledger = config.dir.join("ledger.toml");
    if ledger.is_file() {
        compare(
            &ledger,
            &render_ledger(&config.ledger, &config.log_keys),
            audited,
        );
    }
}

fn compare(path: &Path, expected: &str, audited: &mut Audited) {
    let found = std::fs::read(path).unwrap_or_default();
    let other = found
        .iter()
        .zip(expected.as_bytes())
        .position(|(a, b)| a != b);
    if found != expected.as_bytes() {
        audited.faults.push(Fault {
            file: path.to_path_buf(),
            offset: Some(other.unwrap_or(found.len().min(expected.len())) as u64),
            found: "is not what `warifu init` wrote: delete it, and give the command again"
                .to_owned(),
            derived: false,
        });
    }
}

fn tell(audited: &Audited, output: Output) -> Result<(), Failure> {
    output.print(audited, || {
        let mut lines = Vec::new();
        let verdict = if audited.faults.is_empty() {
            output.paint(Style::Good, "audited")
        } else {
            output.paint(Style::Bad, "not as it should be")
        };
        lines.push(format!(
            "{verdict}: {} of {}, {}, {} ({}), {} of journal",
            audited.role,
            counted(audited.accounts, "account"),
            counted(audited.blocks, "block"),
            counted(audited.signatures, "signature"),
            audited.mode,
            counted(audited.bytes, "byte")
        ));
        if audited.passes > 1 {
            let passes = audited.passes;
            lines.push(format!(
                "the journal was read {passes} times, each for other accounts"
            ));
        }
        if audited.batches > 0 {
            lines.push(format!(
                "log: size {} in {} batch{}, root {}; {} of the leaves are their blocks', {} erased; not logged yet: {}",
                audited.size,
                audited.batches,
                if audited.batches == 1 { "" } else { "es" },
                audited.root,
                audited.opened,
                audited.erased,
                counted(audited.unlogged, "block")
            ));
        }
        if audited.opened_vault {
            let secrets = counted(audited.secrets, "secret");
            lines.push(format!("vault: {secrets}, every seal holds"));
        } else {
            lines.push("vault: not opened, so no leaf was compared with its block".to_owned());
        }
        if audited.mode == Mode::Batch {
            lines.push("batch: holders of a key could make signatures that pass in a batch and fail alone; evidence is what --strict says".to_owned());
        }
        lines.extend(audited.notes.iter().map(|note| format!("note: {note}")));
        lines.extend(
            audited
                .faults
                .iter()
                .take(SHOWN)
                .map(|fault| format!("{} {fault}", output.paint(Style::Bad, "fault:"))),
        );
        lines.join("\n")
    })
}

fn served(args: &Args, output: Output) -> Result<(), Failure> {
    let audit = RemoteAudit {
        client: LogClient::new(&args.source).map_err(|error| failed(&error.into()))?,
        keys: args.keys.required()?,
        resume: args.resume.clone(),
        evidence: args.evidence.clone(),
    };
    let bar = progress::leaves("auditing", output.is_json());
    let audited = block_on(async {
        let mut tell = |done, total| progress::show(&bar, done, total);
        let audited = audit.run(&mut tell).await;
        audited.map_err(|error| failed(&error))
    });
    bar.finish_and_clear();
    let audited = audited?;
    output.print(&audited, || told(&audited, output))
}

fn told(audited: &AuditedLog, output: Output) -> String {
    let mut lines = vec![
        format!(
            "{}: {} leaves of {} at {}",
            output.paint(Style::Good, "audited"),
            audited.size,
            audited.origin,
            audited.url
        ),
        format!("root {}, {} tiles compared", audited.root, audited.tiles),
        format!(
            "signed by the log, cosigned by the witness at {}",
            clock::local(audited.cosigned)
        ),
    ];
    if audited.resumed > 0 {
        lines.push(format!(
            "the first {} leaves had been hashed before",
            audited.resumed
        ));
    }
    lines.join("\n")
}

/// The exit code of what a served log did wrong.
pub(super) fn failed(error: &RemoteError) -> Failure {
    let exit = match error {
        RemoteError::Fetch(FetchError::Address { .. }) => Exit::Usage,
        RemoteError::Fetch(error) if error.is_passing() => Exit::Unreachable,
        // Nothing was shown that could be wrong.
        RemoteError::Fetch(FetchError::Status { .. }) => Exit::Input,
        RemoteError::Resume(_) => Exit::Input,
        RemoteError::Evidence { .. } => Exit::Io,
        _ => Exit::Refused,
    };
    Failure::from_error(exit, error)
}
