//! `warifu ledger verify` of a receipt: one login's sealed block, alone or with its proof from the log, offline.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use warifu_consensus::block::Sealed;

use crate::{
    clock,
    config::{read_ledger, read_log_keys},
    output::{Exit, Failure, Output, Style},
    receipt::{Brought, COMPARE, Findings, Outcome, findings},
};

/// The longest file with a receipt, or with a proof, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Of a receipt: its proof from the log, if it does not stand beside it in the file.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Of a receipt: the account's public key as you pinned it (the `x` of its JWK), 43 characters of base64url.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    account_key: Option<String>,
}

impl Args {
    /// Given where there is no receipt.
    pub(super) const fn are_given(&self) -> bool {
        self.proof.is_some() || self.account_key.is_some()
    }
}

/// What a file with a receipt holds.
pub(super) struct Kept {
    pub(super) sealed: Sealed,
    /// Empty if there is none.
    proof: String,
}

/// Reads a receipt: the sealed block itself, the broker's answer with it, or what `warifu login --json` printed.
pub(super) fn read(path: &Path) -> Result<Kept, Failure> {
    let text = text(path)?;
    kept(&text).map_err(|error| {
        Failure::new(
            Exit::Input,
            format!("{}: no receipt: {error}", path.display()),
        )
    })
}

/// Whether a file holds a receipt.
pub(super) fn is_receipt(path: &Path) -> bool {
    let is_file = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= MAX_BYTES);
    is_file && text(path).is_ok_and(|text| kept(&text).is_ok())
}

fn text(path: &Path) -> Result<String, Failure> {
    let refuse = |found: String| Failure::new(Exit::Input, format!("{}: {found}", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    let read = read.map_err(|error| refuse(error.to_string()))?;
    if read as u64 > MAX_BYTES {
        return Err(refuse(format!("more than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

/// Nothing else may stand in the file: an export or a bundle that was cut behind a block is no receipt.
fn kept(text: &str) -> Result<Kept, String> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let line = match lines.as_slice() {
        [line] => line,
        // `warifu login --json` prints two lines: the number first, the answer last.
        [begun, line] if is_begun(begun) => line,
        lines => return Err(format!("{} lines, expected one", lines.len())),
    };
    let value: Option<Value> = serde_json::from_str(line).ok();
    let within = |name| value.as_ref().and_then(|value| value.get(name)?.as_str());
    let sealed = Sealed::from_json(within("receipt").unwrap_or(line));
    Ok(Kept {
        sealed: sealed.map_err(|error| error.to_string())?,
        proof: within("proof").unwrap_or_default().to_owned(),
    })
}

fn is_begun(line: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|value| {
        let has = |name| value.get(name).is_some();
        has("number") && has("id") && has("expires_in")
    })
}

/// Says of each check whether it held; the first that did not is the failure.
pub(super) fn verify(
    path: &Path,
    args: &Args,
    ledger: &Path,
    output: Output,
) -> Result<(), Failure> {
    let configuration =
        |error: &dyn std::error::Error| Failure::from_error(Exit::Configuration, error);
    let pinned = read_ledger(ledger).map_err(|error| configuration(&error))?;
    let keys = read_log_keys(ledger).map_err(|error| configuration(&error))?;
    let Kept { sealed, mut proof } = read(path)?;
    if let Some(path) = &args.proof {
        proof = text(path)?;
        if proof.trim().is_empty() {
            let text = format!("{}: is empty, expected a proof", path.display());
            return Err(Failure::new(Exit::Input, text));
        }
    }
    if args
        .account_key
        .as_ref()
        .is_some_and(|key| key.trim().is_empty())
    {
        let text = "--account-key is empty, expected 43 characters of base64url";
        return Err(Failure::new(Exit::Usage, text));
    }
    let brought = Brought {
        receipt: &sealed.to_json(),
        proof: &proof,
        account_key: args.account_key.as_deref().unwrap_or_default(),
    };
    let found = findings(brought, &pinned, &keys);
    let failed = found
        .checks
        .iter()
        .find_map(|((_, what), outcome)| match outcome {
            Outcome::Failed(why) => Some(format!("not verified: {what}: {why}")),
            _ => None,
        });
    if let Some(text) = failed {
        return Err(Failure::new(Exit::Refused, text));
    }
    let claims = sealed.block.claims();
    let names = |wanted: fn(&Outcome) -> bool| {
        let checks = found.checks.iter().filter(|(_, outcome)| wanted(outcome));
        checks.map(|((_, what), _)| *what).collect::<Vec<_>>()
    };
    let (verdict, _) = found.verdict();
    let answer = json!({
        "verified": verdict == "held",
        "verdict": verdict,
        "source": "receipt",
        "iss": claims.iss,
        "account": claims.sub,
        "height": claims.height,
        "kind": claims.kind.name(),
        "aud": claims.aud,
        "nonce": claims.nonce,
        "hash": sealed.block.hash(),
        "index": found.logged.map(|(index, _)| index),
        "cosigned": found.logged.map(|(_, time)| time),
        "held": names(|outcome| matches!(outcome, Outcome::Held)),
        "unchecked": names(|outcome| matches!(outcome, Outcome::Unchecked(_))),
    });
    output.print(&answer, || told(&found, &sealed, output))
}

fn told(found: &Findings, sealed: &Sealed, output: Output) -> String {
    let lang = output.lang();
    let claims = sealed.block.claims();
    let (verdict, (ja, en)) = found.verdict();
    let style = if verdict == "held" {
        Style::Good
    } else {
        Style::Warning
    };
    let mut lines = vec![output.paint(style, lang.both(ja, en))];
    for ((ja, en), outcome) in &found.checks {
        let what = lang.label(ja, en);
        match outcome {
            Outcome::Unchecked((ja, en)) => {
                let not = output.paint(Style::Warning, lang.label("未検証", "not checked"));
                lines.push(format!("  – {not}: {what}\n      {}", lang.label(ja, en)));
            }
            _ => lines.push(format!("  ✓ {what}")),
        }
    }
    lines.push(format!(
        "{} · {} · {} · account {} · height {}\nnonce {}\nhash {}",
        claims.kind,
        claims.aud,
        clock::local(claims.iat),
        claims.sub,
        claims.height,
        claims.nonce,
        sealed.block.hash(),
    ));
    if let Some((index, cosigned)) = found.logged {
        lines.push(format!("leaf {index}, cosigned {}", clock::local(cosigned)));
    }
    let (ja, en) = COMPARE;
    lines.push(lang.both(ja, en));
    lines.join("\n")
}
