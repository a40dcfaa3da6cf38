//! Whether a history that the broker tells is the account's: every block proven under the pinned
//! keys, each linked to the next. What bodies say stays the broker's assertion, and so does that
//! the newest block is the head.

use warifu_consensus::block::{Kind, Sealed, SealedError};
use warifu_consensus::chain::{ProofError, verify_proof};
use warifu_consensus::encoding::Hash;
use warifu_consensus::party::{Ledger, Parties, Sub};

use super::api::{FreezeAnswer, HistoryAnswer, HistoryEntry, LastLoginAnswer, Shown};
use super::pins::Pin;

/// A block of a history that verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedEntry {
    /// The block with proof and votes. Its proof verified; its votes are for the auditor.
    pub sealed: Sealed,
    /// The body as the broker tells it.
    pub body: Option<Shown>,
}

/// A page of history, newest first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HistoryPage {
    /// The blocks, each the predecessor of the one before it.
    pub blocks: Vec<VerifiedEntry>,
    /// `before` of the next page.
    pub next: Option<u64>,
}

/// Why a block that the broker tells is not one of the account.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HistoryError {
    /// The receipt is no sealed block.
    #[error("receipt at height {height}: {error}")]
    Sealed {
        /// The height told.
        height: u64,
        /// What is wrong.
        error: SealedError,
    },
    /// The receipt says something else than the answer or the pin.
    #[error("block's {what} is {found}, expected {expected}")]
    Differs {
        /// The member.
        what: &'static str,
        /// As the receipt says.
        found: String,
        /// As the answer or the pin says.
        expected: String,
    },
    /// The proof doesn't verify under the pinned keys.
    #[error("block at height {height}: {error}")]
    Proof {
        /// The height.
        height: u64,
        /// What is wrong.
        error: ProofError,
    },
    /// Two blocks in a row are not linked.
    #[error(
        "block {found} at height {height} is not the predecessor that the next block names, expected {expected}"
    )]
    Link {
        /// The height.
        height: u64,
        /// Its hash.
        found: Hash,
        /// The hash that the next block names.
        expected: Hash,
    },
}

/// Verifies one page.
pub(super) fn verify_page(
    ledger: &Ledger,
    pin: &Pin,
    answer: HistoryAnswer,
) -> Result<HistoryPage, HistoryError> {
    let mut blocks: Vec<VerifiedEntry> = Vec::with_capacity(answer.blocks.len());
    for entry in answer.blocks {
        let verified = verify_entry(ledger, pin, entry)?;
        if let Some(after) = blocks.last() {
            check_link(&verified.sealed, &after.sealed)?;
        }
        blocks.push(verified);
    }
    Ok(HistoryPage {
        blocks,
        next: answer.next,
    })
}

/// Verifies the newest login.
pub(super) fn verify_last_login(
    ledger: &Ledger,
    pin: &Pin,
    answer: LastLoginAnswer,
) -> Result<Option<VerifiedEntry>, HistoryError> {
    let Some(entry) = answer.login else {
        return Ok(None);
    };
    let verified = verify_entry(ledger, pin, entry)?;
    let kind = verified.sealed.block.claims().kind;
    same("kind", kind.name(), Kind::Login.name())?;
    Ok(Some(verified))
}

/// Verifies the `freeze` block of an answer; `None` while it is pending.
pub(super) fn verify_freeze(
    ledger: &Ledger,
    account: Sub,
    answer: &FreezeAnswer,
) -> Result<Option<Box<Sealed>>, HistoryError> {
    let FreezeAnswer::Frozen {
        height,
        hash,
        receipt,
    } = answer
    else {
        return Ok(None);
    };
    let sealed = read(*height, receipt)?;
    let claims = sealed.block.claims();
    same("kind", claims.kind.name(), Kind::Freeze.name())?;
    same("hash", &sealed.block.hash().to_string(), &hash.to_string())?;
    // A freeze is proven by the operators: no account key is needed.
    prove(ledger, account, &[0; 32], &sealed)?;
    Ok(Some(Box::new(sealed)))
}

fn verify_entry(
    ledger: &Ledger,
    pin: &Pin,
    entry: HistoryEntry,
) -> Result<VerifiedEntry, HistoryError> {
    let sealed = read(entry.height, &entry.receipt)?;
    let claims = sealed.block.claims();
    same(
        "hash",
        &sealed.block.hash().to_string(),
        &entry.hash.to_string(),
    )?;
    same(
        "height",
        &claims.height.to_string(),
        &entry.height.to_string(),
    )?;
    same("kind", claims.kind.name(), &entry.kind)?;
    same("aud", &claims.aud, &entry.aud)?;
    same("iat", &claims.iat.to_string(), &entry.time.to_string())?;
    prove(ledger, pin.account, &pin.account_key, &sealed)?;
    Ok(VerifiedEntry {
        body: entry.body,
        sealed,
    })
}

fn read(height: u64, receipt: &str) -> Result<Sealed, HistoryError> {
    Sealed::from_json(receipt).map_err(|error| HistoryError::Sealed { height, error })
}

fn prove(
    ledger: &Ledger,
    account: Sub,
    account_key: &[u8; 32],
    sealed: &Sealed,
) -> Result<(), HistoryError> {
    let claims = sealed.block.claims();
    same("iss", &claims.iss, &ledger.iss)?;
    same("sub", &claims.sub.to_string(), &account.to_string())?;
    // Proofs are never by the device's key: only the pinned ones count here.
    let parties = Parties {
        device: [0; 32],
        broker: ledger.broker,
        trust_operator: ledger.trust_operator,
    };
    verify_proof(&sealed.block, &sealed.proof, account_key, &parties).map_err(|error| {
        HistoryError::Proof {
            height: claims.height,
            error,
        }
    })
}

fn check_link(sealed: &Sealed, after: &Sealed) -> Result<(), HistoryError> {
    let (claims, next) = (sealed.block.claims(), after.block.claims());
    let expected = next.height.saturating_sub(1).to_string();
    same("height", &claims.height.to_string(), &expected)?;
    let found = sealed.block.hash();
    if found == next.prev {
        return Ok(());
    }
    Err(HistoryError::Link {
        height: claims.height,
        found,
        expected: next.prev,
    })
}

fn same(what: &'static str, found: &str, expected: &str) -> Result<(), HistoryError> {
    if found == expected {
        return Ok(());
    }
    Err(HistoryError::Differs {
        what,
        found: found.to_owned(),
        expected: expected.to_owned(),
    })
}
