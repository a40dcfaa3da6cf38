//! An account: the fold of its verified chain, and the decision whether a block is the next one.
//!
//! This is where a block's signatures and votes are checked, against keys that the verifier pinned
//! ([`Ledger`]) and keys that genesis fixed. No clock is read here: `exp` limits admission, which is
//! [`crate::time`]'s to decide, so a chain verifies the same in ten years.

mod agreement;
mod fault;
mod rival;

use core::fmt;
use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

pub use agreement::{Seen, verify_proof};
pub use fault::{ChainError, ChainFault, ProofError};
pub use rival::Outline;

use crate::block::{Block, Claims, Class, GenesisClaims, Kind, Sealed, Votes, thumbprint};
use crate::chain::agreement::{verify_agreement, verify_proof_by, verify_votes, votes_form};
use crate::encoding::Hash;
use crate::party::{Ledger, Parties, Role, Sub};
use crate::signature::{Verify, verify_strict};
use crate::time::check_lifetime;
use crate::vote::{Statement, Verb};

/// Hashes of the last blocks that an account keeps at hand: a word names a recent block. Older
/// ones are looked up by whoever holds the chain ([`Account::locate`]), so that what an account costs
/// does not grow with its chain.
const RECENT: usize = 128;

/// What an account may do; a fold over its chain.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Status {
    /// Admits are possible.
    Active,
    /// Nothing is admitted but `unfreeze`.
    Frozen,
    /// The device is gone; nothing is admitted.
    Revoked,
}

impl Status {
    /// The status after a block of this kind, or `None` where the kind is not allowed
    /// (docs/protocol.md, table of kinds).
    #[must_use]
    pub const fn after(self, kind: Kind) -> Option<Status> {
        match (self, kind) {
            (Status::Active, Kind::Login | Kind::Approve | Kind::Change)
            | (Status::Frozen, Kind::Unfreeze) => Some(Status::Active),
            (_, Kind::Deny | Kind::Refuse | Kind::Expire | Kind::Restored) => Some(self),
            (Status::Active | Status::Frozen, Kind::Freeze) => Some(Status::Frozen),
            (Status::Active | Status::Frozen, Kind::Revoke) => Some(Status::Revoked),
            (_, Kind::Genesis)
            | (Status::Frozen | Status::Revoked, Kind::Login | Kind::Approve | Kind::Change)
            | (Status::Active | Status::Revoked, Kind::Unfreeze)
            | (Status::Revoked, Kind::Freeze | Kind::Revoke) => None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Active => "active",
            Status::Frozen => "frozen",
            Status::Revoked => "revoked",
        })
    }
}

/// The last block of a chain.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Head {
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: Hash,
}

/// Verifies a whole chain, genesis first.
///
/// # Errors
/// [`ChainError`] of the first block that does not follow from those before it.
pub fn verify_chain<'a>(
    ledger: &Ledger,
    blocks: impl Iterator<Item = &'a Sealed>,
) -> Result<Account, ChainError> {
    let mut blocks = blocks;
    let genesis = blocks.next().ok_or(ChainError {
        sub: Sub::ZERO,
        height: 0,
        fault: ChainFault::Empty,
    })?;
    let mut account = Account::open(ledger, genesis)?;
    for sealed in blocks {
        account.next(sealed)?;
    }
    Ok(account)
}

/// One customer's account, as its verified chain leaves it.
///
/// Its serde form is for a party's own checkpoints, which keep the recent hashes beside it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Account {
    ledger: Ledger,
    sub: Sub,
    account_key: [u8; 32],
    /// Thumbprint of `account_key`.
    kid: String,
    parties: Parties,
    head: Head,
    outline: Outline,
    status: Status,
    epoch: u64,
    last_freeze: Option<u64>,
    /// The height of the last `unfreeze`, else genesis.
    last_unfreeze: u64,
    /// Hashes of the last blocks up to the head, at most [`RECENT`], none before the last
    /// `unfreeze`.
    #[serde(skip)]
    recent: VecDeque<Hash>,
    /// An older block that was looked up.
    #[serde(skip)]
    located: Option<Head>,
}

/// The same chain, and as much of it at hand; what was looked up makes no difference.
impl PartialEq for Account {
    fn eq(&self, other: &Self) -> bool {
        let key = |a: &Self| {
            (
                a.sub,
                a.account_key,
                a.parties,
                a.head,
                a.status,
                a.epoch,
                (a.last_freeze, a.last_unfreeze),
            )
        };
        key(self) == key(other)
            && self.ledger == other.ledger
            && self.kid == other.kid
            && self.recent == other.recent
    }
}

impl Eq for Account {}

impl Account {
    /// Begins an account from its genesis block, verifying the account key's signature, the three
    /// votes on the block and the three on the transcript; the operators' keys are the pinned ones.
    ///
    /// # Errors
    /// [`ChainError`] when the block is no genesis of this ledger or a signature does not verify.
    pub fn open(ledger: &Ledger, genesis: &Sealed) -> Result<Account, ChainError> {
        Account::open_by(ledger, genesis, &mut verify_strict)
    }

    /// [`Account::open`], its signatures looked at by the caller: for an auditor who verifies many at once.
    ///
    /// # Errors
    /// As [`Account::open`].
    pub fn open_by(
        ledger: &Ledger,
        genesis: &Sealed,
        verify: &mut Verify<'_>,
    ) -> Result<Account, ChainError> {
        let claims = genesis.block.claims();
        open(ledger, genesis, verify).map_err(|fault| ChainError {
            sub: claims.sub,
            height: claims.height,
            fault,
        })
    }

    /// Whether the block may be the next one, by everything but proof, votes and clock: `iss`,
    /// `sub`, height, `prev`, epoch, `kid`, kind in the account's status, lifetime of an admit.
    ///
    /// # Errors
    /// [`ChainError`] with the first claim that does not fit.
    pub fn check(&self, block: &Block) -> Result<(), ChainError> {
        self.check_place(block)
            .map_err(|fault| self.error(block, fault))
    }

    /// [`Account::check`], then the proof and the votes.
    ///
    /// # Errors
    /// [`ChainError`] with the first thing that does not hold.
    pub fn verify(&self, sealed: &Sealed) -> Result<(), ChainError> {
        self.verify_but(sealed, &Seen::NONE)
    }

    /// [`Account::verify`], but for votes on this very block that the caller made or checked before.
    ///
    /// # Errors
    /// As [`Account::verify`].
    pub fn verify_but(&self, sealed: &Sealed, seen: &Seen) -> Result<(), ChainError> {
        self.check(&sealed.block)?;
        verify_agreement(
            sealed,
            &self.account_key,
            &self.parties,
            seen,
            &mut verify_strict,
        )
        .map_err(|fault| self.error(&sealed.block, fault))
    }

    /// Folds a block in without checking it: only for blocks that this party verified before, such
    /// as those of its own journal.
    pub fn advance(&mut self, sealed: &Sealed) {
        let claims = sealed.block.claims();
        let hash = sealed.block.hash();
        self.head = Head {
            height: claims.height,
            hash,
        };
        self.outline = Outline::of(&sealed.block);
        self.epoch = claims.epoch;
        self.status = self.status.after(claims.kind).unwrap_or(self.status);
        if claims.kind == Kind::Unfreeze {
            self.last_unfreeze = claims.height;
            self.recent.clear();
        }
        self.recent.push_back(hash);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        if claims.kind == Kind::Freeze {
            self.last_freeze = Some(claims.height);
        }
    }

    /// Verifies a block and folds it in; on an error the account is unchanged.
    ///
    /// # Errors
    /// As [`Account::verify`].
    pub fn next(&mut self, sealed: &Sealed) -> Result<(), ChainError> {
        self.verify(sealed)?;
        self.advance(sealed);
        Ok(())
    }

    /// [`Account::next`] with signatures looked at by the caller; keeps no hashes of older blocks, so that an account
    /// costs an auditor the same whatever its length.
    ///
    /// # Errors
    /// As [`Account::verify`].
    pub fn next_by(&mut self, sealed: &Sealed, verify: &mut Verify<'_>) -> Result<(), ChainError> {
        self.check(&sealed.block)?;
        self.verify_alone_by(sealed, verify)
            .map_err(|fault| self.error(&sealed.block, fault))?;
        self.advance(sealed);
        self.recent = VecDeque::new();
        Ok(())
    }

    /// The proof and the votes of a block of this account, wherever it stands: `sub`, `iss` and `kid` are the
    /// account's, its place in the chain is not looked at.
    ///
    /// # Errors
    /// [`ChainError`] with the first thing that does not hold.
    pub fn verify_alone(&self, sealed: &Sealed) -> Result<(), ChainError> {
        self.check_name(&sealed.block)
            .and_then(|()| self.verify_alone_by(sealed, &mut verify_strict))
            .map_err(|fault| self.error(&sealed.block, fault))
    }

    fn verify_alone_by(&self, sealed: &Sealed, verify: &mut Verify<'_>) -> Result<(), ChainFault> {
        let (key, parties) = (&self.account_key, &self.parties);
        verify_agreement(sealed, key, parties, &Seen::NONE, verify)
    }

    /// The last block.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// What of the last block tells who may have signed another beside it.
    #[must_use]
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// What the account may do now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Which sharing of the account key is in use.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The account's name.
    #[must_use]
    pub fn sub(&self) -> Sub {
        self.sub
    }

    /// The account's Ed25519 public key.
    #[must_use]
    pub fn account_key(&self) -> &[u8; 32] {
        &self.account_key
    }

    /// The account key's RFC 7638 thumbprint.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The three identity keys that genesis fixed.
    #[must_use]
    pub fn parties(&self) -> &Parties {
        &self.parties
    }

    /// The ledger's origin.
    #[must_use]
    pub fn iss(&self) -> &str {
        &self.ledger.iss
    }

    /// The pinned ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The height of a block at or after the last `unfreeze` (else genesis), by its hash, as a
    /// freeze word's hash or a disowned proposal's `prev` must be (protocol rule 10). Of older
    /// blocks than the last 128 it knows the one that was [located](Account::locate).
    #[must_use]
    pub fn height_since_unfreeze(&self, hash: &Hash) -> Option<u64> {
        // A word names a recent block: look from the head down.
        let height = if self.head.hash == *hash {
            Some(self.head.height)
        } else if let Some(back) = self.recent.iter().rev().position(|h| h == hash) {
            self.head.height.checked_sub(u64::try_from(back).ok()?)
        } else {
            self.located.filter(|l| l.hash == *hash).map(|l| l.height)
        };
        height.filter(|height| *height >= self.last_unfreeze)
    }

    /// Tells the place of one block of this chain, as the caller's own verified copy has it;
    /// the one told before is forgotten.
    pub fn locate(&mut self, block: Head) {
        if block.height <= self.head.height {
            self.located = Some(block);
        }
    }

    /// Takes the hashes of the last blocks out, head last: what the serde form leaves out.
    pub(crate) fn take_recent(&mut self) -> VecDeque<Hash> {
        std::mem::take(&mut self.recent)
    }

    /// Puts them back.
    ///
    /// # Errors
    /// Text, where they are not those of a chain with this head.
    pub(crate) fn put_recent(&mut self, recent: VecDeque<Hash>) -> Result<(), String> {
        if recent.len() > RECENT || recent.back() != Some(&self.head.hash) {
            return Err(format!(
                "{} recent blocks that end elsewhere than at the head, expected 1 to {RECENT}",
                recent.len()
            ));
        }
        self.recent = recent;
        Ok(())
    }

    /// The height of the last `unfreeze` block, else of genesis (0).
    #[must_use]
    pub fn last_unfreeze(&self) -> u64 {
        self.last_unfreeze
    }

    /// The height of the last `freeze` block.
    #[must_use]
    pub fn last_freeze(&self) -> Option<u64> {
        self.last_freeze
    }

    fn error(&self, block: &Block, fault: ChainFault) -> ChainError {
        ChainError {
            sub: self.sub,
            height: block.claims().height,
            fault,
        }
    }

    fn check_owner(&self, claims: &Claims) -> Result<(), ChainFault> {
        check_iss(&self.ledger, claims)?;
        if claims.sub == self.sub {
            return Ok(());
        }
        Err(ChainFault::Sub {
            found: claims.sub,
            expected: self.sub,
        })
    }

    fn check_name(&self, block: &Block) -> Result<(), ChainFault> {
        let claims = block.claims();
        self.check_owner(claims)?;
        if claims.kind.class() == Class::Admit {
            check_lifetime(claims.iat, claims.exp)?;
        }
        match block.kid() {
            Some(found) if found != self.kid => Err(ChainFault::Kid {
                found: found.to_owned(),
                expected: self.kid.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn check_place(&self, block: &Block) -> Result<(), ChainFault> {
        let claims = block.claims();
        self.check_owner(claims)?;
        let expected = self.head.height.saturating_add(1);
        if claims.height != expected {
            return Err(ChainFault::Height {
                found: claims.height,
                expected,
            });
        }
        if claims.prev != self.head.hash {
            return Err(ChainFault::Prev {
                found: claims.prev,
                expected: self.head.hash,
            });
        }
        if claims.epoch != self.epoch {
            return Err(ChainFault::Epoch {
                found: claims.epoch,
                expected: self.epoch,
            });
        }
        if self.status.after(claims.kind).is_none() {
            return Err(ChainFault::Kind {
                kind: claims.kind,
                status: self.status,
            });
        }
        self.check_name(block)
    }
}

fn open(ledger: &Ledger, genesis: &Sealed, verify: &mut Verify<'_>) -> Result<Account, ChainFault> {
    let Sealed {
        block,
        proof,
        votes,
    } = genesis;
    let claims = block.claims();
    let (Kind::Genesis, Some(begun)) = (claims.kind, &claims.genesis) else {
        return Err(ChainFault::NotGenesis { found: claims.kind });
    };
    let GenesisClaims {
        account_key,
        parties,
        transcript: object,
    } = begun;
    check_iss(ledger, claims)?;
    for (role, pinned) in [
        (Role::Broker, &ledger.broker),
        (Role::TrustOperator, &ledger.trust_operator),
    ] {
        if parties.key(role) != pinned {
            return Err(ChainFault::Operator { role });
        }
    }
    let sub = Sub::of_transcript(object);
    if claims.sub != sub {
        return Err(ChainFault::Sub {
            found: claims.sub,
            expected: sub,
        });
    }
    check_lifetime(claims.iat, claims.exp)?;
    let Votes::Genesis {
        assent,
        endorse,
        seal,
        transcript,
    } = votes
    else {
        return Err(votes_form(claims.kind, votes, "genesis"));
    };
    verify_proof_by(block, proof, account_key, parties, verify)?;
    verify_votes(block, parties, [assent, endorse, seal], &Seen::NONE, verify)?;
    for (role, vote) in Role::ALL.into_iter().zip(transcript) {
        let statement = Statement {
            verb: Verb::Transcript,
            role,
            sub,
            hash: *object,
        };
        vote.verify_by(&statement, parties.key(role), verify)?;
    }
    let hash = block.hash();
    Ok(Account {
        ledger: ledger.clone(),
        sub,
        account_key: *account_key,
        kid: thumbprint(account_key),
        parties: *parties,
        head: Head { height: 0, hash },
        outline: Outline::of(block),
        status: Status::Active,
        epoch: 0,
        last_freeze: None,
        last_unfreeze: 0,
        recent: VecDeque::from([hash]),
        located: None,
    })
}

fn check_iss(ledger: &Ledger, claims: &Claims) -> Result<(), ChainFault> {
    if claims.iss == ledger.iss {
        Ok(())
    } else {
        Err(ChainFault::Iss {
            found: claims.iss.clone(),
            expected: ledger.iss.clone(),
        })
    }
}
