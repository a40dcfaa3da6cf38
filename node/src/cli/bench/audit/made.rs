//! A broker's data directory with accounts whose keys are all known.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use ed25519_dalek::{Signature, VerifyingKey};
use warifu_client_sdk::{
    runtime::{Keeper, Secrets},
    store::{Batch, HeadMove, JournalOptions, MasterKey, Place, Store, StreamId, Vault},
};
use warifu_consensus::{
    agree::Record,
    block::{Block, Claims, GenesisClaims, Kind, Proof, Sealed, Votes},
    body::ContentKey,
    chain::Account,
    encoding::{Hash, text_b64},
    log::{Algorithm, Leaf, LogKey, LogKeys, Opener},
    party::{Ledger, Parties, Role, Sub},
    signature::{BadSignature, IdentityKey, verify_strict},
    vote::{Statement, Verb, Vote},
    wire,
};
use zeroize::Zeroizing;

use super::bug;
use crate::{
    config::render_ledger,
    export::MAX_ENTRY,
    log::LogBook,
    output::{Exit, Failure},
    secrets, store,
};

const ISS: &str = "https://bench.example";
const IAT: u64 = 1_790_000_000;
const MASTER: [u8; 32] = [77; 32];
/// Batches of the journal that share a sync.
const AT_ONCE: usize = 1000;

/// A signature as it is timed alone, its key's point ready.
pub(super) struct Signed {
    pub(super) key: VerifyingKey,
    pub(super) message: Vec<u8>,
    pub(super) signature: Signature,
}

/// What was made.
pub(super) struct Made {
    pub(super) data: PathBuf,
    pub(super) ledger: Ledger,
    pub(super) keys: LogKeys,
    pub(super) blocks: u64,
    pub(super) signed: Vec<Signed>,
}

impl Made {
    pub(super) fn master_key(&self) -> MasterKey {
        MasterKey::from_bytes(Zeroizing::new(MASTER))
    }
}

/// The keys of one account.
struct Keys {
    device: IdentityKey,
    broker: IdentityKey,
    trust_operator: IdentityKey,
    account: IdentityKey,
    transcript: Hash,
}

fn seed(what: u8, number: u32) -> [u8; 32] {
    *blake3::Hasher::new()
        .update(&[what])
        .update(&number.to_be_bytes())
        .finalize()
        .as_bytes()
}

impl Keys {
    fn of(number: u32) -> Keys {
        let key = |what, number| IdentityKey::from_seed(seed(what, number));
        Keys {
            device: key(1, number),
            broker: key(2, 0),
            trust_operator: key(3, 0),
            account: key(4, number),
            transcript: Hash(seed(5, number)),
        }
    }

    fn ledger(&self) -> Ledger {
        Ledger {
            iss: ISS.to_owned(),
            broker: self.broker.public(),
            trust_operator: self.trust_operator.public(),
        }
    }

    fn sub(&self) -> Sub {
        Sub::of_transcript(&self.transcript)
    }

    fn vote(&self, verb: Verb, role: Role, hash: Hash) -> Vote {
        let key = match role {
            Role::Device => &self.device,
            Role::Broker => &self.broker,
            Role::TrustOperator => &self.trust_operator,
        };
        let sub = self.sub();
        let statement = Statement {
            verb,
            role,
            sub,
            hash,
        };
        Vote::sign(key, &statement)
    }

    /// The block at a height: genesis, then logins.
    fn seal(&self, height: u64, prev: Hash) -> Result<Sealed, Failure> {
        let kind = if height == 0 {
            Kind::Genesis
        } else {
            Kind::Login
        };
        let parties = Parties {
            device: self.device.public(),
            broker: self.broker.public(),
            trust_operator: self.trust_operator.public(),
        };
        let claims = Claims {
            iss: ISS.to_owned(),
            sub: self.sub(),
            aud: if height == 0 {
                ISS
            } else {
                "https://bank.example"
            }
            .to_owned(),
            iat: IAT.saturating_add(height),
            exp: IAT.saturating_add(height).saturating_add(90),
            nonce: text_b64(&seed(6, u32::try_from(height).unwrap_or(0))),
            kind,
            height,
            prev,
            epoch: 0,
            body: (height > 0).then(|| Hash(seed(7, 0))),
            supersedes: None,
            genesis: (height == 0).then(|| GenesisClaims {
                account_key: self.account.public(),
                parties,
                transcript: self.transcript,
            }),
        };
        let block = Block::new(claims, &self.account.public()).map_err(bug)?;
        let hash = block.hash();
        let assent = self.vote(Verb::Assent, Role::Device, hash);
        let endorse = self.vote(Verb::Endorse, Role::Broker, hash);
        let seal = self.vote(Verb::Seal, Role::TrustOperator, hash);
        let transcript = |role| self.vote(Verb::Transcript, role, self.transcript);
        let votes = if height == 0 {
            Votes::Genesis {
                assent,
                endorse,
                seal,
                transcript: Role::ALL.map(transcript),
            }
        } else {
            Votes::Admit {
                assent,
                endorse,
                seal,
            }
        };
        let proof = Proof::Account(self.account.sign(block.input().as_bytes()));
        Ok(Sealed {
            block,
            proof,
            votes,
        })
    }
}

fn record(record: &Record) -> Result<Vec<u8>, Failure> {
    wire::encode::<Record, MAX_ENTRY>(record).map_err(bug)
}

/// Makes the directory, and gathers every signature in it.
pub(super) async fn make(dir: &Path, accounts: u32, blocks: u32) -> Result<Made, Failure> {
    let data = dir.join("data");
    if data.exists() {
        let text = format!("{} is there already, expected nothing", data.display());
        return Err(Failure::new(Exit::Usage, text));
    }
    let log =
        LogKey::from_seed(seed(8, 0), "bench.example/log", Algorithm::Ed25519).map_err(bug)?;
    let witness = LogKey::from_seed(seed(9, 0), "bench.example/witness", Algorithm::Cosignature);
    let witness = witness.map_err(bug)?;
    let keys = LogKeys {
        log: log.public().clone(),
        witness: witness.public().clone(),
    };
    let ledger = Keys::of(0).ledger();
    let options = JournalOptions {
        reserve_bytes: 0,
        ..JournalOptions::new(ISS, Role::Broker.number())
    };
    let store = Arc::new(store::open(&data, options, &mut |_, _| {}).map_err(bug)?);
    let master = MasterKey::from_bytes(Zeroizing::new(MASTER));
    let vault = Vault::open(&data.join("vault"), &master, ISS).map_err(bug)?;
    let keeper = Keeper::new(Arc::clone(&store), Arc::new(vault));
    let log_dir = data.join("log");
    let book =
        LogBook::open(keeper.clone(), &log_dir, keys.clone(), &mut |_, _| {}).map_err(bug)?;
    let mut made = Made {
        data: data.clone(),
        ledger: ledger.clone(),
        keys: keys.clone(),
        blocks: 0,
        signed: Vec::new(),
    };
    let mut leaves: Vec<(Leaf, (Sub, u64))> = Vec::new();
    let mut batches = Vec::new();
    for number in 0..accounts {
        let house = Keys::of(number);
        let sub = house.sub();
        let content_key = ContentKey::from_bytes(seed(10, number));
        let opener = Opener::of(&content_key, &sub);
        let secrets = Secrets {
            share: None,
            content_key: Some(content_key),
            identity: None,
        };
        keeper.keep_secrets(&sub, &secrets).await.map_err(bug)?;
        let (mut prev, mut account) = (Hash::ZERO, None::<Account>);
        batches.push(batch(sub, None, Hash::ZERO, &Record::Settled)?);
        for height in 0..=u64::from(blocks) {
            let sealed = house.seal(height, prev)?;
            gather(&ledger, &mut account, &sealed, &mut made.signed)?;
            let hash = sealed.block.hash();
            leaves.push((opener.leaf(&hash), (sub, height)));
            let sealed = Record::Sealed(Box::new(sealed));
            batches.push(batch(sub, Some(prev), hash, &sealed)?);
            prev = hash;
            made.blocks += 1;
            if batches.len() >= AT_ONCE {
                let written = store.append_all(std::mem::take(&mut batches));
                written.await.map_err(bug)?;
                // As in a node: leaves follow their blocks soon.
                grow(&book, std::mem::take(&mut leaves), [&log, &witness]).await?;
            }
        }
    }
    store.append_all(batches).await.map_err(bug)?;
    grow(&book, leaves, [&log, &witness]).await?;
    fs::write(dir.join("ledger.toml"), render_ledger(&ledger, &keys)).map_err(bug)?;
    secrets::replace(&dir.join("master-key"), &MASTER, 0o600).map_err(bug)?;
    Ok(made)
}

fn batch(sub: Sub, expected: Option<Hash>, next: Hash, entry: &Record) -> Result<Batch, Failure> {
    Ok(Batch {
        stream: StreamId(sub.0),
        head: Some(HeadMove {
            expected: expected.map(|hash| hash.0),
            next: next.0,
        }),
        entries: vec![record(entry)?],
        may_wait: false,
    })
}

/// Folds a block as an auditor does, and keeps each signature that is met.
fn gather(
    ledger: &Ledger,
    account: &mut Option<Account>,
    sealed: &Sealed,
    signed: &mut Vec<Signed>,
) -> Result<(), Failure> {
    let mut verify = |public: &[u8; 32], message: &[u8], signature: &[u8; 64]| {
        verify_strict(public, message, signature)?;
        signed.push(Signed {
            key: VerifyingKey::from_bytes(public).map_err(|_| BadSignature)?,
            message: message.to_vec(),
            signature: Signature::from_bytes(signature),
        });
        Ok(())
    };
    match account {
        Some(account) => account.next_by(sealed, &mut verify).map_err(bug),
        None => {
            let opened = Account::open_by(ledger, sealed, &mut verify);
            *account = Some(opened.map_err(bug)?);
            Ok(())
        }
    }
}

/// Logs blocks, and publishes the checkpoint under both signatures.
async fn grow(
    book: &LogBook<store::NodeStore>,
    logged: Vec<(Leaf, (Sub, u64))>,
    [log, witness]: [&LogKey; 2],
) -> Result<(), Failure> {
    if logged.is_empty() {
        return Ok(());
    }
    let (leaves, blocks) = logged.into_iter().unzip();
    let grown = book.grow(leaves, blocks, (Place::START, 0), |checkpoint| {
        let mut note = checkpoint.signed(log);
        note.sign(witness, IAT);
        Ok(Some(note))
    });
    grown.await.map_err(bug)
}
