//! Folds blocks of many accounts, each against its own chain and the verifier's pinned keys.

use std::collections::BTreeMap;

use serde::Serialize;
use warifu_consensus::{
    chain::Account,
    encoding::Hash,
    party::{Ledger, Sub},
};

use super::{Blocks, Found, VerifyError, WalkError, require_iss};

/// Checks blocks one by one as the next ones of their accounts.
#[derive(Debug)]
pub struct Verifier {
    ledger: Ledger,
    accounts: BTreeMap<Sub, Account>,
    last: Option<(Sub, u64)>,
    blocks: u64,
}

/// One verified account.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct AccountSummary {
    /// The `sub`, 22 characters of base64url.
    pub account: Sub,
    /// `active`, `frozen` or `revoked`; `erased` with a tombstone that the broker signed.
    pub status: String,
    /// The head's height.
    pub height: u64,
    /// The head's hash, 43 characters of base64url.
    pub head: Hash,
}

/// What verified.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Verified {
    /// The ledger's origin.
    pub iss: String,
    /// Blocks in all chains.
    pub blocks: u64,
    /// Every account with its head, sorted by `sub`.
    pub accounts: Vec<AccountSummary>,
}

impl Verified {
    /// One account.
    #[must_use]
    pub fn account(&self, sub: &Sub) -> Option<&AccountSummary> {
        let found = self.accounts.binary_search_by_key(sub, |a| a.account);
        self.accounts.get(found.ok()?)
    }
}

impl Verifier {
    /// A verifier that pins this ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Verifier {
        Verifier {
            ledger,
            accounts: BTreeMap::new(),
            last: None,
            blocks: 0,
        }
    }

    /// Verifies a block as the next one of its account.
    ///
    /// # Errors
    /// [`VerifyError`], naming account and height; the account's chain is unchanged.
    pub fn take(&mut self, found: &Found) -> Result<(), VerifyError> {
        let place = found.place;
        let claims = found.sealed.block.claims();
        if let Some(expected) = found.stream.filter(|stream| *stream != claims.sub) {
            return Err(VerifyError::Stream {
                place,
                found: claims.sub,
                expected,
            });
        }
        if found.is_conflict {
            return Err(VerifyError::Conflict {
                place,
                account: claims.sub,
                height: claims.height,
            });
        }
        if found.is_behind_tombstone {
            let height = claims.height;
            return Err(VerifyError::Tombstone {
                account: claims.sub,
                reason: format!("has block {height} behind it, at {place}"),
            });
        }
        let chain = |fault| VerifyError::Chain {
            place,
            fault: Box::new(fault),
        };
        match self.accounts.get_mut(&claims.sub) {
            Some(account) => account.next(&found.sealed).map_err(chain)?,
            None => {
                let account = Account::open(&self.ledger, &found.sealed).map_err(chain)?;
                self.accounts.insert(claims.sub, account);
            }
        }
        self.last = Some((claims.sub, claims.height));
        self.blocks = self.blocks.saturating_add(1);
        Ok(())
    }

    /// What verified so far.
    #[must_use]
    pub fn finish(self) -> Verified {
        let summary = |(sub, account): (Sub, Account)| AccountSummary {
            account: sub,
            status: account.status().to_string(),
            height: account.head().height,
            head: account.head().hash,
        };
        Verified {
            iss: self.ledger.iss,
            blocks: self.blocks,
            accounts: self.accounts.into_iter().map(summary).collect(),
        }
    }

    fn walk(&self, fault: WalkError) -> VerifyError {
        VerifyError::Walk {
            after: self.last,
            fault,
        }
    }
}

/// Verifies everything in a source against the pinned ledger. `progress` is told bytes done and
/// bytes in total after each block.
///
/// # Errors
/// The first [`VerifyError`].
pub fn verify(
    ledger: &Ledger,
    mut blocks: Blocks,
    mut progress: impl FnMut(u64, u64),
) -> Result<Verified, VerifyError> {
    require_iss(ledger, blocks.iss())?;
    let mut verifier = Verifier::new(ledger.clone());
    while let Some(found) = blocks.next() {
        let found = found.map_err(|fault| verifier.walk(fault))?;
        verifier.take(&found)?;
        let (done, total) = blocks.progress();
        progress(done, total);
    }
    let mut verified = verifier.finish();
    for (sub, erasures) in blocks.tombstones() {
        let wrong = |reason: String| VerifyError::Tombstone {
            account: *sub,
            reason,
        };
        // Sorted, as they come out of a map.
        let found = verified.accounts.binary_search_by_key(sub, |a| a.account);
        let account = found.ok().and_then(|at| verified.accounts.get_mut(at));
        let account = account.ok_or_else(|| wrong("is of an account without blocks".to_owned()))?;
        for erasure in erasures {
            let word = erasure.verify(*sub, &ledger.broker);
            word.map_err(|error| wrong(format!("is not the broker's: {error}")))?;
            if erasure.head != account.head {
                let (found, expected) = (erasure.head, account.head);
                return Err(wrong(format!("names block {found}, expected {expected}")));
            }
        }
        "erased".clone_into(&mut account.status);
    }
    Ok(verified)
}
