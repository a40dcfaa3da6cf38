//! An account: the fold of its verified chain, and the decision whether a block is the next one.
//!
//! This is where a block's signatures and votes are checked, against keys that the verifier pinned
//! ([`Ledger`]) and keys that genesis fixed. No clock is read here: `exp` limits admission, which is
//! [`crate::time`]'s to decide, so a chain verifies the same in ten years.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::block::{Block, Claims, Class, GenesisClaims, Kind, Proof, Sealed, Votes, thumbprint};
use crate::encoding::Hash;
use crate::party::{Ledger, Parties, Role, Sub};
use crate::signature::verify_strict;
use crate::time::{TimeError, check_lifetime};
use crate::vote::{BadVote, Statement, Verb, Vote, Word};

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

/// A block is not the next one of an account; names the account and the block's height.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("account {sub}, block at height {height}: {fault}")]
pub struct ChainError {
    /// The account, as the verifier knows it; in genesis, as the block claims it.
    pub sub: Sub,
    /// The height that the block claims.
    pub height: u64,
    /// What is wrong with it.
    pub fault: ChainFault,
}

/// What is wrong with a block.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ChainFault {
    /// There is no block at all.
    #[error("chain is empty, expected a genesis block")]
    Empty,
    /// Another ledger's block.
    #[error("block has iss {found}, expected {expected}")]
    Iss {
        /// Found.
        found: String,
        /// The ledger's.
        expected: String,
    },
    /// Another account's block, or a `sub` that its transcript does not give.
    #[error("block has sub {found}, expected {expected}")]
    Sub {
        /// Found.
        found: Sub,
        /// The account's.
        expected: Sub,
    },
    /// Not the height after the head's.
    #[error("block has height {found}, expected {expected}")]
    Height {
        /// Found.
        found: u64,
        /// The head's plus one.
        expected: u64,
    },
    /// Built on another block than the head.
    #[error("block has prev {found}, expected {expected}")]
    Prev {
        /// Found.
        found: Hash,
        /// The head.
        expected: Hash,
    },
    /// Another sharing of the account key.
    #[error("block has epoch {found}, expected {expected}")]
    Epoch {
        /// Found.
        found: u64,
        /// The account's.
        expected: u64,
    },
    /// The header names another account key.
    #[error("block has kid {found}, expected {expected}")]
    Kid {
        /// Found.
        found: String,
        /// The account key's thumbprint.
        expected: String,
    },
    /// The account's status does not allow the kind.
    #[error("kind {kind} is not allowed in a {status} account")]
    Kind {
        /// The block's kind.
        kind: Kind,
        /// The account's status.
        status: Status,
    },
    /// The chain begins with something else.
    #[error("chain begins with kind {found}, expected genesis")]
    NotGenesis {
        /// The kind found.
        found: Kind,
    },
    /// Genesis names another operator than the one pinned.
    #[error("genesis names another {role} than the pinned one")]
    Operator {
        /// Which operator.
        role: Role,
    },
    /// An admit block's lifetime is not one that the ledger allows.
    #[error(transparent)]
    Lifetime(#[from] TimeError),
    /// The proof is not of the kind's form or does not verify.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The votes are those of another kind of block.
    #[error("{kind} block carries {found} votes, expected {expected} votes")]
    VotesForm {
        /// The block's kind.
        kind: Kind,
        /// What was found.
        found: &'static str,
        /// What the kind needs.
        expected: &'static str,
    },
    /// A vote does not verify.
    #[error(transparent)]
    Vote(#[from] BadVote),
    /// A `deny` block without the device's word.
    #[error("deny block carries no word of the device, expected deny or disown")]
    NoWord,
    /// A `deny` block whose word does not deny.
    #[error("deny block carries the word {found}, expected deny or disown")]
    WordVerb {
        /// The word's verb.
        found: Verb,
    },
    /// A `deny` block whose word is about another proposal than the one it displaces.
    #[error("deny block carries a word on {found}, expected one on {expected}")]
    WordHash {
        /// What the word is about.
        found: Hash,
        /// What the block supersedes.
        expected: Hash,
    },
}

/// A proof is not of the kind's form or does not verify.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProofError {
    /// The account key's signature where the operators' are needed, or the other way round.
    #[error("{kind} block is proven by {found}, expected {expected}")]
    Form {
        /// The block's kind.
        kind: Kind,
        /// What was found.
        found: &'static str,
        /// What the kind needs.
        expected: &'static str,
    },
    /// The group signature does not verify.
    #[error("signature does not verify under the account key")]
    Account,
    /// An operator's signature does not verify.
    #[error("signature does not verify under the {role}'s key")]
    Operator {
        /// Which operator.
        role: Role,
    },
}

/// Verifies a block's proof over its signing input: of an admit block with the account key, of a
/// restrict block with both operators' keys. Says nothing about the block's place in a chain.
///
/// # Errors
/// [`ProofError`] when the proof is of the other class or a signature does not verify strictly.
pub fn verify_proof(
    block: &Block,
    proof: &Proof,
    account_key: &[u8; 32],
    parties: &Parties,
) -> Result<(), ProofError> {
    const ACCOUNT: &str = "the account key";
    const OPERATORS: &str = "both operators' keys";
    let kind = block.claims().kind;
    let message = block.input().as_bytes();
    match (kind.class(), proof) {
        (Class::Admit, Proof::Account(signature)) => {
            verify_strict(account_key, message, signature).map_err(|_| ProofError::Account)
        }
        (
            Class::Restrict,
            Proof::Operators {
                broker,
                trust_operator,
            },
        ) => {
            let signatures = [
                (Role::Broker, broker),
                (Role::TrustOperator, trust_operator),
            ];
            signatures.into_iter().try_for_each(|(role, signature)| {
                verify_strict(parties.key(role), message, signature)
                    .map_err(|_| ProofError::Operator { role })
            })
        }
        (Class::Admit, Proof::Operators { .. }) => Err(ProofError::Form {
            kind,
            found: OPERATORS,
            expected: ACCOUNT,
        }),
        (Class::Restrict, Proof::Account(_)) => Err(ProofError::Form {
            kind,
            found: ACCOUNT,
            expected: OPERATORS,
        }),
    }
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
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    ledger: Ledger,
    sub: Sub,
    account_key: [u8; 32],
    /// Thumbprint of `account_key`.
    kid: String,
    parties: Parties,
    head: Head,
    status: Status,
    epoch: u64,
    /// Hashes from the last `unfreeze` (else genesis) to the head; never empty.
    since_unfreeze: Vec<Hash>,
    last_freeze: Option<u64>,
}

impl Account {
    /// Begins an account from its genesis block, verifying the account key's signature, the three
    /// votes on the block and the three on the transcript; the operators' keys are the pinned ones.
    ///
    /// # Errors
    /// [`ChainError`] when the block is no genesis of this ledger or a signature does not verify.
    pub fn open(ledger: &Ledger, genesis: &Sealed) -> Result<Account, ChainError> {
        let claims = genesis.block.claims();
        open(ledger, genesis).map_err(|fault| ChainError {
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
        self.check(&sealed.block)?;
        self.verify_agreement(sealed)
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
        self.epoch = claims.epoch;
        self.status = self.status.after(claims.kind).unwrap_or(self.status);
        if claims.kind == Kind::Unfreeze {
            self.since_unfreeze.clear();
        }
        self.since_unfreeze.push(hash);
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

    /// The last block.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
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

    /// Whether the hash is a block of this chain at or after the last `unfreeze` (else genesis), as
    /// a freeze word's hash or a disowned proposal's `prev` must be (protocol rule 10).
    #[must_use]
    pub fn counts_since_unfreeze(&self, hash: &Hash) -> bool {
        self.since_unfreeze.contains(hash)
    }

    /// The height of a block at or after the last `unfreeze` (else genesis), by its hash.
    #[must_use]
    pub fn height_since_unfreeze(&self, hash: &Hash) -> Option<u64> {
        // A word names a recent block: look from the head down.
        let back = self.since_unfreeze.iter().rev().position(|h| h == hash)?;
        self.head.height.checked_sub(u64::try_from(back).ok()?)
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

    fn check_place(&self, block: &Block) -> Result<(), ChainFault> {
        let claims = block.claims();
        check_iss(&self.ledger, claims)?;
        if claims.sub != self.sub {
            return Err(ChainFault::Sub {
                found: claims.sub,
                expected: self.sub,
            });
        }
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

    fn verify_agreement(&self, sealed: &Sealed) -> Result<(), ChainFault> {
        let Sealed {
            block,
            proof,
            votes,
        } = sealed;
        let kind = block.claims().kind;
        match (kind.class(), votes) {
            (
                Class::Admit,
                Votes::Admit {
                    assent,
                    endorse,
                    seal,
                },
            ) => {
                verify_proof(block, proof, &self.account_key, &self.parties)?;
                verify_votes(block, &self.parties, [assent, endorse, seal])
            }
            (Class::Restrict, Votes::Restrict { word }) => {
                verify_proof(block, proof, &self.account_key, &self.parties)?;
                verify_word(block.claims(), &self.parties, word.as_ref())
            }
            (Class::Admit, _) => Err(votes_form(kind, votes, "admit")),
            (Class::Restrict, _) => Err(votes_form(kind, votes, "restrict")),
        }
    }
}

fn open(ledger: &Ledger, genesis: &Sealed) -> Result<Account, ChainFault> {
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
    verify_proof(block, proof, account_key, parties)?;
    verify_votes(block, parties, [assent, endorse, seal])?;
    for (role, vote) in Role::ALL.into_iter().zip(transcript) {
        let statement = Statement {
            verb: Verb::Transcript,
            role,
            sub,
            hash: *object,
        };
        vote.verify(&statement, parties.key(role))?;
    }
    let hash = block.hash();
    Ok(Account {
        ledger: ledger.clone(),
        sub,
        account_key: *account_key,
        kid: thumbprint(account_key),
        parties: *parties,
        head: Head { height: 0, hash },
        status: Status::Active,
        epoch: 0,
        since_unfreeze: vec![hash],
        last_freeze: None,
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

fn votes_form(kind: Kind, votes: &Votes, expected: &'static str) -> ChainFault {
    let found = match votes {
        Votes::Genesis { .. } => "genesis",
        Votes::Admit { .. } => "admit",
        Votes::Restrict { .. } => "restrict",
    };
    ChainFault::VotesForm {
        kind,
        found,
        expected,
    }
}

/// Assent by the device, endorse by the broker, seal by the trust operator, on the block's hash.
fn verify_votes(block: &Block, parties: &Parties, votes: [&Vote; 3]) -> Result<(), ChainFault> {
    let verbs = [Verb::Assent, Verb::Endorse, Verb::Seal];
    for ((role, verb), vote) in Role::ALL.into_iter().zip(verbs).zip(votes) {
        let statement = Statement {
            verb,
            role,
            sub: block.claims().sub,
            hash: block.hash(),
        };
        vote.verify(&statement, parties.key(role))?;
    }
    Ok(())
}

/// A `deny` needs the device's word, about what the block displaces if it displaces anything; any
/// other restrict block may carry one, which must verify.
fn verify_word(claims: &Claims, parties: &Parties, word: Option<&Word>) -> Result<(), ChainFault> {
    let Some(word) = word else {
        return if claims.kind == Kind::Deny {
            Err(ChainFault::NoWord)
        } else {
            Ok(())
        };
    };
    word.verify(claims.sub, &parties.device)?;
    if claims.kind != Kind::Deny {
        return Ok(());
    }
    if !matches!(word.verb, Verb::Deny | Verb::Disown) {
        return Err(ChainFault::WordVerb { found: word.verb });
    }
    match claims.supersedes {
        Some(expected) if expected != word.hash => Err(ChainFault::WordHash {
            found: word.hash,
            expected,
        }),
        _ => Ok(()),
    }
}
