//! What stands behind every sealed block of a party's records, so that a start reads a chain's
//! end and not the whole chain.
//!
//! Behind a sealed block comes [`Record::Settled`] if the party owes nothing then, else, and at
//! every 32nd block, a [`Checkpoint`]: the fold of all records up to it. A machine begins with its
//! founding or with a checkpoint, and folds what follows. A checkpoint is a record like others: it
//! lies in the same journal, chained to the block it stands behind, and is written with it in one
//! step. It decides nothing: a fold over all records passes over it and comes to the same state.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    block::{Kind, Sealed},
    chain::{Account, Head},
    encoding::{Context, Fields},
    time::Time,
};

use super::{
    base::Base, conflict::Conflict, limits::CHECKPOINT_EVERY, recent::Recent, types::Record,
    words::Words,
};

/// The fold of a party's records up to a sealed block; no lock stands then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    account: Account,
    /// The last blocks, at most 128: a rival of any of them is known after a start as before it (rule 9).
    recent: Recent,
    words: Words,
    own: Own,
}

/// A checkpoint as it was written before it kept the recent hashes. It is read and passed over: a start
/// goes back to a later form or to the founding, and folds from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldCheckpoint {
    account: Account,
    words: Words,
    own: Own,
}

impl Checkpoint {
    fn new(account: &Account, words: &Words, own: Own) -> Self {
        let mut account = account.clone();
        Self {
            recent: Recent::new(&account.take_recent()),
            account,
            words: words.clone(),
            own,
        }
    }

    /// The account as it stood, recent hashes and all, and what else was folded.
    pub(super) fn open(self) -> Result<(Base, Words, Own), String> {
        let mut account = self.account;
        account.put_recent(self.recent.hashes())?;
        Ok((Base::Standing(Box::new(account)), self.words, self.own))
    }

    /// The block that it stands behind.
    #[must_use]
    pub fn head(&self) -> Head {
        self.account.head()
    }
}

/// What only one of the parties keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Own {
    Device {
        restored_at: Option<Time>,
        wish: Wish,
        conflict: Option<Conflict>,
    },
    Broker {
        freeze_above: Option<u64>,
        restored: Option<Time>,
        challenges: VecDeque<Challenge>,
        conflict: Option<Conflict>,
    },
    TrustOperator {
        acked: Option<Head>,
        frozen_at: Option<u64>,
        last: Box<Sealed>,
        conflict: Option<Conflict>,
    },
}

/// What became of the device's last wish to freeze that no word stands for any more (rule 10).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wish {
    /// There is none, or this device assented to what lifted its freeze.
    #[default]
    None,
    /// A `freeze` above it is sealed.
    Answered,
    /// That freeze was lifted by an `unfreeze` that this copy of the device knows nothing of: it may
    /// be older than the wish, which is to be said again.
    Overtaken,
}

/// A login service's challenge that a sealed block used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Challenge {
    /// First 16 bytes of the hash of relying party, kind and nonce.
    digest: [u8; 16],
    /// The block's height.
    pub(super) height: u64,
}

impl Challenge {
    pub(super) fn of(aud: &str, kind: Kind, nonce: &str, height: u64) -> Self {
        let hash = Fields::new(Context::Challenge)
            .var(aud.as_bytes())
            .var(kind.name().as_bytes())
            .var(nonce.as_bytes())
            .finish();
        let mut digest = [0; 16];
        for (byte, of_hash) in digest.iter_mut().zip(hash.0) {
            *byte = of_hash;
        }
        Self { digest, height }
    }

    /// Whether it is the same challenge, whatever block used it.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// The record that is stored behind a sealed block; none before there is a chain.
pub(super) fn behind_sealed(
    base: &Base,
    owes: bool,
    words: &Words,
    own: impl FnOnce() -> Option<Own>,
) -> Option<Record> {
    let account = base.account()?;
    if !owes && !account.head().height.is_multiple_of(CHECKPOINT_EVERY) {
        return Some(Record::Settled);
    }
    let checkpoint = Checkpoint::new(account, words, own()?);
    Some(Record::Checkpoint(Box::new(checkpoint)))
}

/// A checkpoint of another party stands where a machine begins.
pub(super) const NOT_OWN: &str = "checkpoint is of another party's journal";
