//! `warifu ledger`: verify, show and export chains offline; audit, watch and bundle the log.

mod audit;
mod bundle;
mod judge;
mod pinned;
mod receipt;
mod show;
mod watch;

use std::{
    io::{self, BufWriter, IsTerminal},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;
use warifu_consensus::party::{Ledger, Sub};

use crate::{
    config::read_ledger,
    export::{self, ExportWriter, Source, Verified, VerifyError, WalkError},
    log::audit::bundle::is_bundle,
    output::{Exit, Failure, Output, Style},
    progress,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Verify every signature and link, with keys from --ledger only. Exit code 1 names what failed.
    Verify(VerifyArgs),
    /// Draw chains. Without --ledger nothing is verified.
    Show(ShowArgs),
    /// Write all blocks of a data directory to stdout, in the form that verify reads.
    Export(ExportArgs),
    /// Compute all of a served log, or of a node's directory, again: every byte, signature and leaf. Exit code 1 names file and
    /// offset of what is wrong.
    Audit(audit::Args),
    /// Follow both operators' logs; alarm on forks, a log that shrinks, growth that stops.
    Watch(watch::Args),
    /// Explain a file of evidence, offline. Exit code 0: it shows a fork; 1: it shows nothing; 5: it is no evidence.
    Judge(judge::Args),
    /// Write one account's blocks with their proofs into one file that verifies without the network.
    Bundle(bundle::Args),
}

#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// An export, a bundle or a receipt, or a node's directory or data directory.
    source: PathBuf,
    /// The ledger's origin and its operators' keys.
    #[arg(long, value_name = "FILE")]
    ledger: PathBuf,
    #[command(flatten)]
    receipt: receipt::Args,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// An export, or a node's directory or data directory.
    source: PathBuf,
    /// Only this account.
    #[arg(long, value_name = "SUB", allow_hyphen_values = true)]
    account: Option<Sub>,
    /// Verify with these keys first.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Only the newest blocks of each account, so many.
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Only blocks from this height on.
    #[arg(long, value_name = "HEIGHT")]
    from: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// A node's directory or data directory.
    dir: PathBuf,
}

pub(super) fn run(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Audit(args) => audit::run(&args, output),
        Command::Watch(args) => watch::run(&args, output),
        Command::Judge(args) => judge::run(&args, output),
        Command::Bundle(args) => bundle::run(&args, output),
        Command::Verify(args) if receipt::is_receipt(&args.source) => {
            receipt::verify(&args.source, &args.receipt, &args.ledger, output)
        }
        Command::Verify(args) if args.receipt.are_given() => {
            let text = format!(
                "{}: no receipt: --proof and --account-key are of one",
                args.source.display()
            );
            Err(Failure::new(Exit::Input, text))
        }
        Command::Verify(args) if is_bundle(&args.source) => {
            bundle::verify(&args.source, &args.ledger, output)
        }
        Command::Verify(args) => {
            let ledger = pinned(&args.ledger)?;
            let source = Source::find(&args.source).map_err(walk)?;
            let verified = verify(&ledger, &source, output)?;
            tell(&verified, &source, output)
        }
        Command::Show(args) => show(&args, output),
        Command::Export(args) => export(&args.dir, output),
    }
}

fn pinned(path: &Path) -> Result<Ledger, Failure> {
    read_ledger(path).map_err(|error| Failure::from_error(Exit::Configuration, &error))
}

/// A record that a live node is just writing looks cut off: looks again before it says so.
fn verify(ledger: &Ledger, source: &Source, output: Output) -> Result<Verified, Failure> {
    const LOOKS: u32 = 3;
    let mut looks = 1;
    loop {
        let bar = progress::bytes("verifying", output.is_json());
        let result = source
            .blocks()
            .map_err(|fault| VerifyError::Walk { after: None, fault })
            .and_then(|blocks| {
                export::verify(ledger, blocks, |done, total| {
                    progress::show(&bar, done, total);
                })
            });
        bar.finish_and_clear();
        match result {
            Err(VerifyError::Walk {
                fault: WalkError::Torn { .. },
                ..
            }) if looks < LOOKS => {
                looks += 1;
                std::thread::sleep(Duration::from_millis(300));
            }
            result => return result.map_err(|error| refused(&error)),
        }
    }
}

fn refused(error: &VerifyError) -> Failure {
    let exit = match error {
        error if error.is_input() => Exit::Input,
        VerifyError::Walk {
            fault: WalkError::Io { .. },
            ..
        } => Exit::Io,
        _ => Exit::Refused,
    };
    let failure = Failure::from_error(exit, error);
    if exit == Exit::Refused {
        return Failure::new(exit, format!("not verified: {}", failure.message));
    }
    failure
}

fn walk(fault: WalkError) -> Failure {
    let exit = match fault {
        WalkError::Io { .. } => Exit::Io,
        _ => Exit::Input,
    };
    Failure::from_error(exit, &fault)
}

fn tell(verified: &Verified, source: &Source, output: Output) -> Result<(), Failure> {
    let kind = match source {
        Source::Export(_) => "export",
        Source::Journal(_) => "journal",
    };
    let answer = json!({
        "verified": true,
        "source": kind,
        "iss": verified.iss,
        "blocks": verified.blocks,
        "accounts": verified.accounts,
    });
    output.print(&answer, || {
        let mut lines = vec![format!(
            "{}: {} account{}, {} block{} of {}",
            output.paint(Style::Good, "verified"),
            verified.accounts.len(),
            plural(verified.accounts.len() != 1),
            verified.blocks,
            plural(verified.blocks != 1),
            verified.iss
        )];
        lines.extend(verified.accounts.iter().map(|account| {
            format!(
                "  {}  {:8} height {:>6}  head {}",
                account.account, account.status, account.height, account.head
            )
        }));
        if kind == "journal" {
            // An export has a last line; a journal cut at a record's end can't be told from a short one.
            lines.push("Compare the heads with another party's: a journal that lost its last blocks verifies too.".to_owned());
        }
        lines.join("\n")
    })
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", plural(count != 1))
}

const fn plural(are_several: bool) -> &'static str {
    if are_several { "s" } else { "" }
}

fn show(args: &ShowArgs, output: Output) -> Result<(), Failure> {
    let source = Source::find(&args.source).map_err(walk)?;
    let verified = match &args.ledger {
        Some(path) => Some(verify(&pinned(path)?, &source, output)?),
        None => None,
    };
    let mut chains = show::Chains::default();
    let bar = progress::bytes("reading", output.is_json());
    let mut blocks = source.blocks().map_err(walk)?;
    while let Some(found) = blocks.next() {
        let found = found.map_err(walk)?;
        let (done, total) = blocks.progress();
        progress::show(&bar, done, total);
        let sub = found.sealed.block.claims().sub;
        if args.account.is_none_or(|account| account == sub) && !found.is_conflict {
            chains.add(found.sealed);
        }
    }
    if let Some(account) = args.account.filter(|_| chains.is_empty()) {
        let text = format!("no block of account {account} in {}", args.source.display());
        return Err(Failure::new(Exit::Input, text));
    }
    bar.finish_and_clear();
    let erased = |sub: &Sub| match &verified {
        // A live node may have written since.
        Some(verified) => verified.account(sub).is_some_and(|a| a.status == "erased"),
        None => blocks.tombstones().contains_key(sub),
    };
    chains.erased(erased);
    let page = show::Page {
        from: args.from,
        last: args.last,
    };
    chains.print(page, verified.is_some(), output)
}

fn export(dir: &Path, output: Output) -> Result<(), Failure> {
    let source = Source::find(dir).map_err(walk)?;
    if let Source::Export(path) = &source {
        let text = format!("{} is a file, expected a directory", path.display());
        return Err(Failure::new(Exit::Input, text));
    }
    let mut blocks = source.blocks().map_err(walk)?;
    // A terminal that shows the export itself has no place for a bar.
    let bar = progress::bytes("exporting", output.is_json() || io::stdout().is_terminal());
    let stdout =
        |error: io::Error| Failure::new(Exit::Io, format!("could not write the export: {error}"));
    let out = BufWriter::new(io::stdout().lock());
    let mut writer = ExportWriter::begin(out, blocks.iss()).map_err(stdout)?;
    while let Some(found) = blocks.next() {
        let found = found.map_err(walk)?;
        let (done, total) = blocks.progress();
        progress::show(&bar, done, total);
        // Evidence of a conflict is no part of a chain.
        if !found.is_conflict {
            writer.block(&found.sealed).map_err(stdout)?;
        }
    }
    bar.finish_and_clear();
    writer.finish().map_err(stdout).map(drop)
}
