//! A small account whose four keys are known, so that tests can make any block and any forgery.

use warifu_consensus::block::{Block, Claims, Class, GenesisClaims, Kind, Proof, Sealed, Votes};
use warifu_consensus::chain::Account;
use warifu_consensus::encoding::Hash;
use warifu_consensus::party::{Ledger, Parties, Role, Sub};
use warifu_consensus::random::Entropy;
use warifu_consensus::signature::IdentityKey;
use warifu_consensus::vote::{Statement, Verb, Vote, Word};

pub(crate) const ISS: &str = "https://ledger.example";
pub(crate) const AUD: &str = "https://bank.example";
pub(crate) const NONCE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
pub(crate) const IAT: u64 = 1_790_000_000;
pub(crate) const TRANSCRIPT: Hash = Hash([9; 32]);

/// Entropy that counts, so that two draws differ and a run repeats.
pub(crate) struct Counter(pub(crate) u64);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (self.0 >> 56) as u8;
        }
    }
}

/// The keys of an account. The account key is an ordinary one here: what verifies a threshold
/// signature verifies this.
pub(crate) struct House {
    pub(crate) device: IdentityKey,
    pub(crate) broker: IdentityKey,
    pub(crate) trust_operator: IdentityKey,
    pub(crate) account: IdentityKey,
}

pub(crate) fn house() -> House {
    House {
        device: IdentityKey::from_seed([1; 32]),
        broker: IdentityKey::from_seed([2; 32]),
        trust_operator: IdentityKey::from_seed([3; 32]),
        account: IdentityKey::from_seed([4; 32]),
    }
}

pub(crate) fn takes_body(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Login | Kind::Approve | Kind::Change | Kind::Unfreeze
    )
}

impl House {
    pub(crate) fn key(&self, role: Role) -> &IdentityKey {
        match role {
            Role::Device => &self.device,
            Role::Broker => &self.broker,
            Role::TrustOperator => &self.trust_operator,
        }
    }

    pub(crate) fn parties(&self) -> Parties {
        Parties {
            device: self.device.public(),
            broker: self.broker.public(),
            trust_operator: self.trust_operator.public(),
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
        Sub::of_transcript(&TRANSCRIPT)
    }

    /// Valid claims of any kind at a place in the chain.
    pub(crate) fn claims(&self, kind: Kind, height: u64, prev: Hash) -> Claims {
        let own = matches!(
            kind,
            Kind::Genesis | Kind::Restored | Kind::Freeze | Kind::Revoke
        );
        Claims {
            iss: ISS.to_owned(),
            sub: self.sub(),
            aud: if own { ISS } else { AUD }.to_owned(),
            iat: IAT,
            exp: IAT + 90,
            nonce: NONCE.to_owned(),
            kind,
            height,
            prev,
            epoch: 0,
            body: takes_body(kind).then_some(Hash([7; 32])),
            supersedes: None,
            genesis: (kind == Kind::Genesis).then(|| GenesisClaims {
                account_key: self.account.public(),
                parties: self.parties(),
                transcript: TRANSCRIPT,
            }),
        }
    }

    pub(crate) fn block(&self, claims: Claims) -> Block {
        Block::new(claims, &self.account.public()).unwrap()
    }

    pub(crate) fn vote(&self, verb: Verb, role: Role, hash: Hash) -> Vote {
        let statement = Statement {
            verb,
            role,
            sub: self.sub(),
            hash,
        };
        Vote::sign(self.key(role), &statement)
    }

    pub(crate) fn word(&self, verb: Verb, hash: Hash) -> Word {
        Word::sign(&self.device, verb, self.sub(), hash)
    }

    pub(crate) fn proof(&self, block: &Block) -> Proof {
        let message = block.input().as_bytes();
        match block.claims().kind.class() {
            Class::Admit => Proof::Account(self.account.sign(message)),
            Class::Restrict => Proof::Operators {
                broker: self.broker.sign(message),
                trust_operator: self.trust_operator.sign(message),
            },
        }
    }

    /// Signs claims as everybody would; a `deny` gets the device's word on what it supersedes.
    pub(crate) fn seal(&self, claims: Claims) -> Sealed {
        let block = self.block(claims);
        let proof = self.proof(&block);
        let hash = block.hash();
        let assent = self.vote(Verb::Assent, Role::Device, hash);
        let endorse = self.vote(Verb::Endorse, Role::Broker, hash);
        let seal = self.vote(Verb::Seal, Role::TrustOperator, hash);
        let kind = block.claims().kind;
        let votes = match kind.class() {
            Class::Admit if kind == Kind::Genesis => Votes::Genesis {
                assent,
                endorse,
                seal,
                transcript: Role::ALL.map(|role| self.vote(Verb::Transcript, role, TRANSCRIPT)),
            },
            Class::Admit => Votes::Admit {
                assent,
                endorse,
                seal,
            },
            Class::Restrict => {
                let about = block.claims().supersedes.unwrap_or(Hash([8; 32]));
                let word = (kind == Kind::Deny).then(|| self.word(Verb::Deny, about));
                Votes::Restrict { word }
            }
        };
        Sealed {
            block,
            proof,
            votes,
        }
    }

    pub(crate) fn genesis(&self) -> Sealed {
        self.seal(self.claims(Kind::Genesis, 0, Hash::ZERO))
    }

    pub(crate) fn account(&self) -> Account {
        Account::open(&self.ledger(), &self.genesis()).unwrap()
    }

    /// The next block of an account, well made.
    pub(crate) fn next(&self, account: &Account, kind: Kind) -> Sealed {
        self.seal(self.next_claims(account, kind))
    }

    pub(crate) fn next_claims(&self, account: &Account, kind: Kind) -> Claims {
        let head = account.head();
        self.claims(kind, head.height + 1, head.hash)
    }
}
