//! `warifu ledger bundle`: one account's blocks with everything that verifies them, in one file; and its verification.

use std::{
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
};

use serde_json::json;
use warifu_consensus::{encoding::Hash, party::Sub};

use super::{pinned::Directory, plural, receipt};
use crate::{
    clock,
    config::{read_ledger, read_log_keys},
    log::audit::bundle::{Bundle, BundleError, Collect, CollectError, verify as verify_bundle},
    output::{Exit, Failure, Output, Style},
    progress,
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// An operator's directory or data directory.
    dir: PathBuf,
    /// Whose blocks: all of them.
    #[arg(
        long,
        value_name = "SUB",
        allow_hyphen_values = true,
        required_unless_present = "login"
    )]
    account: Option<Sub>,
    /// Only the blocks of these receipts, and genesis: what the broker answered, what `warifu login --json` printed, or the sealed
    /// block itself.
    #[arg(long, value_name = "RECEIPT", num_args = 1..)]
    login: Vec<PathBuf>,
    /// Where the bundle is put: a new file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The ledger's origin and keys, if the directory's configuration does not pin them.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Of a data directory without a configuration: what opens its vault.
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    if args.out.symlink_metadata().is_ok() {
        let text = format!("{} is there already, expected nothing", args.out.display());
        return Err(Failure::new(Exit::Usage, text));
    }
    let Directory {
        data,
        ledger,
        keys,
        master_key,
        ..
    } = Directory::open(
        &args.dir,
        args.ledger.as_deref(),
        args.master_key.as_deref(),
    )?;
    let missing = "the vault holds what opens the leaves: name --master-key FILE";
    let master_key = master_key.ok_or_else(|| Failure::new(Exit::Usage, missing))?;
    let (account, only) = wanted(args)?;
    let collect = Collect {
        data,
        ledger,
        keys,
        master_key,
        account,
        only,
    };
    let bar = progress::bytes("collecting", output.is_json());
    let bundle = collect.run(&mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let bundle = bundle.map_err(|error| {
        let exit = match error {
            CollectError::Account(_) | CollectError::Login { .. } => Exit::Input,
            CollectError::Store(_) => Exit::Io,
            _ => Exit::Refused,
        };
        Failure::from_error(exit, &error)
    })?;
    write(&bundle, &args.out)?;
    let logged = bundle
        .blocks
        .iter()
        .filter(|(_, proof)| proof.is_some())
        .count();
    let blocks = bundle.blocks.len();
    let answer = json!({
        "account": account,
        "blocks": blocks,
        "logged": logged,
        "file": args.out,
    });
    output.print(&answer, || {
        format!(
            "{blocks} block{} of account {account}, {logged} with proof, in {}",
            plural(blocks != 1),
            args.out.display()
        )
    })
}

/// Whose blocks, and which of them: all, if none is named.
fn wanted(args: &Args) -> Result<(Sub, Vec<Hash>), Failure> {
    let mut account = args.account;
    let mut only = Vec::new();
    for path in &args.login {
        let sealed = receipt::read(path)?.sealed;
        let found = sealed.block.claims().sub;
        if *account.get_or_insert(found) != found {
            let text = format!(
                "{}: is of account {found}: one account a bundle",
                path.display()
            );
            return Err(Failure::new(Exit::Input, text));
        }
        only.push(sealed.block.hash());
    }
    let missing = "whose blocks? Name --account or --login";
    let account = account.ok_or_else(|| Failure::new(Exit::Usage, missing))?;
    Ok((account, only))
}

/// Puts it into a new file, durably.
fn write(bundle: &Bundle, out: &Path) -> Result<(), Failure> {
    let io = |error: std::io::Error| {
        Failure::new(
            Exit::Io,
            format!("could not write {}: {error}", out.display()),
        )
    };
    let file = File::create_new(out).map_err(io)?;
    let written = bundle.write(BufWriter::new(&file));
    if let Err(error) = written.and_then(|()| file.sync_all()) {
        // Half a bundle would stand in the next one's way.
        drop(std::fs::remove_file(out));
        return Err(io(error));
    }
    Ok(())
}

/// `warifu ledger verify` of a bundle.
pub(super) fn verify(path: &Path, ledger: &Path, output: Output) -> Result<(), Failure> {
    let configuration =
        |error: &dyn std::error::Error| Failure::from_error(Exit::Configuration, error);
    let pinned = read_ledger(ledger).map_err(|error| configuration(&error))?;
    let keys = read_log_keys(ledger).map_err(|error| configuration(&error))?;
    let verified = verify_bundle(path, &pinned, &keys).map_err(|error| match error {
        BundleError::Io(_) => Failure::from_error(Exit::Io, &error),
        error => Failure::new(Exit::Refused, format!("not verified: {error}")),
    })?;
    let mut answer =
        serde_json::to_value(&verified).map_err(|error| Failure::from_error(Exit::Io, &error))?;
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("verified".to_owned(), true.into());
        answer.insert("source".to_owned(), "bundle".into());
    }
    output.print(&answer, || {
        let whole = match &verified.status {
            Some(status) => format!("every block up to height {}, {status}", verified.height),
            None => "blocks were left out: each was agreed, the account's status is not shown".to_owned(),
        };
        format!(
            "{}: account {} of {}, {} block{}, {} in the log\n{whole}\ncheckpoint of {} leaves, cosigned {}",
            output.paint(Style::Good, "verified"),
            verified.account,
            verified.iss,
            verified.blocks,
            plural(verified.blocks != 1),
            verified.logged,
            verified.size,
            clock::local(verified.cosigned)
        )
    })
}
