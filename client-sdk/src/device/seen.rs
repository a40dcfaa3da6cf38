//! What this device saw of the ledger's log: the largest checkpoint, in the place of the one before.
//!
//! Broker and trust operator can show one log to this customer and another to an auditor only for as long as nobody
//! remembers. So a device remembers: it refuses a smaller checkpoint, and one that does not grow from the one it saw. Two of
//! one size with two roots are a fork, for good: it approves nothing any more, since the two who would seal were caught, and
//! says so. A proof that does not hold shows less, a broker's rotten disk does that too: it approves nothing until one holds.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::sync::Mutex;
use warifu_consensus::log::{
    Checkpoint, CheckpointError, Digest, Evidence, LogKeys, NoteError, SignedNote,
    verify_consistency,
};
use warifu_consensus::party::Sub;

use crate::{
    runtime::{Keeper, KeeperError},
    store::Store,
};

/// The file that a fork is kept in, in the device's directory.
const EVIDENCE_FILE: &str = "log-evidence.json";

/// The file that two checkpoints are kept in of which nobody showed that one grows from the other.
const UNPROVEN_FILE: &str = "log-unproven.json";

/// What is wrong with a checkpoint that the broker showed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogTrouble {
    /// Not signed by both, or not of this ledger.
    #[error("the broker shows a checkpoint that does not count: {0}")]
    Checkpoint(String),
    /// Smaller than one that was seen: the broker is a restored copy, or hides something.
    #[error("the broker shows a log of {found} blocks, this device saw one of {seen}")]
    Shrunk {
        /// Leaves shown.
        found: u64,
        /// Leaves seen.
        seen: u64,
    },
    /// Another log than the one that was seen: two roots of one size, both signed by both.
    #[error(
        "the ledger's log was forked: what the broker shows at {found} blocks is not what this device saw there"
    )]
    Forked {
        /// Leaves shown and seen.
        found: u64,
    },
    /// A proof of growth that does not hold: another log, or a broker that makes bad proofs.
    #[error(
        "the broker does not show that the log of {found} blocks grows from the one of {seen} that this device saw"
    )]
    Unproven {
        /// Leaves shown.
        found: u64,
        /// Leaves seen.
        seen: u64,
    },
}

/// What became of a checkpoint that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is the largest, or nobody asked for it.
    Done,
    /// Another account's line brought a larger one meanwhile, to which this proof does not lead.
    AskAgain,
}

/// Why nothing is approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// A fork was kept, now or in an earlier run.
    Forked,
    /// The last proof of growth did not hold.
    Unproven,
}

impl From<CheckpointError> for LogTrouble {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(error.to_string())
    }
}

impl From<NoteError> for LogTrouble {
    fn from(error: NoteError) -> Self {
        Self::Checkpoint(error.to_string())
    }
}

/// See the module.
pub(super) struct Seen {
    keys: LogKeys,
    dir: PathBuf,
    last: Mutex<Last>,
    unproven: AtomicBool,
}

#[derive(Default)]
struct Last {
    /// The largest that was seen.
    seen: Option<(Checkpoint, SignedNote)>,
    /// From which size each account's line was asked to prove the log's growth: what its answer begins with.
    asked: HashMap<Sub, u64>,
}

impl Seen {
    /// As it was kept.
    pub(super) fn open<S: Store>(
        keeper: &Keeper<S>,
        dir: &Path,
        keys: LogKeys,
    ) -> Result<Self, KeeperError> {
        let kept = keeper.seen()?;
        let last = kept.and_then(|bytes| {
            let note = SignedNote::parse(&bytes).ok()?;
            let checkpoint = Checkpoint::open(&note, &keys.log).ok()?;
            Some((checkpoint, note))
        });
        Ok(Self {
            keys,
            dir: dir.to_path_buf(),
            last: Mutex::new(Last {
                seen: last,
                asked: HashMap::new(),
            }),
            unproven: AtomicBool::new(false),
        })
    }

    /// The size of the largest that was seen, 0 before any: what an account's broker is asked to prove growth from.
    pub(super) async fn ask(&self, sub: &Sub) -> u64 {
        let mut last = self.last.lock().await;
        let size = last.seen.as_ref().map_or(0, |(seen, _)| seen.size);
        last.asked.insert(*sub, size);
        size
    }

    /// The largest that was seen.
    pub(super) async fn checkpoint(&self) -> Option<Checkpoint> {
        let last = self.last.lock().await;
        last.seen.as_ref().map(|(checkpoint, _)| checkpoint.clone())
    }

    /// Why nothing is approved, if nothing is.
    pub(super) fn stops(&self) -> Option<Stop> {
        if self.dir.join(EVIDENCE_FILE).exists() {
            return Some(Stop::Forked);
        }
        let unproven = self.unproven.load(Ordering::Relaxed);
        unproven.then_some(Stop::Unproven)
    }

    /// Takes a larger checkpoint that an account's broker showed, durably, or says what is wrong with it.
    pub(super) async fn hear<S: Store>(
        &self,
        keeper: &Keeper<S>,
        sub: &Sub,
        proof: &[Digest],
        note: &str,
    ) -> Result<Result<Heard, LogTrouble>, KeeperError> {
        let mut last = self.last.lock().await;
        let Some(asked) = last.asked.remove(sub) else {
            return Ok(Ok(Heard::Done));
        };
        let (checkpoint, note) = match self.read(note) {
            Ok(read) => read,
            Err(trouble) => return Ok(Err(trouble)),
        };
        if let Some((seen, seen_note)) = &last.seen {
            let (found, seen_size) = (checkpoint.size, seen.size);
            if found == seen_size && checkpoint.root != seen.root {
                self.keep(EVIDENCE_FILE, &checkpoint, seen_note, &note);
                return Ok(Err(LogTrouble::Forked { found }));
            }
            if asked != seen_size {
                return Ok(Ok(Heard::AskAgain));
            }
            if found < seen_size {
                return Ok(Err(LogTrouble::Shrunk {
                    found,
                    seen: seen_size,
                }));
            }
            if verify_consistency(seen_size, found, proof, &seen.root, &checkpoint.root).is_err() {
                self.unproven.store(true, Ordering::Relaxed);
                self.keep(UNPROVEN_FILE, &checkpoint, seen_note, &note);
                let seen = seen_size;
                return Ok(Err(LogTrouble::Unproven { found, seen }));
            }
            self.unproven.store(false, Ordering::Relaxed);
            if found == seen_size {
                return Ok(Ok(Heard::Done));
            }
        }
        keeper.keep_seen(note.to_string().as_bytes()).await?;
        last.seen = Some((checkpoint, note));
        Ok(Ok(Heard::Done))
    }

    fn read(&self, note: &str) -> Result<(Checkpoint, SignedNote), LogTrouble> {
        let note = SignedNote::parse(note.as_bytes())?;
        let checkpoint = Checkpoint::open(&note, &self.keys.log)?;
        Checkpoint::cosigned(&note, &self.keys.witness)?;
        Ok((checkpoint, note))
    }

    /// Both notes, for whoever judges; of one size they show the fork by themselves. What is kept already stays.
    fn keep(&self, name: &str, second: &Checkpoint, seen: &SignedNote, shown: &SignedNote) {
        let path = self.dir.join(name);
        if path.exists() {
            return;
        }
        let evidence = Evidence {
            log: self.keys.log.clone(),
            witness: self.keys.witness.clone(),
            first: seen.clone(),
            second: shown.clone(),
            begins: second.root,
            proof: Vec::new(),
        };
        let kept = evidence
            .to_text()
            .map_err(|error| error.to_string())
            .and_then(|text| std::fs::write(&path, text).map_err(|e| e.to_string()));
        if let Err(error) = kept {
            tracing::error!(%error, file = %path.display(), "two checkpoints were not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use warifu_consensus::log::{Algorithm, Frontier, LogKey, Node, consistency, leaf_hash};

    use super::*;
    use crate::store::{JournalOptions, JournalStore, MasterKey, MemoryIndex, Vault};

    type Kept = Keeper<JournalStore<MemoryIndex>>;

    fn key(seed: u8, name: &str, algorithm: Algorithm) -> LogKey {
        LogKey::from_seed([seed; 32], name, algorithm).unwrap()
    }

    fn keys() -> (LogKey, LogKey) {
        (
            key(1, "log.example", Algorithm::Ed25519),
            key(2, "witness.example", Algorithm::Cosignature),
        )
    }

    /// A log of so many leaves, all of one kind: the note over it, and its proof from an older size.
    fn log(kind: u8, size: u64, from: u64) -> (String, Vec<Digest>) {
        let mut nodes = HashMap::new();
        let mut tree = Frontier::new();
        for number in 0..size {
            let mut leaf = [kind; 9];
            leaf[..8].copy_from_slice(&number.to_be_bytes());
            tree.push(leaf_hash(&leaf), |node, hash| {
                nodes.insert(node, *hash);
            });
        }
        let read = |node: Node| Ok::<_, warifu_consensus::log::TreeError>(nodes[&node]);
        let proof = consistency(from, size, read).unwrap();
        let checkpoint = Checkpoint {
            origin: "log.example".to_owned(),
            size,
            root: tree.root(),
        };
        let (log, witness) = keys();
        let mut note = checkpoint.signed(&log);
        note.sign(&witness, 5);
        (note.to_string(), proof)
    }

    struct Device {
        dir: tempfile::TempDir,
        keeper: Kept,
        seen: Seen,
    }

    const FIRST: Sub = Sub([1; 16]);
    const SECOND: Sub = Sub([2; 16]);

    impl Device {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let options = JournalOptions {
                reserve_bytes: 0,
                ..JournalOptions::new("https://ledger.example", 1)
            };
            let index = || Ok(MemoryIndex::default());
            let store = JournalStore::open(dir.path(), options, index, &mut |_, _| {}).unwrap();
            let master = MasterKey::from_bytes(zeroize::Zeroizing::new([1; 32]));
            let vault = Vault::open(&dir.path().join("vault"), &master, "https://ledger.example");
            let keeper = Keeper::new(Arc::new(store), Arc::new(vault.unwrap()));
            let (log, witness) = keys();
            let keys = LogKeys {
                log: log.public().clone(),
                witness: witness.public().clone(),
            };
            let seen = Seen::open(&keeper, dir.path(), keys).unwrap();
            Self { dir, keeper, seen }
        }

        async fn hears(
            &self,
            sub: &Sub,
            (note, proof): (String, Vec<Digest>),
        ) -> Result<Heard, LogTrouble> {
            let heard = self.seen.hear(&self.keeper, sub, &proof, &note).await;
            heard.unwrap()
        }

        async fn size(&self) -> u64 {
            self.seen.checkpoint().await.unwrap().size
        }
    }

    #[tokio::test]
    async fn two_accounts_that_ask_at_once_raise_no_alarm() {
        let device = Device::new();
        assert_eq!(device.seen.ask(&FIRST).await, 0);
        assert_eq!(device.seen.ask(&SECOND).await, 0);
        assert_eq!(device.hears(&FIRST, log(1, 7, 0)).await, Ok(Heard::Done));
        // The log grew between both answers.
        let answer = device.hears(&SECOND, log(1, 9, 0)).await;
        assert_eq!(answer, Ok(Heard::AskAgain));
        assert_eq!(device.seen.ask(&SECOND).await, 7);
        assert_eq!(device.hears(&SECOND, log(1, 9, 7)).await, Ok(Heard::Done));
        // And where it did not.
        for sub in [&FIRST, &SECOND] {
            assert_eq!(device.seen.ask(sub).await, 9);
        }
        assert_eq!(device.hears(&FIRST, log(1, 12, 9)).await, Ok(Heard::Done));
        let answer = device.hears(&SECOND, log(1, 12, 9)).await;
        assert_eq!(answer, Ok(Heard::AskAgain));
        // The second is asked, and answered, before the first: a smaller one is no shrinking log.
        assert_eq!(device.seen.ask(&SECOND).await, 12);
        assert_eq!(device.seen.ask(&FIRST).await, 12);
        assert_eq!(device.hears(&SECOND, log(1, 15, 12)).await, Ok(Heard::Done));
        let answer = device.hears(&FIRST, log(1, 14, 12)).await;
        assert_eq!(answer, Ok(Heard::AskAgain));
        assert_eq!(device.size().await, 15);
        assert_eq!(device.seen.stops(), None);
    }

    #[tokio::test]
    async fn a_proof_that_does_not_hold_stops_until_one_does() {
        let device = Device::new();
        device.seen.ask(&FIRST).await;
        assert_eq!(device.hears(&FIRST, log(1, 7, 0)).await, Ok(Heard::Done));
        device.seen.ask(&FIRST).await;
        let (note, mut proof) = log(1, 9, 7);
        proof[0][3] ^= 1;
        let unproven = LogTrouble::Unproven { found: 9, seen: 7 };
        assert_eq!(device.hears(&FIRST, (note, proof)).await, Err(unproven));
        assert_eq!(device.seen.stops(), Some(Stop::Unproven));
        assert_eq!(device.size().await, 7, "it is not taken");
        assert!(!device.dir.path().join(EVIDENCE_FILE).exists());
        // What nobody asked for changes nothing.
        assert_eq!(device.hears(&FIRST, log(2, 9, 7)).await, Ok(Heard::Done));
        device.seen.ask(&FIRST).await;
        assert_eq!(device.hears(&FIRST, log(1, 9, 7)).await, Ok(Heard::Done));
        assert_eq!(device.seen.stops(), None);
    }

    #[tokio::test]
    async fn two_roots_of_one_size_are_a_fork_for_good_and_judge_themselves() {
        let device = Device::new();
        device.seen.ask(&FIRST).await;
        assert_eq!(device.hears(&FIRST, log(1, 7, 0)).await, Ok(Heard::Done));
        device.seen.ask(&FIRST).await;
        let shrunk = LogTrouble::Shrunk { found: 6, seen: 7 };
        assert_eq!(device.hears(&FIRST, log(1, 6, 0)).await, Err(shrunk));
        device.seen.ask(&FIRST).await;
        let forked = LogTrouble::Forked { found: 7 };
        assert_eq!(device.hears(&FIRST, log(2, 7, 7)).await, Err(forked));
        device.seen.ask(&FIRST).await;
        assert_eq!(device.hears(&FIRST, log(1, 9, 7)).await, Ok(Heard::Done));
        assert_eq!(device.seen.stops(), Some(Stop::Forked));
        let text = std::fs::read_to_string(device.dir.path().join(EVIDENCE_FILE)).unwrap();
        let fork = Evidence::from_text(&text).unwrap().judge().unwrap();
        assert_eq!((fork.size, fork.witness_too), (7, true));
    }
}
