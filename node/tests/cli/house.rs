//! Chains whose keys are all known. An account key is an ordinary one here: what verifies a
//! threshold signature verifies this.

use warifu_consensus::{
    agree::Erasure,
    block::{Block, Claims, Class, GenesisClaims, Kind, Proof, Sealed, Votes},
    encoding::Hash,
    party::{Ledger, Parties, Role, Sub},
    signature::IdentityKey,
    vote::{Statement, Verb, Vote, Word},
};

pub(crate) const ISS: &str = "https://ledger.example";
const IAT: u64 = 1_790_000_000;

/// One account; both operators are the same in all.
pub(crate) struct House {
    device: IdentityKey,
    broker: IdentityKey,
    trust_operator: IdentityKey,
    account: IdentityKey,
    transcript: Hash,
}

impl House {
    pub(crate) fn new(number: u8) -> House {
        House {
            device: IdentityKey::from_seed([number; 32]),
            broker: IdentityKey::from_seed([250; 32]),
            trust_operator: IdentityKey::from_seed([251; 32]),
            account: IdentityKey::from_seed([number.wrapping_add(100); 32]),
            transcript: Hash([number; 32]),
        }
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger {
            iss: ISS.to_owned(),
            broker: self.broker.public(),
            trust_operator: self.trust_operator.public(),
        }
    }

    pub(crate) fn sub(&self) -> Sub {
        Sub::of_transcript(&self.transcript)
    }

    fn key(&self, role: Role) -> &IdentityKey {
        match role {
            Role::Device => &self.device,
            Role::Broker => &self.broker,
            Role::TrustOperator => &self.trust_operator,
        }
    }

    fn vote(&self, verb: Verb, role: Role, hash: Hash) -> Vote {
        let sub = self.sub();
        let statement = Statement {
            verb,
            role,
            sub,
            hash,
        };
        Vote::sign(self.key(role), &statement)
    }

    pub(crate) fn account_key(&self) -> [u8; 32] {
        self.account.public()
    }

    /// The broker's word that the account is erased behind this block.
    pub(crate) fn erasure(&self, head: Hash) -> Erasure {
        let statement = Erasure::statement(self.sub(), head);
        Erasure {
            head,
            vote: Vote::sign(&self.broker, &statement),
        }
    }

    fn claims(&self, kind: Kind, height: u64, prev: Hash) -> Claims {
        let own = matches!(kind, Kind::Genesis | Kind::Freeze);
        let parties = Parties {
            device: self.device.public(),
            broker: self.broker.public(),
            trust_operator: self.trust_operator.public(),
        };
        Claims {
            iss: ISS.to_owned(),
            sub: self.sub(),
            aud: if own { ISS } else { "https://bank.example" }.to_owned(),
            iat: IAT + height,
            exp: IAT + height + 90,
            nonce: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
            kind,
            height,
            prev,
            epoch: 0,
            body: (kind == Kind::Login).then_some(Hash([7; 32])),
            supersedes: (kind == Kind::Deny).then_some(Hash([8; 32])),
            genesis: (kind == Kind::Genesis).then(|| GenesisClaims {
                account_key: self.account.public(),
                parties,
                transcript: self.transcript,
            }),
        }
    }

    fn seal(&self, claims: Claims) -> Sealed {
        let block = Block::new(claims, &self.account.public()).unwrap();
        let (kind, hash) = (block.claims().kind, block.hash());
        let message = block.input().as_bytes();
        let assent = self.vote(Verb::Assent, Role::Device, hash);
        let endorse = self.vote(Verb::Endorse, Role::Broker, hash);
        let seal = self.vote(Verb::Seal, Role::TrustOperator, hash);
        let votes = match kind.class() {
            Class::Admit if kind == Kind::Genesis => Votes::Genesis {
                assent,
                endorse,
                seal,
                transcript: Role::ALL
                    .map(|role| self.vote(Verb::Transcript, role, self.transcript)),
            },
            Class::Admit => Votes::Admit {
                assent,
                endorse,
                seal,
            },
            Class::Restrict => Votes::Restrict {
                word: block
                    .claims()
                    .supersedes
                    .map(|about| Word::sign(&self.device, Verb::Deny, self.sub(), about)),
            },
        };
        let proof = match kind.class() {
            Class::Admit => Proof::Account(self.account.sign(message)),
            Class::Restrict => Proof::Operators {
                broker: self.broker.sign(message),
                trust_operator: self.trust_operator.sign(message),
            },
        };
        Sealed {
            block,
            proof,
            votes,
        }
    }

    /// Genesis and then these kinds.
    pub(crate) fn chain(&self, kinds: &[Kind]) -> Vec<Sealed> {
        let mut blocks = vec![self.seal(self.claims(Kind::Genesis, 0, Hash::ZERO))];
        for (kind, height) in kinds.iter().zip(1..) {
            let prev = blocks.last().unwrap().block.hash();
            blocks.push(self.seal(self.claims(*kind, height, prev)));
        }
        blocks
    }
}
