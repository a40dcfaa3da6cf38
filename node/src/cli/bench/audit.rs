//! `warifu bench audit`: what an audit of a directory costs, beside the same signatures verified alone by the library.
//!
//! The directory is made here: accounts with chains that verify, a vault, a log with one leaf for each block. Account keys are
//! ordinary ones: what verifies a threshold signature verifies these. In each round all four are timed one after the other, on as
//! many threads; the medians are compared.

mod made;

use std::{path::PathBuf, thread, time::Duration};

use ed25519_dalek::{Signature, VerifyingKey, verify_batch};
use serde_json::json;
use tokio::time::Instant;

use self::made::{Made, Signed};
use super::floor::median;
use crate::{
    cli::block_on,
    log::audit::{ACCOUNTS_AT_ONCE, DirectoryAudit, Mode},
    output::{Exit, Failure, Output},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Accounts.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    accounts: u32,
    /// Blocks of each account after genesis.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    blocks: u32,
    /// Rounds.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Threads [default: one for each processor].
    #[arg(long)]
    threads: Option<usize>,
    /// Make the directory here, and leave it: for audits by hand. Its keys are in ledger.toml and master-key there.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

fn bug(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Io, error.to_string())
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let temporary = tempfile::tempdir().map_err(bug)?;
    let dir = args.keep.as_deref().unwrap_or(temporary.path());
    let made = block_on(made::make(dir, args.accounts, args.blocks))?;
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.unwrap_or(processors).max(1);
    let mut took: [Vec<f64>; 4] = Default::default();
    for _ in 0..args.rounds {
        let rounds = [
            alone(&made.signed, threads, strictly)?,
            audited(&made, threads, Mode::Strict)?,
            alone(&made.signed, threads, in_batches)?,
            audited(&made, threads, Mode::Batch)?,
        ];
        for (all, round) in took.iter_mut().zip(rounds) {
            all.push(round.as_secs_f64());
        }
    }
    let [strict_alone, strict, batch_alone, batch] = took.map(median);
    let signatures = made.signed.len();
    let each = |seconds: f64| seconds * 1e6 / signatures.max(1) as f64;
    let answer = json!({
        "accounts": args.accounts,
        "blocks": made.blocks,
        "signatures": signatures,
        "threads": threads,
        "rounds": args.rounds,
        "verify_strict_alone_us": each(strict_alone),
        "audit_strict_us": each(strict),
        "strict_ratio": strict_alone / strict,
        "verify_batch_alone_us": each(batch_alone),
        "audit_batch_us": each(batch),
        "batch_ratio": batch_alone / batch,
    });
    output.print(&answer, || {
        format!(
            "{} blocks of {} accounts, {signatures} signatures, {threads} threads; µs of wall time for each signature\n\
             strict: {:.2} alone, {:.2} audited, ratio {:.2}\n\
             batch:  {:.2} alone, {:.2} audited, ratio {:.2}",
            made.blocks,
            args.accounts,
            each(strict_alone),
            each(strict),
            strict_alone / strict,
            each(batch_alone),
            each(batch),
            batch_alone / batch,
        )
    })
}

/// One audit of the whole directory; it must find it good, and have met at least the signatures that are timed alone.
fn audited(made: &Made, threads: usize, mode: Mode) -> Result<Duration, Failure> {
    let audit = DirectoryAudit {
        data: made.data.clone(),
        ledger: made.ledger.clone(),
        keys: made.keys.clone(),
        master_key: Some(made.master_key()),
        mode,
        threads,
        accounts_at_once: ACCOUNTS_AT_ONCE,
    };
    let begun = Instant::now();
    let audited = audit.run(&mut |_, _, _| {});
    let took = begun.elapsed();
    if let Some(fault) = audited.faults.first() {
        return Err(bug(fault));
    }
    let (found, expected) = (audited.signatures, made.signed.len() as u64);
    if found < expected || audited.opened != made.blocks {
        let text = format!("audit met {found} signatures, expected {expected}");
        return Err(Failure::new(Exit::Io, text));
    }
    Ok(took)
}

/// All signatures on so many threads, by the library alone.
fn alone(
    signed: &[Signed],
    threads: usize,
    verify: fn(&[Signed]) -> bool,
) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let good = thread::scope(|scope| {
        let running: Vec<_> = signed
            .chunks(signed.len().div_ceil(threads).max(1))
            .map(|part| scope.spawn(move || verify(part)))
            .collect();
        // All are waited for, whatever the first one says.
        let ended: Vec<bool> = running
            .into_iter()
            .map(|thread| thread.join().unwrap_or(false))
            .collect();
        ended.into_iter().all(|good| good)
    });
    if good {
        Ok(begun.elapsed())
    } else {
        Err(Failure::new(
            Exit::Io,
            "a signature of the bench does not verify",
        ))
    }
}

fn strictly(part: &[Signed]) -> bool {
    part.iter()
        .all(|one| one.key.verify_strict(&one.message, &one.signature).is_ok())
}

fn in_batches(part: &[Signed]) -> bool {
    part.chunks(64).all(|batch| {
        let messages: Vec<&[u8]> = batch.iter().map(|one| one.message.as_slice()).collect();
        let signatures: Vec<Signature> = batch.iter().map(|one| one.signature).collect();
        let keys: Vec<VerifyingKey> = batch.iter().map(|one| one.key).collect();
        verify_batch(&messages, &signatures, &keys).is_ok()
    })
}
