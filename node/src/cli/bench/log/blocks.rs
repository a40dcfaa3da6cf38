//! The blocks that the bench of the log feeds: both operators make the same ones, each by itself, from one seed.
//!
//! Accounts take turns: block `n` is the next of account `n` modulo their number. Each block is one that
//! [`Block::new`] makes and a journal reads back; nobody signed it, since the log never looks at signatures.

use warifu_client_sdk::store::{Batch, HeadMove, StreamId};
use warifu_consensus::{
    agree::{Founding, Record},
    block::{Block, BlockError, Claims, GenesisClaims, Kind, Proof, Sealed, Votes},
    body::ContentKey,
    encoding::{Hash, text_b64},
    log::{Algorithm, KeyError, LogKey, LogKeys},
    party::{Ledger, Parties, Role, Sub},
    time::Time,
    vote::Vote,
    wire::{self, WireError},
};

use crate::output::role_name;

/// The ledger's origin.
pub(super) const ISS: &str = "https://ledger.example";
const AUD: &str = "https://bench.example";
/// When the first block was made, seconds since the Unix epoch.
pub(super) const FROM_S: u64 = 1_780_000_000;
/// The journal's own limit is above it.
const MAX_RECORD: usize = 200 * 1024;

/// Every key of the bench follows from its seed.
fn seed_of(seed: u64, what: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(what.as_bytes());
    *hasher.finalize().as_bytes()
}

/// An operator's seed for its line.
pub(super) fn line_seed(seed: u64, role: Role) -> [u8; 32] {
    seed_of(seed, role_name(role))
}

/// An operator's key for checkpoints.
pub(super) fn log_key(seed: u64, role: Role) -> Result<LogKey, KeyError> {
    match role {
        Role::TrustOperator => LogKey::from_seed(
            seed_of(seed, "witness"),
            "ledger.example/witness",
            Algorithm::Cosignature,
        ),
        _ => LogKey::from_seed(
            seed_of(seed, "log"),
            "ledger.example/log",
            Algorithm::Ed25519,
        ),
    }
}

/// Both operators' public keys for checkpoints.
pub(super) fn log_keys(seed: u64) -> Result<LogKeys, KeyError> {
    Ok(LogKeys {
        log: log_key(seed, Role::Broker)?.public().clone(),
        witness: log_key(seed, Role::TrustOperator)?.public().clone(),
    })
}

/// Why a block or its record can't be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum BlocksError {
    /// The block.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// Its record.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// See the module.
pub(super) struct Blocks {
    seed: u64,
    transcripts: Vec<Hash>,
    heads: Vec<Hash>,
    /// How many were made.
    made: u64,
}

impl Blocks {
    pub(super) fn new(seed: u64, accounts: u64) -> Self {
        let transcript = |number: u64| Hash(seed_of(seed, &format!("account {number}")));
        let transcripts: Vec<Hash> = (0..accounts.max(1)).map(transcript).collect();
        Self {
            seed,
            heads: vec![Hash::ZERO; transcripts.len()],
            transcripts,
            made: 0,
        }
    }

    /// How many were made.
    pub(super) const fn made(&self) -> u64 {
        self.made
    }

    /// Every account, with its content key.
    pub(super) fn accounts(&self) -> impl Iterator<Item = (Sub, ContentKey)> {
        self.transcripts.iter().map(|transcript| {
            let key = ContentKey::from_bytes(*blake3::hash(&transcript.0).as_bytes());
            (Sub::of_transcript(transcript), key)
        })
    }

    /// The next block, as the batches that a sealing writes: before a genesis there is the founding.
    pub(super) fn next(&mut self) -> Result<(Vec<Batch>, Sub, u64), BlocksError> {
        let accounts = self.transcripts.len() as u64;
        let (account, height) = (self.made % accounts, self.made / accounts);
        let place = usize::try_from(account).unwrap_or(0);
        let transcript = self.transcripts.get(place).copied().unwrap_or(Hash::ZERO);
        let prev = self.heads.get(place).copied().unwrap_or(Hash::ZERO);
        let sealed = sealed(transcript, height, prev, self.made)?;
        let (sub, hash) = (Sub::of_transcript(&transcript), sealed.block.hash());
        let mut batches = Vec::new();
        if height == 0 {
            let record = Record::Founding(Box::new(founding(self.seed, transcript)));
            batches.push(batch(sub, None, Hash::ZERO, &record)?);
        }
        let record = Record::Sealed(Box::new(sealed));
        batches.push(batch(sub, Some(prev), hash, &record)?);
        if let Some(head) = self.heads.get_mut(place) {
            *head = hash;
        }
        self.made += 1;
        Ok((batches, sub, height))
    }
}

fn batch(
    sub: Sub,
    expected: Option<Hash>,
    next: Hash,
    record: &Record,
) -> Result<Batch, WireError> {
    Ok(Batch {
        stream: StreamId(sub.0),
        head: Some(HeadMove {
            expected: expected.map(|hash| hash.0),
            next: next.0,
        }),
        entries: vec![wire::encode::<Record, MAX_RECORD>(record)?],
        may_wait: false,
    })
}

/// Public keys that differ; none of them has a secret half.
fn parties() -> Parties {
    Parties {
        device: [2; 32],
        broker: [3; 32],
        trust_operator: [4; 32],
    }
}

const fn vote(by: u8) -> Vote {
    Vote::Ed25519([by; 64])
}

fn founding(seed: u64, transcript: Hash) -> Founding {
    Founding {
        ledger: Ledger {
            iss: ISS.to_owned(),
            broker: parties().broker,
            trust_operator: parties().trust_operator,
        },
        sub: Sub::of_transcript(&transcript),
        account_key: transcript.0,
        parties: parties(),
        transcript,
        votes: [vote(1), vote(2), vote(3)],
        session: seed_of(seed, "session"),
        deadline: Time::from_seconds(FROM_S),
    }
}

fn sealed(transcript: Hash, height: u64, prev: Hash, number: u64) -> Result<Sealed, BlockError> {
    let is_genesis = height == 0;
    let iat = FROM_S + number / 1000;
    let challenge = blake3::hash(&number.to_le_bytes());
    let claims = Claims {
        iss: ISS.to_owned(),
        sub: Sub::of_transcript(&transcript),
        aud: if is_genesis { ISS } else { AUD }.to_owned(),
        iat,
        exp: iat + 90,
        nonce: text_b64(challenge.as_bytes()),
        kind: if is_genesis {
            Kind::Genesis
        } else {
            Kind::Login
        },
        height,
        prev,
        epoch: 0,
        body: (!is_genesis).then(|| Hash(*challenge.as_bytes())),
        supersedes: None,
        genesis: is_genesis.then(|| GenesisClaims {
            account_key: transcript.0,
            parties: parties(),
            transcript,
        }),
    };
    let (assent, endorse, seal) = (vote(1), vote(2), vote(3));
    Ok(Sealed {
        block: Block::new(claims, &transcript.0)?,
        proof: Proof::Account([9; 64]),
        votes: if is_genesis {
            Votes::Genesis {
                assent,
                endorse,
                seal,
                transcript: [assent, endorse, seal],
            }
        } else {
            Votes::Admit {
                assent,
                endorse,
                seal,
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_make_the_same_blocks_and_a_journal_reads_them_back() {
        let (mut one, mut other) = (Blocks::new(7, 3), Blocks::new(7, 3));
        let mut heads = std::collections::HashMap::new();
        for number in 0..12 {
            let (batches, sub, height) = one.next().unwrap();
            assert_eq!((batches.clone(), sub, height), other.next().unwrap());
            assert_eq!(height, number / 3);
            let expected = if height == 0 { 2 } else { 1 };
            assert_eq!(batches.len(), expected);
            for batch in batches {
                let moved = batch.head.unwrap();
                assert_eq!(heads.insert(sub, moved.next), moved.expected);
                wire::decode::<Record, MAX_RECORD>(&batch.entries[0]).unwrap();
            }
        }
        assert_ne!(
            Blocks::new(8, 1).next().unwrap().1,
            Blocks::new(7, 1).next().unwrap().1
        );
        let subs: Vec<Sub> = one.accounts().map(|(sub, _)| sub).collect();
        assert_eq!(subs.len(), 3);
        assert!(subs.iter().all(|sub| heads.contains_key(sub)));
    }
}
