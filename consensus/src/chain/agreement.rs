//! Whose agreement a block carries: its proof, the votes beside it, and the device's word.

use crate::block::{Block, Claims, Class, Kind, Proof, Sealed, Votes};
use crate::chain::{ChainFault, ProofError};
use crate::encoding::Hash;
use crate::party::{Parties, Role};
use crate::signature::{Verify, verify_strict};
use crate::vote::{Statement, Verb, Vote, Word};

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
    verify_proof_by(block, proof, account_key, parties, &mut verify_strict)
}

pub(super) fn verify_proof_by(
    block: &Block,
    proof: &Proof,
    account_key: &[u8; 32],
    parties: &Parties,
    verify: &mut Verify<'_>,
) -> Result<(), ProofError> {
    const ACCOUNT: &str = "the account key";
    const OPERATORS: &str = "both operators' keys";
    let kind = block.claims().kind;
    let message = block.input().as_bytes();
    match (kind.class(), proof) {
        (Class::Admit, Proof::Account(signature)) => {
            verify(account_key, message, signature).map_err(|_| ProofError::Account)
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
                verify(parties.key(role), message, signature)
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

/// Votes on one block that the verifier made itself or checked when they came: the same signature
/// on the same statement needs no second check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// The block's hash.
    pub block: Hash,
    /// The device's assent.
    pub assent: Option<Vote>,
    /// The broker's endorsement.
    pub endorse: Option<Vote>,
}

impl Seen {
    /// Nothing was seen: every vote is checked.
    pub const NONE: Seen = Seen {
        block: Hash::ZERO,
        assent: None,
        endorse: None,
    };

    fn holds(&self, block: Hash, verb: Verb, vote: &Vote) -> bool {
        let seen = match verb {
            Verb::Assent => self.assent,
            Verb::Endorse => self.endorse,
            _ => None,
        };
        self.block == block && seen.as_ref() == Some(vote)
    }
}

/// The proof and the votes of a block after genesis, but the votes that were seen.
pub(super) fn verify_agreement(
    sealed: &Sealed,
    account_key: &[u8; 32],
    parties: &Parties,
    seen: &Seen,
    verify: &mut Verify<'_>,
) -> Result<(), ChainFault> {
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
            verify_proof_by(block, proof, account_key, parties, verify)?;
            verify_votes(block, parties, [assent, endorse, seal], seen, verify)
        }
        (Class::Restrict, Votes::Restrict { word }) => {
            verify_proof_by(block, proof, account_key, parties, verify)?;
            verify_word(block.claims(), parties, word.as_ref(), verify)
        }
        (Class::Admit, _) => Err(votes_form(kind, votes, "admit")),
        (Class::Restrict, _) => Err(votes_form(kind, votes, "restrict")),
    }
}

pub(super) fn votes_form(kind: Kind, votes: &Votes, expected: &'static str) -> ChainFault {
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
pub(super) fn verify_votes(
    block: &Block,
    parties: &Parties,
    votes: [&Vote; 3],
    seen: &Seen,
    verify: &mut Verify<'_>,
) -> Result<(), ChainFault> {
    let verbs = [Verb::Assent, Verb::Endorse, Verb::Seal];
    for ((role, verb), vote) in Role::ALL.into_iter().zip(verbs).zip(votes) {
        if seen.holds(block.hash(), verb, vote) {
            continue;
        }
        let statement = Statement {
            verb,
            role,
            sub: block.claims().sub,
            hash: block.hash(),
        };
        vote.verify_by(&statement, parties.key(role), verify)?;
    }
    Ok(())
}

/// A `deny` needs the device's word, about what the block displaces if it displaces anything; any
/// other restrict block may carry one, which must verify.
fn verify_word(
    claims: &Claims,
    parties: &Parties,
    word: Option<&Word>,
    verify: &mut Verify<'_>,
) -> Result<(), ChainFault> {
    let Some(word) = word else {
        return if claims.kind == Kind::Deny {
            Err(ChainFault::NoWord)
        } else {
            Ok(())
        };
    };
    word.verify_by(claims.sub, &parties.device, verify)?;
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
