//! Verification with no node and no network, of one login's receipt or an export of whole chains:
//! `verify live|evidence LEDGER_FILE PINS_DB CUSTOMER AUD NONCE RECEIPT_FILE`, or
//! `verify chain LEDGER_FILE EXPORT_FILE`.

use std::{collections::BTreeMap, env, error::Error, fs, process::ExitCode};

use warifu_client_sdk::login_service::{PinStore, SqlitePins, system_clock};
use warifu_client_sdk::receipt::{Expected, Moment, verify_receipt};
use warifu_consensus::{block::Kind, block::Sealed, chain::verify_chain};
use warifu_consensus::{party::Ledger, party::Sub};

#[tokio::main]
async fn main() -> ExitCode {
    let done = run().await.map_err(|error| eprintln!("verify: {error}"));
    done.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [what, ledger, rest @ ..] = arguments.as_slice() else {
        return Err("expected live, evidence or chain, and files".into());
    };
    let ledger: Ledger = toml::from_str(&fs::read_to_string(ledger)?)?;
    match (what.as_str(), rest) {
        ("chain", [export]) => chains(&ledger, &fs::read_to_string(export)?),
        ("live", of) => login(ledger, of, Moment::Live(system_clock())).await,
        ("evidence", of) => login(ledger, of, Moment::Evidence).await,
        (what, _) => Err(format!("{what} is none of live, evidence, chain"))?,
    }
}

/// At `Moment::Live` to let someone in, at `Moment::Evidence` years later, at the block's own time.
async fn login(ledger: Ledger, of: &[String], moment: Moment) -> Result<(), Box<dyn Error>> {
    let [pins, customer, aud, nonce, receipt] = of else {
        return Err("expected PINS_DB CUSTOMER AUD NONCE RECEIPT_FILE".into());
    };
    let pin = SqlitePins::open(pins).await?.pinned(customer).await?;
    let pin = pin.ok_or("the customer has no pin")?;
    let expected = Expected {
        iss: ledger.iss,
        aud: aud.clone(),
        account: pin.account,
        account_key: pin.account_key,
        nonce: nonce.clone(),
        kind: Kind::Login,
    };
    let receipt = fs::read_to_string(receipt)?;
    let found = verify_receipt(receipt.trim_end(), &expected, &pin.parties.into(), moment)?;
    let (height, hash) = (found.login.height(), found.login.hash());
    println!("verified, height {height}, hash {hash}");
    println!("checked {}", found.checked);
    Ok(())
}

/// All chains of an export, each from its genesis, by the two operators' keys that are pinned.
fn chains(ledger: &Ledger, export: &str) -> Result<(), Box<dyn Error>> {
    let (before, end) = export
        .trim_end()
        .rsplit_once('\n')
        .ok_or("export has one line")?;
    let hash = blake3::hash(format!("{before}\n").as_bytes());
    let lines: Vec<&str> = before.lines().skip(1).collect();
    if end != format!(r#"{{"blocks":{},"blake3":"{hash}"}}"#, lines.len()) {
        return Err("export is cut off or changed: its last line doesn't fit".into());
    }
    let mut chains: BTreeMap<Sub, Vec<Sealed>> = BTreeMap::new();
    for sealed in lines.into_iter().map(Sealed::from_json) {
        let sealed = sealed?;
        let sub = sealed.block.claims().sub;
        chains.entry(sub).or_default().push(sealed);
    }
    for blocks in chains.values() {
        let account = verify_chain(ledger, blocks.iter())?;
        // A chain that lacks its newest blocks verifies: compare heads with the receipts you keep.
        let (sub, status, head) = (account.sub(), account.status(), account.head());
        println!("{sub} {status}, height {}, head {}", head.height, head.hash);
    }
    Ok(())
}
