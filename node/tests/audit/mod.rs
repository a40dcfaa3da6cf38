//! Audits find what was changed, and say where.

mod bundles;
mod directory;
mod following;
mod receipts;
mod served;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;
use warifu_client_sdk::{
    runtime::{Keeper, Secrets},
    store::{Batch, HeadMove, JournalOptions, MasterKey, Place, Store, StreamId, Vault},
};
use warifu_consensus::{
    agree::Record,
    block::{Kind, Sealed},
    body::ContentKey,
    log::{Algorithm, Leaf, LogKey, LogKeys, Opener},
    party::{Ledger, Sub},
    wire,
};
use warifu_node::{
    log::{
        LogBook,
        audit::{ACCOUNTS_AT_ONCE, Audited, DirectoryAudit, Mode},
    },
    store::NodeStore,
};
use zeroize::Zeroizing;

use crate::cli::house::{House, ISS};

const NOW: u64 = 1_790_000_500;

fn log_key() -> LogKey {
    LogKey::from_seed([21; 32], "log.example", Algorithm::Ed25519).unwrap()
}

fn witness_key() -> LogKey {
    LogKey::from_seed([22; 32], "witness.example", Algorithm::Cosignature).unwrap()
}

fn keys() -> LogKeys {
    LogKeys {
        log: log_key().public().clone(),
        witness: witness_key().public().clone(),
    }
}

fn master() -> MasterKey {
    MasterKey::from_bytes(Zeroizing::new([5; 32]))
}

fn opener(sub: &Sub) -> Opener {
    Opener::of(&ContentKey::from_bytes([sub.0[0]; 32]), sub)
}

/// An operator's data directory as its node leaves it.
struct Kept {
    dir: TempDir,
    role: u8,
}

/// The same, with its stores open.
struct Open {
    keeper: Keeper<NodeStore>,
    book: LogBook<NodeStore>,
    role: u8,
}

impl Kept {
    fn new(role: u8) -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            role,
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn open(&self) -> Open {
        let options = JournalOptions {
            reserve_bytes: 0,
            segment_bytes: 20_000,
            ..JournalOptions::new(ISS, self.role)
        };
        let store = warifu_node::store::open(&self.data(), options, &mut |_, _| {}).unwrap();
        let vault = Vault::open(&self.data().join("vault"), &master(), ISS).unwrap();
        let keeper = Keeper::new(Arc::new(store), Arc::new(vault));
        let log = self.data().join("log");
        let book = LogBook::open(keeper.clone(), &log, keys(), &mut |_, _| {}).unwrap();
        Open {
            keeper,
            book,
            role: self.role,
        }
    }

    fn audit(&self, mode: Mode) -> Audited {
        audit(&self.data(), mode)
    }
}

fn ledger() -> Ledger {
    House::new(1).ledger()
}

/// In one pass, and in one for an account or a few each: both find the same.
fn audit(data: &Path, mode: Mode) -> Audited {
    let audited = audit_at_once(data, mode, ACCOUNTS_AT_ONCE);
    let mut singly = audit_at_once(data, mode, 1);
    let files = |audited: &Audited| {
        let faults = audited.faults.iter();
        faults.map(|fault| fault.file.clone()).collect::<Vec<_>>()
    };
    assert_eq!(files(&audited), files(&singly), "{audited:?} {singly:?}");
    if audited.faults.is_empty() {
        assert!(singly.passes > 1 || audited.accounts < 3, "{singly:?}");
        singly.passes = audited.passes;
        assert_eq!(audited, singly);
    }
    audited
}

fn audit_at_once(data: &Path, mode: Mode, accounts_at_once: usize) -> Audited {
    auditor(data, mode, accounts_at_once).run(&mut |_, _, _| {})
}

fn auditor(data: &Path, mode: Mode, accounts_at_once: usize) -> DirectoryAudit {
    DirectoryAudit {
        data: data.to_path_buf(),
        ledger: ledger(),
        keys: keys(),
        master_key: Some(master()),
        mode,
        threads: 2,
        accounts_at_once,
    }
}

impl Open {
    /// Gives the account what its leaves are opened with, as an operator of this role has it.
    async fn knows(&self, sub: &Sub) {
        if self.role == 3 {
            self.keeper.keep_opener(sub, &opener(sub)).await.unwrap();
            return;
        }
        let secrets = Secrets {
            share: None,
            content_key: Some(ContentKey::from_bytes([sub.0[0]; 32])),
            identity: None,
        };
        self.keeper.keep_secrets(sub, &secrets).await.unwrap();
    }

    /// Makes a block durable.
    async fn seal(&self, sealed: &Sealed) {
        let claims = sealed.block.claims();
        let batch = |expected, next, record: &Record| Batch {
            stream: StreamId(claims.sub.0),
            head: Some(HeadMove { expected, next }),
            entries: vec![wire::encode::<Record, 100_000>(record).unwrap()],
            may_wait: false,
        };
        let store = self.keeper.store();
        if claims.height == 0 {
            let first = batch(None, [0; 32], &Record::Settled);
            store.append(first).await.unwrap();
        }
        let record = Record::Sealed(Box::new(sealed.clone()));
        let next = sealed.block.hash().0;
        store
            .append(batch(Some(claims.prev.0), next, &record))
            .await
            .unwrap();
    }

    /// Makes these leaves the log's next ones, under both signatures.
    async fn grow(&self, leaves: Vec<Leaf>, blocks: Vec<(Sub, u64)>, through: Place) {
        let sign = |checkpoint: &warifu_consensus::log::Checkpoint| {
            let mut note = checkpoint.signed(&log_key());
            note.sign(&witness_key(), NOW);
            Ok(Some(note))
        };
        self.book
            .grow(leaves, blocks, (through, 0), sign)
            .await
            .unwrap();
    }

    /// Logs blocks that were made durable.
    async fn log(&self, sealed: &[Sealed]) {
        let leaf = |s: &Sealed| opener(&s.block.claims().sub).leaf(&s.block.hash());
        let name = |s: &Sealed| (s.block.claims().sub, s.block.claims().height);
        let leaves = sealed.iter().map(leaf).collect();
        let (_, through) = self.keeper.sealed_after(Place::START, 100_000).unwrap();
        self.grow(leaves, sealed.iter().map(name).collect(), through)
            .await;
    }
}

/// Chains of some accounts: genesis, logins, a denial, a freeze.
fn chains(accounts: u8) -> Vec<Vec<Sealed>> {
    let kinds = [Kind::Login, Kind::Login, Kind::Deny, Kind::Freeze];
    (1..=accounts)
        .map(|number| House::new(number).chain(&kinds))
        .collect()
}

/// A directory with these chains, logged in two batches; one more block of the first is younger than the log.
async fn kept(role: u8, accounts: u8) -> (Kept, Vec<Vec<Sealed>>) {
    let kept = Kept::new(role);
    let open = kept.open();
    let chains = chains(accounts);
    for part in [0..2, 2..4] {
        let mut logged = Vec::new();
        for chain in &chains {
            if part.start == 0 {
                open.knows(&chain[0].block.claims().sub).await;
            }
            for sealed in &chain[part.clone()] {
                open.seal(sealed).await;
                logged.push(sealed.clone());
            }
        }
        open.log(&logged).await;
    }
    open.seal(&chains[0][4]).await;
    (kept, chains)
}
