//! A device and a broker that lies to it, on a real vault and a real disk.

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

fn master() -> MasterKey {
    MasterKey::from_bytes(zeroize::Zeroizing::new([1; 32]))
}

fn pinned() -> LogKeys {
    let (log, witness) = keys();
    LogKeys {
        log: log.public().clone(),
        witness: witness.public().clone(),
    }
}

impl Device {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = JournalOptions {
            reserve_bytes: 0,
            ..JournalOptions::new("https://ledger.example", 1)
        };
        let index = || Ok(MemoryIndex::default());
        let store = JournalStore::open(dir.path(), options, index, &mut |_, _| {}).unwrap();
        let vault = dir.path().join("vault");
        let vault = Vault::open(&vault, &master(), "https://ledger.example").unwrap();
        let keeper = Keeper::new(Arc::new(store), Arc::new(vault));
        let seen = Seen::open(&keeper, dir.path(), pinned()).unwrap();
        Self { dir, keeper, seen }
    }

    /// As after a start.
    fn again(self) -> Self {
        let seen = Seen::open(&self.keeper, self.dir.path(), pinned()).unwrap();
        Self { seen, ..self }
    }

    /// A device that saw a log of seven leaves.
    async fn of_seven() -> Self {
        let device = Self::new();
        device.asks_and_hears(log(1, 7, 0)).await.unwrap();
        device
    }

    async fn asks_and_hears(&self, said: (String, Vec<Digest>)) -> Result<Heard, LogTrouble> {
        self.seen.ask(&FIRST).await;
        self.hears(&FIRST, said).await
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Nothing can be written under this name, not even by root.
    fn obstruct(&self, name: &str) -> PathBuf {
        let obstacle = self.file(name).with_extension("tmp");
        std::fs::create_dir(&obstacle).unwrap();
        obstacle
    }

    fn judged(&self) -> warifu_consensus::log::Fork {
        let text = std::fs::read_to_string(self.file(EVIDENCE_FILE)).unwrap();
        Evidence::from_text(&text).unwrap().judge().unwrap()
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

const FORKED: Result<Heard, LogTrouble> = Err(LogTrouble::Forked { found: 7 });

/// What a broker adds under a name of its own.
fn padded((note, proof): (String, Vec<Digest>)) -> (String, Vec<Digest>) {
    let junk = "junk".repeat(12_000);
    (format!("{note}\u{2014} junk.example {junk}\n"), proof)
}

#[tokio::test]
async fn a_fork_stops_though_its_file_can_t_be_written_which_is_owed() {
    let device = Device::of_seven().await;
    let obstacle = device.obstruct(EVIDENCE_FILE);
    assert_eq!(device.asks_and_hears(log(2, 7, 7)).await, FORKED);
    assert!(!device.file(EVIDENCE_FILE).exists(), "the disk is full");
    assert_eq!(device.seen.stops(), Some(Stop::Forked));
    // The broker shows the honest log from now on, and the disk is written to again.
    std::fs::remove_dir(obstacle).unwrap();
    let heard = device.asks_and_hears(log(1, 9, 7)).await;
    assert_eq!(heard, Ok(Heard::Done));
    assert_eq!(device.judged().size, 7);
    assert_eq!(device.again().seen.stops(), Some(Stop::Forked));
}

#[tokio::test]
async fn what_a_proof_that_did_not_hold_stopped_stands_after_a_start_until_one_holds() {
    for is_written in [true, false] {
        let mut device = Device::of_seven().await;
        if !is_written {
            device.obstruct(UNPROVEN_FILE);
        }
        let unproven = Err(LogTrouble::Unproven { found: 9, seen: 7 });
        assert_eq!(device.asks_and_hears(log(2, 9, 7)).await, unproven);
        assert_eq!(device.seen.stops(), Some(Stop::Unproven));
        assert_eq!(device.file(UNPROVEN_FILE).exists(), is_written);
        if is_written {
            device = device.again();
            assert_eq!(device.seen.stops(), Some(Stop::Unproven));
        }
        let heard = device.asks_and_hears(log(1, 9, 7)).await;
        assert_eq!(heard, Ok(Heard::Done));
        assert_eq!(device.seen.stops(), None);
        assert!(!device.file(UNPROVEN_FILE).exists());
        assert_eq!(device.again().seen.stops(), None, "nor after a start");
    }
}

#[tokio::test]
async fn a_stop_is_not_lifted_while_its_file_can_t_be_removed() {
    let device = Device::of_seven().await;
    let file = device.file(UNPROVEN_FILE);
    std::fs::create_dir_all(file.join("in the way")).unwrap();
    let device = device.again();
    device.seen.ask(&FIRST).await;
    let (note, proof) = log(1, 9, 7);
    let heard = device.seen.hear(&device.keeper, &FIRST, &proof, &note);
    assert!(matches!(heard.await, Err(KeeperError::Store(_))));
    assert_eq!(device.seen.stops(), Some(Stop::Unproven));
    assert_eq!(device.size().await, 7);
}

#[tokio::test]
async fn notes_that_a_broker_pads_judge_themselves_all_the_same() {
    let device = Device::new();
    let seen = padded(log(1, 7, 0));
    device.asks_and_hears(seen).await.unwrap();
    let kept = device.keeper.seen().unwrap().unwrap();
    assert_eq!(String::from_utf8(kept).unwrap(), log(1, 7, 0).0);
    // A file that no judge can read is none, wherever it comes from.
    std::fs::write(device.file(EVIDENCE_FILE), "{}").unwrap();
    let shown = padded(log(2, 7, 7));
    assert_eq!(device.asks_and_hears(shown).await, FORKED);
    assert_eq!(device.judged().size, 7);
    // One that judges itself stays.
    let before = std::fs::read(device.file(EVIDENCE_FILE)).unwrap();
    assert_eq!(device.asks_and_hears(log(3, 7, 7)).await, FORKED);
    assert_eq!(std::fs::read(device.file(EVIDENCE_FILE)).unwrap(), before);
}

#[tokio::test]
async fn what_is_remembered_under_other_keys_is_not_forgotten() {
    let device = Device::of_seven().await;
    let other = key(9, "log.example", Algorithm::Ed25519);
    let of_log = LogKeys {
        log: other.public().clone(),
        ..pinned()
    };
    let other = key(9, "witness.example", Algorithm::Cosignature);
    let of_witness = LogKeys {
        witness: other.public().clone(),
        ..pinned()
    };
    for (keys, named) in [(of_log, "log.example"), (of_witness, "witness.example")] {
        let opened = Seen::open(&device.keeper, device.dir.path(), keys);
        let error = opened.err().expect("it is no first start").to_string();
        let vault = device.file("vault");
        let named = format!("no signature of {named}; expected both signatures");
        assert!(error.contains(&named), "{error}");
        assert!(error.contains(vault.to_str().unwrap()), "{error}");
    }
    assert_eq!(device.again().size().await, 7, "nothing was changed");
}

#[tokio::test]
async fn a_device_approves_nothing_of_a_forked_log_whatever_its_disk_takes() {
    use warifu_consensus::{encoding::Hash, party::Ledger, time::Time};

    use crate::device::{Device as Whole, DeviceError, DeviceOptions};

    let dir = tempfile::tempdir().unwrap();
    let device = Whole::start(DeviceOptions {
        dir: dir.path().to_path_buf(),
        master_key: master(),
        ledger: Ledger {
            iss: "https://ledger.example".to_owned(),
            broker: [3; 32],
            trust_operator: [4; 32],
        },
        log_keys: pinned(),
        clock: Arc::new(|| Time::from_seconds(1_780_000_500)),
        signing: tokio::runtime::Handle::current(),
        limits: crate::transport::Limits::default(),
    });
    let device = device.await.unwrap();
    let approves = async || device.approve(Hash([8; 32]), 12).await.unwrap_err();
    assert!(matches!(approves().await, DeviceError::NoProposal { .. }));
    // Neither the file nor what becomes it can be written.
    std::fs::create_dir(dir.path().join("log-evidence.tmp")).unwrap();
    let nowhere = dir.path().join("no/where");
    std::os::unix::fs::symlink(nowhere, dir.path().join(EVIDENCE_FILE)).unwrap();
    let (seen, keeper) = (&device.inner.seen, &device.inner.keeper);
    for (kind, from) in [(1, 0), (2, 7)] {
        seen.ask(&FIRST).await;
        let (note, proof) = log(kind, 7, from);
        drop(seen.hear(keeper, &FIRST, &proof, &note).await.unwrap());
    }
    assert!(matches!(approves().await, DeviceError::Forked));
}
