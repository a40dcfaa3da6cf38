//! Verification with no node and no network: one login's block, or an export of whole chains.
//!
//! ```text
//! verify live|evidence EXPECTED_FILE BLOCK_FILE
//! verify chain LEDGER_FILE EXPORT_FILE
//! ```
//! `EXPECTED_FILE` holds what the verifier knows by itself, with the key pinned at enrolment:
//! `{"iss":…,"aud":…,"account":…,"nonce":…,"kind":"login","jwk":{"crv":…,"kty":…,"x":…}}`.

use std::{collections::BTreeMap, env, error::Error, fs, process::ExitCode};

use serde_json::Value;
use warifu_client_sdk::login_service::{api::Jwk, system_clock};
use warifu_client_sdk::receipt::{Expected, Moment, verify_login};
use warifu_consensus::{block::Sealed, chain::verify_chain, party::Ledger, party::Sub};

fn main() -> ExitCode {
    let Err(error) = run() else {
        return ExitCode::SUCCESS;
    };
    eprintln!("verify: {error}");
    ExitCode::FAILURE
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [what, by, file] = arguments.as_slice() else {
        return Err("expected live|evidence|chain and two files".into());
    };
    let (by, text) = (fs::read_to_string(by)?, fs::read_to_string(file)?);
    match what.as_str() {
        "live" => login(&by, &text, Moment::Live(system_clock())), // to let someone in
        "evidence" => login(&by, &text, Moment::Evidence),         // years later, at its own time
        "chain" => chains(&toml::from_str(&by)?, &text),
        other => Err(format!("found {other}, expected live, evidence or chain").into()),
    }
}

fn login(known: &str, block: &str, moment: Moment) -> Result<(), Box<dyn Error>> {
    let known: Value = serde_json::from_str(known)?;
    let known = |name: &str| known.get(name).cloned().unwrap_or_default();
    let text = |name: &str| known(name).as_str().unwrap_or_default().to_owned();
    let expected = Expected {
        iss: text("iss"),
        aud: text("aud"),
        account: text("account").parse()?,
        account_key: serde_json::from_value::<Jwk>(known("jwk"))?.key()?,
        nonce: text("nonce"),
        kind: text("kind").parse()?,
    };
    let login = verify_login(block.trim_end(), &expected, moment)?;
    println!("verified, height {}, hash {}", login.height(), login.hash());
    Ok(())
}

/// All chains of an export, each from its genesis, by the two operators' keys that are pinned.
fn chains(ledger: &Ledger, export: &str) -> Result<(), Box<dyn Error>> {
    let parts = export.trim_end().rsplit_once('\n');
    let (before, end) = parts.ok_or("export has no last line")?;
    let hash = blake3::hash(format!("{before}\n").as_bytes());
    let lines: Vec<&str> = before.lines().skip(1).collect();
    if end != format!(r#"{{"blocks":{},"blake3":"{hash}"}}"#, lines.len()) {
        return Err("export is cut off or changed: its last line doesn't fit".into());
    }
    let mut chains: BTreeMap<Sub, Vec<Sealed>> = BTreeMap::new();
    for sealed in lines.into_iter().map(Sealed::from_json) {
        let sealed = sealed?;
        let chain = chains.entry(sealed.block.claims().sub).or_default();
        chain.push(sealed);
    }
    for blocks in chains.values() {
        let account = verify_chain(ledger, blocks.iter())?;
        // A chain that lacks its newest blocks verifies: compare heads with the receipts you keep.
        let (sub, head, status) = (account.sub(), account.head(), account.status());
        let (height, hash) = (head.height, head.hash);
        println!("{sub} {status}, height {height}, head {hash}");
    }
    Ok(())
}
