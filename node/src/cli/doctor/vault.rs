//! The vault: does the master key open it, and is every account's share there?

use std::collections::BTreeSet;

use warifu_client_sdk::{
    runtime::AccountSecret,
    store::{StoreError, VaultKey, inspect_vault},
};
use warifu_consensus::party::{Role, Sub};

use super::{Patient, finding::Report, journal::Journal};
use crate::{export, output::Exit, progress, secrets};

/// Most accounts that a finding names.
const NAMED: usize = 5;

pub(super) fn check(patient: &Patient<'_>, journal: Option<&Journal>, report: &mut Report) {
    let config = patient.config;
    let dir = config.node.data.join("vault");
    let accounts = journal.map_or(0, |journal| journal.accounts.len());
    if !export::has_segments(&dir) {
        if accounts > 0 {
            let found = format!("there is none beside a journal of {accounts} accounts");
            let advice = "put data/vault back from the backup that data/journal is from";
            report.error("vault", Exit::Io, found, "the accounts' shares", advice);
        } else {
            report.note(
                "vault",
                "there is none yet",
                "",
                "nothing: the first run makes it",
            );
        }
        return;
    }
    // A key that can't be read is a finding of its own already.
    let Ok(master_key) = secrets::read_master_key(&config.node.master_key) else {
        report.note("vault", "not opened, for want of the master key", "", "");
        return;
    };
    let bar = progress::bytes("vault", patient.output.is_json());
    let looked = inspect_vault(&dir, &master_key, &config.ledger.iss, &mut |done, total| {
        progress::show(&bar, done, total);
    });
    bar.finish_and_clear();
    let keys = match looked {
        Ok(keys) => keys,
        Err(error) => return tell_error(&error, report),
    };
    report.ok(
        "vault",
        format!("opens with the master key, {} secrets", keys.len()),
    );
    let Some(journal) = journal else {
        return;
    };
    for (secret, name) in needed(config.role()) {
        let missing: Vec<String> = journal
            .accounts
            .iter()
            .filter(|sub| !keys.contains(&secret.key(sub)))
            .map(ToString::to_string)
            .collect();
        if missing.is_empty() {
            report.ok("vault", format!("{name} of every account: {accounts}"));
        } else {
            tell_missing(name, &missing, report);
        }
    }
    erased(patient, &keys, journal, report);
}

/// Erasing is done once the vault has none of an account's secrets.
fn erased(
    patient: &Patient<'_>,
    keys: &BTreeSet<VaultKey>,
    journal: &Journal,
    report: &mut Report,
) {
    let holders: BTreeSet<Sub> = keys.iter().map(|key| Sub(key.stream.0)).collect();
    let remaining = journal.erased.intersection(&holders);
    let remaining: Vec<String> = remaining.map(ToString::to_string).collect();
    if remaining.is_empty() {
        return;
    }
    let shown: Vec<&str> = remaining.iter().take(NAMED).map(String::as_str).collect();
    let found = format!(
        "secrets of {} erased accounts: {}",
        remaining.len(),
        shown.join(", ")
    );
    if patient.is_running() {
        let advice = "look again: the node may just be forgetting them";
        return report.note("vault", found, "", advice);
    }
    let advice = "start the node, which forgets them; look where else the copy lies that they came back from";
    report.error("vault", Exit::Io, found, "none", advice);
}

/// What each account's party keeps.
const fn needed(role: Role) -> &'static [(AccountSecret, &'static str)] {
    match role {
        Role::TrustOperator => &[(AccountSecret::Share, "share")],
        Role::Broker => &[
            (AccountSecret::Share, "share"),
            (AccountSecret::ContentKey, "content key"),
        ],
        Role::Device => &[
            (AccountSecret::Share, "share"),
            (AccountSecret::ContentKey, "content key"),
            (AccountSecret::Identity, "identity key"),
        ],
    }
}

fn tell_missing(name: &str, missing: &[String], report: &mut Report) {
    let shown: Vec<&str> = missing.iter().take(NAMED).map(String::as_str).collect();
    let found = format!(
        "no {name} of {} accounts: {}",
        missing.len(),
        shown.join(", ")
    );
    let expected = "one for each account: none of these can log in";
    let advice = "put data/vault back, newer than these accounts; else they enrol again";
    report.error("vault", Exit::Io, found, expected, advice);
}

fn tell_error(error: &StoreError, report: &mut Report) {
    let (exit, expected, advice) = match error {
        StoreError::WrongMasterKey { .. } => (
            Exit::Configuration,
            "the master key that sealed it",
            "mend node.master_key: it names another node's key",
        ),
        StoreError::FutureVersion { .. } | StoreError::PastVersion { .. } => (
            Exit::Configuration,
            "a format that this release reads",
            "use the release that wrote it",
        ),
        StoreError::OtherLedger { .. } => (
            Exit::Configuration,
            "this ledger's vault",
            "put this node's data back, or mend node.data",
        ),
        _ => (
            Exit::Io,
            "the bytes that were written",
            "don't edit it: copy it, check the disk, put it back from the backup",
        ),
    };
    report.error("vault", exit, error.to_string(), expected, advice);
}
