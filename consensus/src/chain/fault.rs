//! Why a block is not the next one of an account.

use crate::block::Kind;
use crate::chain::Status;
use crate::encoding::Hash;
use crate::party::{Role, Sub};
use crate::time::TimeError;
use crate::vote::{BadVote, Verb};

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
