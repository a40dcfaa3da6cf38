//! The signing package and its votes: who committed what, who sent which share (rule 9).

use crate::{
    encoding::{Context, Hash, derive},
    party::{Parties, Role, Sub},
    share::{Commitment, Package, SignatureShare},
    signature::IdentityKey,
    vote::{Statement, Verb, Vote},
    wire::{SignedCommitment, SignedShare},
};

/// The hash of a package: `derive_key` of the three commitments in role order, 192 bytes.
#[must_use]
pub fn package_hash(package: &Package) -> Hash {
    let [a, b, c] = package.commitments();
    derive(
        Context::Package,
        &[a.as_bytes(), b.as_bytes(), c.as_bytes()],
    )
}

fn commitment_statement(sub: Sub, block: Hash, commitment: &Commitment) -> Statement {
    let hash = derive(Context::Commitment, &[&block.0, commitment.as_bytes()]);
    Statement {
        verb: Verb::Commitment,
        role: Role::TrustOperator,
        sub,
        hash,
    }
}

fn share_statement(
    role: Role,
    sub: Sub,
    block: Hash,
    package: Hash,
    share: &SignatureShare,
) -> Statement {
    let hash = derive(Context::Share, &[&block.0, &package.0, &share.to_bytes()]);
    Statement {
        verb: Verb::Share,
        role,
        sub,
        hash,
    }
}

/// One party's signing of one block of one account.
#[derive(Clone, Copy)]
pub(super) struct Signing<'a> {
    pub(super) key: &'a IdentityKey,
    pub(super) role: Role,
    pub(super) sub: Sub,
    pub(super) block: Hash,
}

impl Signing<'_> {
    pub(super) fn commitment(self, commitment: Commitment) -> SignedCommitment {
        let statement = commitment_statement(self.sub, self.block, &commitment);
        SignedCommitment {
            vote: Vote::sign(self.key, &statement),
            commitment,
        }
    }

    pub(super) fn share(self, package: Hash, share: SignatureShare) -> SignedShare {
        let statement = share_statement(self.role, self.sub, self.block, package, &share);
        SignedShare {
            vote: Vote::sign(self.key, &statement),
            share,
        }
    }

    pub(super) fn vote(self, verb: Verb) -> Vote {
        let statement = Statement {
            verb,
            role: self.role,
            sub: self.sub,
            hash: self.block,
        };
        Vote::sign(self.key, &statement)
    }
}

/// Checks vote 7, which only the trust operator gives.
pub(super) fn verify_commitment(
    parties: &Parties,
    sub: Sub,
    block: Hash,
    signed: &SignedCommitment,
) -> Result<(), String> {
    let statement = commitment_statement(sub, block, &signed.commitment);
    signed
        .vote
        .verify(&statement, parties.key(Role::TrustOperator))
        .map_err(|e| e.to_string())
}

/// Checks vote 8.
pub(super) fn verify_share(
    parties: &Parties,
    role: Role,
    sub: Sub,
    block: Hash,
    package: Hash,
    signed: &SignedShare,
) -> Result<(), String> {
    let statement = share_statement(role, sub, block, package, &signed.share);
    signed
        .vote
        .verify(&statement, parties.key(role))
        .map_err(|e| e.to_string())
}

/// Checks vote 1 or 2.
pub(super) fn verify_vote(
    parties: &Parties,
    role: Role,
    verb: Verb,
    sub: Sub,
    hash: Hash,
    vote: &Vote,
) -> Result<(), String> {
    vote.verify(
        &Statement {
            verb,
            role,
            sub,
            hash,
        },
        parties.key(role),
    )
    .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by the second implementation, `tests/vectors/make.py`.
    #[test]
    fn objects_of_votes_7_and_8_match_the_vectors() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/enrolment.json")).unwrap();
        let bytes = |text: &serde_json::Value| -> Vec<u8> {
            let text = text.as_str().unwrap();
            (0..text.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
                .collect()
        };
        let commitment =
            |at: usize| Commitment::decode(&bytes(&vectors["commitments"][at])).unwrap();
        let package = Package::new([commitment(0), commitment(1), commitment(2)]);
        let package = package_hash(&package);
        assert_eq!(package.0.to_vec(), bytes(&vectors["package"]));
        let block = Hash(bytes(&vectors["block_hash"]).try_into().unwrap());
        let sub = Sub([1; 16]);
        let said = commitment_statement(sub, block, &commitment(0));
        assert_eq!(said.hash.0.to_vec(), bytes(&vectors["commitment_object"]));
        let share = SignatureShare::decode(&bytes(&vectors["share"])).unwrap();
        let said = share_statement(Role::Broker, sub, block, package, &share);
        assert_eq!(said.hash.0.to_vec(), bytes(&vectors["share_object"]));
    }
}
