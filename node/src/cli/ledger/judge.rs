//! `warifu ledger judge`: what a file of evidence shows, offline.
//!
//! Exit code 0: it shows that a log was forked, by pinned keys if some were named. 1: it shows nothing. 5: it is no evidence.

use std::{io::Read, path::PathBuf};

use base64ct::{Base64, Encoding};
use serde_json::json;
use warifu_consensus::log::{Evidence, Fork, MAX_EVIDENCE};

use super::pinned::KeyArgs;
use crate::output::{Exit, Failure, Output, Style};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// A file of evidence, as nodes, `ledger audit` and `ledger watch` keep them.
    file: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), Failure> {
    let input = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Input, format!("{}: {error}", args.file.display()))
    };
    let file = std::fs::File::open(&args.file).map_err(|error| input(&error))?;
    let mut text = String::new();
    file.take(MAX_EVIDENCE as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|error| input(&error))?;
    let evidence = Evidence::from_text(&text).map_err(|error| input(&error))?;
    let pinned = args.keys.pinned()?;
    if let Some(keys) = &pinned {
        for (whose, found, expected) in [
            ("log", &evidence.log, &keys.log),
            ("witness", &evidence.witness, &keys.witness),
        ] {
            if found != expected {
                let text = format!(
                    "shows nothing: its {whose} key is {found}, the pinned one is {expected}"
                );
                return Err(Failure::new(Exit::Refused, text));
            }
        }
    }
    let fork = evidence
        .judge()
        .map_err(|error| Failure::new(Exit::Refused, format!("shows nothing: {error}")))?;
    let answer = json!({
        "fork": true,
        "pinned": pinned.is_some(),
        "log": evidence.log.to_string(),
        "witness": evidence.witness.to_string(),
        "size": fork.size,
        "first": Base64::encode_string(&fork.first),
        "second": Base64::encode_string(&fork.second),
        "log_signed_both": true,
        "witness_signed_both": fork.witness_too,
    });
    output.print(&answer, || told(&evidence, &fork, pinned.is_some(), output))
}

fn told(evidence: &Evidence, fork: &Fork, is_pinned: bool, output: Output) -> String {
    let (log, witness) = (evidence.log.name(), evidence.witness.name());
    let Fork { size, .. } = fork;
    let (first, second) = (
        Base64::encode_string(&fork.first),
        Base64::encode_string(&fork.second),
    );
    let lang = output.lang();
    let mut parts = vec![
        output.paint(Style::Bad, lang.both("ログは分岐しています。", "The log was forked.")),
        lang.both(
            &format!("ログの鍵 {log} は、最初の {size} 件について異なる二つのルートに署名しました。一つのログが両方を持つことはありません。"),
            &format!("The key of the log, {log}, signed two roots of its first {size} leaves. No one log has both."),
        ),
        format!("  {first}\n  {second}"),
        if fork.witness_too {
            lang.both(
                &format!("証人 {witness} も両方に連署しました。ログと同じく責任があります。"),
                &format!("The witness, {witness}, cosigned both: it is as much at fault as the log."),
            )
        } else {
            lang.both(
                &format!("証人 {witness} は両方には連署していません。"),
                &format!("The witness, {witness}, did not cosign both."),
            )
        },
    ];
    parts.push(if is_pinned {
        lang.both(
            "鍵は固定されたものと一致します。",
            "The keys are the pinned ones.",
        )
    } else {
        lang.both(
            &format!("鍵はファイル自身の主張です。--ledger で固定した鍵と比べてください：\n  {}\n  {}", evidence.log, evidence.witness),
            &format!("The keys are the file's own claim: compare them with those that you pin, or name --ledger:\n  {}\n  {}", evidence.log, evidence.witness),
        )
    });
    parts.join("\n")
}
