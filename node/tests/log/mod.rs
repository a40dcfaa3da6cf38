//! The log of two operators, without a network: real journals and vaults, and what they say to each other handed over.

mod http;
mod padded;
mod public;
mod restored;
mod wrong;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use warifu_client_sdk::{
    runtime::Keeper,
    store::{Batch, HeadMove, JournalOptions, MasterKey, Store, StreamId, Vault},
};
use warifu_consensus::{
    agree::Record,
    block::{Block, Claims, GenesisClaims, Kind, Proof, Sealed, Votes},
    body::ContentKey,
    encoding::{Hash, text_b64},
    log::{Algorithm, Checkpoint, LogKey, LogKeys, LogMessage, LogProof, Opener},
    party::{Parties, Sub},
    time::Time,
    wire,
};
use warifu_node::{
    log::{LogBook, LogError, LogEvent, LogParts, Sequencer, Unlogged, Witness},
    store::NodeStore,
};
use zeroize::Zeroizing;

const ORIGIN: &str = "log.example";
const WITNESS: &str = "witness.example";
const PATIENCE: Duration = Duration::from_secs(20);

fn log_key() -> LogKey {
    LogKey::from_seed([21; 32], ORIGIN, Algorithm::Ed25519).unwrap()
}

fn witness_key() -> LogKey {
    LogKey::from_seed([22; 32], WITNESS, Algorithm::Cosignature).unwrap()
}

pub(crate) fn keys() -> LogKeys {
    LogKeys {
        log: log_key().public().clone(),
        witness: witness_key().public().clone(),
    }
}

fn content_key(sub: &Sub) -> ContentKey {
    ContentKey::from_bytes([sub.0[0]; 32])
}

fn account(number: u8) -> Sub {
    Sub([number; 16])
}

/// The proof of a block that is the first and only one of a log.
pub(crate) fn proof_of(block: &Hash) -> LogProof {
    let opening = Opener::from_bytes([6; 32]).opening(block);
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: 1,
        root: warifu_consensus::log::leaf_hash(&opening.leaf(block).0),
    };
    let mut note = checkpoint.signed(&log_key());
    note.sign(&witness_key(), 1_780_000_500);
    LogProof {
        opening,
        index: 0,
        path: Vec::new(),
        checkpoint: note,
    }
}

/// A block that could be the next of an account; nobody has to have signed it for the log.
fn block(sub: Sub, height: u64, prev: Hash) -> Sealed {
    let claims = Claims {
        iss: "https://ledger.example".to_owned(),
        sub,
        aud: "https://ledger.example".to_owned(),
        iat: 1_780_000_000 + height,
        exp: 1_780_000_090 + height,
        nonce: text_b64(&[7; 32]),
        kind: if height == 0 {
            Kind::Genesis
        } else {
            Kind::Freeze
        },
        height,
        prev,
        epoch: 0,
        body: None,
        supersedes: None,
        genesis: (height == 0).then_some(GenesisClaims {
            account_key: [1; 32],
            parties: Parties {
                device: [2; 32],
                broker: [3; 32],
                trust_operator: [4; 32],
            },
            transcript: Hash([5; 32]),
        }),
    };
    Sealed {
        block: Block::new(claims, &[1; 32]).unwrap(),
        proof: Proof::Operators {
            broker: [0; 64],
            trust_operator: [0; 64],
        },
        votes: Votes::Restrict { word: None },
    }
}

/// One operator's directory.
struct Side {
    role: u8,
    dir: PathBuf,
}

/// A side that is up.
struct Up {
    keeper: Keeper<NodeStore>,
    book: Arc<LogBook<NodeStore>>,
    events: mpsc::Sender<LogEvent>,
    task: JoinHandle<Result<(), LogError>>,
}

type Wire = Arc<Mutex<Option<mpsc::Sender<LogEvent>>>>;

impl Side {
    fn keeper(&self) -> Keeper<NodeStore> {
        let options = JournalOptions {
            reserve_bytes: 0,
            segment_bytes: 20_000,
            ..JournalOptions::new("https://ledger.example", self.role)
        };
        let store = warifu_node::store::open(&self.dir, options, &mut |_, _| {}).unwrap();
        let master = MasterKey::from_bytes(Zeroizing::new([self.role; 32]));
        let vault = Vault::open(&self.dir.join("vault"), &master, "https://ledger.example");
        Keeper::new(Arc::new(store), Arc::new(vault.unwrap()))
    }

    fn book(&self, keeper: &Keeper<NodeStore>) -> Result<LogBook<NodeStore>, LogError> {
        LogBook::open(
            keeper.clone(),
            &self.dir.join("log"),
            keys(),
            &mut |_, _| {},
        )
    }

    /// Starts it; what it says goes to `wire`.
    fn start(&self, wire: &Wire) -> Up {
        let keeper = self.keeper();
        let book = Arc::new(self.book(&keeper).unwrap());
        let (events, inbox) = mpsc::channel(64);
        let wire = Arc::clone(wire);
        let parts = LogParts {
            unlogged: Unlogged::open(&book).unwrap(),
            book: Arc::clone(&book),
            key: if self.role == 2 {
                log_key()
            } else {
                witness_key()
            },
            say: Arc::new(move |said: LogMessage| {
                if let Some(other) = &*wire.lock().unwrap() {
                    drop(other.try_send(LogEvent::Said(Box::new(said))));
                }
            }),
            clock: Arc::new(|| Time::from_seconds(1_780_000_500)),
        };
        let task = if self.role == 2 {
            tokio::spawn(Sequencer::new(parts).run(inbox))
        } else {
            tokio::spawn(Witness::new(parts).run(inbox))
        };
        Up {
            keeper,
            book,
            events,
            task,
        }
    }
}

impl Up {
    /// Makes a block durable here, as if it had just been sealed; with the content key, if it is the broker's.
    async fn seal(&self, sealed: &Sealed) {
        let claims = sealed.block.claims();
        let stream = StreamId(claims.sub.0);
        let store = self.keeper.store();
        if claims.height == 0 {
            let head = HeadMove {
                expected: None,
                next: [0; 32],
            };
            let first = encoded(&Record::Settled);
            store.append(batch(stream, head, first)).await.unwrap();
        }
        let bytes = encoded(&Record::Sealed(Box::new(sealed.clone())));
        let head = HeadMove {
            expected: Some(claims.prev.0),
            next: sealed.block.hash().0,
        };
        store.append(batch(stream, head, bytes)).await.unwrap();
    }

    async fn keep_content_key(&self, sub: &Sub) {
        let secrets = warifu_client_sdk::runtime::Secrets {
            share: None,
            content_key: Some(content_key(sub)),
            identity: None,
        };
        self.keeper.keep_secrets(sub, &secrets).await.unwrap();
    }

    async fn cosigned(&self, size: u64) {
        let mut watch = self.book.watch();
        timeout(PATIENCE, watch.wait_for(|found| *found >= size))
            .await
            .unwrap_or_else(|_| panic!("{:?}, expected {size} leaves cosigned", self.book.state()))
            .unwrap();
    }

    /// Stops it as a crash does: nothing is said any more.
    async fn stop(self) {
        let Self {
            keeper,
            book,
            events,
            task,
        } = self;
        drop(events);
        drop(timeout(PATIENCE, task).await.unwrap());
        drop((keeper, book));
    }
}

fn encoded(record: &Record) -> Vec<u8> {
    wire::encode::<Record, 100_000>(record).unwrap()
}

fn batch(stream: StreamId, head: HeadMove, entry: Vec<u8>) -> Batch {
    Batch {
        stream,
        head: Some(head),
        entries: vec![entry],
        may_wait: false,
    }
}

/// Both operators, and what stands between them.
struct Pair {
    _dir: TempDir,
    sides: [Side; 2],
    /// To the broker, to the trust operator.
    wires: [Wire; 2],
    /// The last block of each account.
    heads: std::collections::HashMap<Sub, Sealed>,
}

impl Pair {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let side = |role, name: &str| Side {
            role,
            dir: dir.path().join(name),
        };
        Self {
            sides: [side(2, "broker"), side(3, "trust-operator")],
            wires: [Wire::default(), Wire::default()],
            heads: std::collections::HashMap::new(),
            _dir: dir,
        }
    }

    fn dir(&self, role: usize) -> &Path {
        &self.sides[role - 2].dir
    }

    fn broker(&self) -> Up {
        let up = self.sides[0].start(&self.wires[1]);
        *self.wires[0].lock().unwrap() = Some(up.events.clone());
        up
    }

    fn trust_operator(&self) -> Up {
        let up = self.sides[1].start(&self.wires[0]);
        *self.wires[1].lock().unwrap() = Some(up.events.clone());
        up
    }

    /// A line between them.
    async fn connect(&self, both: [&Up; 2]) {
        for up in both {
            up.events.send(LogEvent::Up).await.unwrap();
        }
    }

    /// What was said to them is lost from now on.
    fn cut(&self) {
        for wire in &self.wires {
            *wire.lock().unwrap() = None;
        }
    }

    fn next(&mut self, sub: Sub) -> Sealed {
        let next = match self.heads.get(&sub) {
            None => block(sub, 0, Hash::ZERO),
            Some(last) => block(sub, last.block.claims().height + 1, last.block.hash()),
        };
        self.heads.insert(sub, next.clone());
        next
    }

    /// Seals the next block of an account at both.
    async fn seal(&mut self, broker: &Up, trust_operator: &Up, sub: Sub) -> Sealed {
        let sealed = self.next(sub);
        if sealed.block.claims().height == 0 {
            broker.keep_content_key(&sub).await;
        }
        trust_operator.seal(&sealed).await;
        broker.seal(&sealed).await;
        sealed
    }
}

/// A block's proof from a copy of the log, verified as a stranger does.
fn prove(book: &LogBook<NodeStore>, sealed: &Sealed) -> Checkpoint {
    let claims = sealed.block.claims();
    let index = book.index_of(&claims.sub, claims.height).unwrap();
    let (checkpoint, note) = book.cosigned().unwrap();
    let index = index.expect("it has a leaf");
    let proof = LogProof {
        opening: Opener::of(&content_key(&claims.sub), &claims.sub).opening(&sealed.block.hash()),
        index,
        path: book.inclusion(index, checkpoint.size).unwrap(),
        checkpoint: note,
    };
    let (verified, _) = proof
        .verify(&sealed.block.hash(), &keys().log, &keys().witness)
        .unwrap();
    assert_eq!(verified, checkpoint);
    verified
}

#[tokio::test(flavor = "multi_thread")]
async fn every_block_sealed_at_both_gets_one_leaf_and_a_cosigned_proof_at_both() {
    let mut pair = Pair::new();
    let (broker, trust_operator) = (pair.broker(), pair.trust_operator());
    pair.connect([&broker, &trust_operator]).await;
    let mut sealed = Vec::new();
    for round in 0..5 {
        for number in 1..=40 {
            sealed.push(pair.seal(&broker, &trust_operator, account(number)).await);
        }
        let size = 40 * (round + 1);
        broker.cosigned(size).await;
    }
    for side in [&broker, &trust_operator] {
        side.cosigned(200).await;
        assert_eq!(side.book.state().size, 200);
        for sealed in &sealed {
            prove(&side.book, sealed);
        }
    }
    let mut leaves = broker.book.leaves(0, 200).unwrap();
    assert_eq!(leaves, trust_operator.book.leaves(0, 200).unwrap());
    let order: Vec<_> = sealed
        .iter()
        .map(|s| {
            Opener::of(&content_key(&s.block.claims().sub), &s.block.claims().sub)
                .leaf(&s.block.hash())
        })
        .collect();
    assert_ne!(leaves, order, "batches are shuffled");
    leaves.sort_unstable_by_key(|leaf| leaf.0);
    leaves.dedup();
    assert_eq!(leaves.len(), 200, "no leaf twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_two_tasks_publish_at_once_is_whole() {
    let mut pair = Pair::new();
    let (broker, trust_operator) = (pair.broker(), pair.trust_operator());
    pair.connect([&broker, &trust_operator]).await;
    pair.seal(&broker, &trust_operator, account(1)).await;
    broker.cosigned(1).await;
    let (_, note) = broker.book.cosigned().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| assert!(broker.book.publish(&note).unwrap())));
        }
    });
    let kept = std::fs::read_to_string(pair.dir(2).join("log/checkpoint")).unwrap();
    assert_eq!(kept, note.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_line_that_neither_was_told_of_is_found() {
    // The queue was full when the line came up, or its end was told after its beginning.
    let mut pair = Pair::new();
    let (broker, trust_operator) = (pair.broker(), pair.trust_operator());
    for up in [&broker, &trust_operator] {
        up.events.send(LogEvent::Down).await.unwrap();
    }
    let sealed = pair.seal(&broker, &trust_operator, account(1)).await;
    for side in [&broker, &trust_operator] {
        side.cosigned(1).await;
        prove(&side.book, &sealed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_go_on_where_they_were_whatever_stops_between() {
    let mut pair = Pair::new();
    let (mut broker, mut trust_operator) = (pair.broker(), pair.trust_operator());
    let mut sealed = Vec::new();
    for round in 0..6_u8 {
        pair.connect([&broker, &trust_operator]).await;
        for number in 1..=5 {
            sealed.push(pair.seal(&broker, &trust_operator, account(number)).await);
        }
        match round % 3 {
            // Cut off at once, somewhere between offer and cosignature.
            0 => tokio::time::sleep(Duration::from_millis(105 + u64::from(round))).await,
            1 => tokio::time::sleep(Duration::from_millis(102)).await,
            _ => broker.cosigned(5 * u64::from(round + 1)).await,
        }
        pair.cut();
        if round % 2 == 0 {
            broker.stop().await;
            broker = pair.broker();
            *pair.wires[1].lock().unwrap() = Some(trust_operator.events.clone());
        } else {
            trust_operator.stop().await;
            trust_operator = pair.trust_operator();
            *pair.wires[0].lock().unwrap() = Some(broker.events.clone());
        }
    }
    pair.connect([&broker, &trust_operator]).await;
    for side in [&broker, &trust_operator] {
        side.cosigned(30).await;
        assert_eq!(side.book.state().size, 30, "none lost, none twice");
        for sealed in &sealed {
            prove(&side.book, sealed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_log_are_made_anew_from_the_journal() {
    let mut pair = Pair::new();
    let (broker, trust_operator) = (pair.broker(), pair.trust_operator());
    pair.connect([&broker, &trust_operator]).await;
    let mut sealed = Vec::new();
    for round in 1..=20 {
        for number in 1..=5 {
            sealed.push(pair.seal(&broker, &trust_operator, account(number)).await);
        }
        if round % 5 == 0 {
            broker.cosigned(5 * round).await;
        }
    }
    broker.cosigned(100).await;
    let root = broker.book.state().root;
    pair.cut();
    broker.stop().await;
    let log = pair.dir(2).join("log");
    for spoil in ["gone", "flipped", "short"] {
        let leaves = log.join("leaves");
        match spoil {
            "gone" => std::fs::remove_dir_all(&log).unwrap(),
            "flipped" => {
                let mut bytes = std::fs::read(&leaves).unwrap();
                bytes[17] ^= 1;
                std::fs::write(&leaves, bytes).unwrap();
                std::fs::remove_file(log.join("hashes.4")).unwrap();
            }
            _ => {
                let file = std::fs::File::options().write(true).open(&leaves).unwrap();
                file.set_len(1000).unwrap();
            }
        }
        let keeper = pair.sides[0].keeper();
        let book = pair.sides[0].book(&keeper).unwrap();
        assert_eq!(
            (book.state().size, book.state().root),
            (100, root),
            "{spoil}"
        );
        assert_eq!(book.root_of(100).unwrap(), root);
    }
    trust_operator.stop().await;
}
