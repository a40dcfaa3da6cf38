//! Whether a history that the broker tells is the account's: every block proven under the pinned
//! keys with its votes, each linked to the next, and at height 0 the pinned genesis. What bodies say
//! stays the broker's assertion, and so does that the newest block is the head.

use warifu_consensus::block::{Kind, Sealed, SealedError, Votes};
use warifu_consensus::chain::{ProofError, verify_proof};
use warifu_consensus::encoding::Hash;
use warifu_consensus::party::{Ledger, Parties};
use warifu_consensus::vote::BadVote;

use super::api::{FreezeAnswer, HistoryAnswer, HistoryEntry, LastLoginAnswer, Shown};
use super::pins::Pin;
use crate::receipt::{ReceiptError, verify_votes};

/// A block of a history that verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedEntry {
    /// The block with proof and votes, which verified by the pinned keys.
    pub sealed: Sealed,
    /// The body as the broker tells it.
    pub body: Option<Shown>,
}

/// A block of a kind that this version of the SDK doesn't know. Nothing about it is verified but
/// that its hash is the one that the block after it names, where that one is in the page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewerEntry {
    /// Its height, as the broker tells it.
    pub height: u64,
    /// Its kind, as the broker tells it.
    pub kind: String,
    /// Its `iat`, as the broker tells it: seconds since the Unix epoch.
    pub time: u64,
    /// Its hash.
    pub hash: Hash,
}

/// A page of history, newest first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HistoryPage {
    /// The blocks, each the predecessor of the one before it, but for those of `newer`.
    pub blocks: Vec<VerifiedEntry>,
    /// Blocks that this version can't read: show them, and update the SDK. A broker that lies can
    /// hide blocks so, which is why they are told.
    pub newer: Vec<NewerEntry>,
    /// `before` of the next page: the height of the last block of this one, absent when that is
    /// genesis.
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
    /// The receipt says something else than the answer or the pin, or the page begins or ends
    /// where it should not: blocks may be hidden.
    #[error("block's {what} is {found}, expected {expected}")]
    Differs {
        /// The member.
        what: &'static str,
        /// As the receipt, or the page, says.
        found: String,
        /// As the answer, the pin or the request says.
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
    /// A vote beside the block, or the device's word, doesn't verify by the pinned keys.
    #[error("block at height {height}: {error}")]
    Vote {
        /// The height.
        height: u64,
        /// Whose, and what.
        error: BadVote,
    },
    /// Beside the block are the votes of another class of block.
    #[error("block at height {height} carries the votes of another class")]
    Votes {
        /// The height.
        height: u64,
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

/// Verifies one page: that it begins right below `before`, leaves no height out, and goes on right
/// below its last block, or ends with genesis.
pub(super) fn verify_page(
    ledger: &Ledger,
    pin: &Pin,
    before: Option<u64>,
    answer: HistoryAnswer,
) -> Result<HistoryPage, HistoryError> {
    check_borders(before, &answer)?;
    let mut page = HistoryPage {
        blocks: Vec::with_capacity(answer.blocks.len()),
        newer: Vec::new(),
        next: answer.next,
    };
    let mut above = None;
    for entry in answer.blocks {
        if entry.kind.parse::<Kind>().is_err() {
            check_link(above, entry.height, entry.hash)?;
            above = Some((entry.height, None));
            page.newer.push(NewerEntry {
                height: entry.height,
                kind: entry.kind,
                time: entry.time,
                hash: entry.hash,
            });
            continue;
        }
        let verified = verify_entry(ledger, pin, entry)?;
        let (claims, hash) = (verified.sealed.block.claims(), verified.sealed.block.hash());
        check_link(above, claims.height, hash)?;
        above = Some((claims.height, Some(claims.prev)));
        page.blocks.push(verified);
    }
    Ok(page)
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

/// Verifies the `freeze` block of an answer; `None` while it is pending. Which freeze it is, and
/// whether an unfreeze came after it, it doesn't say.
pub(super) fn verify_freeze(
    ledger: &Ledger,
    pin: &Pin,
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
    same("height", &claims.height.to_string(), &height.to_string())?;
    same("kind", claims.kind.name(), Kind::Freeze.name())?;
    same("hash", &sealed.block.hash().to_string(), &hash.to_string())?;
    prove(ledger, pin, &sealed)?;
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
    prove(ledger, pin, &sealed)?;
    Ok(VerifiedEntry {
        body: entry.body,
        sealed,
    })
}

fn read(height: u64, receipt: &str) -> Result<Sealed, HistoryError> {
    Sealed::from_json(receipt).map_err(|error| HistoryError::Sealed { height, error })
}

fn prove(ledger: &Ledger, pin: &Pin, sealed: &Sealed) -> Result<(), HistoryError> {
    let claims = sealed.block.claims();
    let height = claims.height;
    same("iss", &claims.iss, &ledger.iss)?;
    same("sub", &claims.sub.to_string(), &pin.account.to_string())?;
    // The operators' keys are this login service's own, whatever the pin says.
    let parties = Parties {
        device: pin.parties.device,
        broker: ledger.broker,
        trust_operator: ledger.trust_operator,
    };
    verify_proof(&sealed.block, &sealed.proof, &pin.account_key, &parties)
        .map_err(|error| HistoryError::Proof { height, error })?;
    match &sealed.votes {
        // The pinned block itself, whose votes verified when it was pinned.
        Votes::Genesis { .. } => {
            let found = sealed.block.hash().to_string();
            same("genesis", &found, &pin.genesis.to_string())
        }
        Votes::Admit { .. } => match verify_votes(sealed, &parties.into()) {
            Ok(_) => Ok(()),
            Err(ReceiptError::Vote(error)) => Err(HistoryError::Vote { height, error }),
            Err(_) => Err(HistoryError::Votes { height }),
        },
        Votes::Restrict { word: None } => Ok(()),
        Votes::Restrict { word: Some(word) } => word
            .verify(pin.account, &parties.device)
            .map_err(|error| HistoryError::Vote { height, error }),
    }
}

fn check_borders(before: Option<u64>, answer: &HistoryAnswer) -> Result<(), HistoryError> {
    let text = |height: Option<u64>| height.map_or_else(|| "none".to_owned(), |h| h.to_string());
    let first = answer.blocks.first().map(|entry| entry.height);
    match before {
        Some(before) => same("first height", &text(first), &text(before.checked_sub(1)))?,
        None if first.is_none() => same("first height", "none", "the head's")?,
        None => {}
    }
    // Below genesis there is nothing to go on with.
    let last = answer.blocks.last().map(|entry| entry.height);
    let expected = last.filter(|height| *height > 0);
    same("next", &text(answer.next), &text(expected))
}

/// `above` is the height of the block above, and what it says of its predecessor where it could be
/// read; none above the first.
fn check_link(
    above: Option<(u64, Option<Hash>)>,
    height: u64,
    found: Hash,
) -> Result<(), HistoryError> {
    let Some((above, expected)) = above else {
        return Ok(());
    };
    let below = above.checked_sub(1);
    let below = below.map_or_else(|| "none below genesis".to_owned(), |h| h.to_string());
    same("height", &height.to_string(), &below)?;
    match expected {
        Some(expected) if found != expected => Err(HistoryError::Link {
            height,
            found,
            expected,
        }),
        _ => Ok(()),
    }
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
