//! A served log: read whole, gone on from, and refused when it is another.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    extract::{Path as UrlPath, State},
    http::StatusCode,
    routing::get,
};
use base64ct::{Base64, Encoding};
use tokio::{net::TcpListener, task::JoinHandle};
use warifu_consensus::log::{
    Checkpoint, Evidence, Fork, Frontier, Node, SignedNote, Tile, leaf_hash,
};
use warifu_node::log::audit::{AuditedLog, LogClient, RemoteAudit, RemoteError};

use super::*;
use crate::cli::{fails, run, succeeds};

/// A log in memory, served as C2SP tlog-tiles has it; what it serves may be spoilt.
#[derive(Default)]
pub(super) struct Log {
    nodes: Mutex<BTreeMap<Node, [u8; 32]>>,
    leaves: Mutex<Vec<[u8; 32]>>,
    frontier: Mutex<Frontier>,
    note: Mutex<String>,
    /// Another bit in the answer to this path.
    spoilt: Mutex<Option<String>>,
    /// Whose first entries and their hashes are served below this one's checkpoint.
    lies: Mutex<Option<Arc<Log>>>,
    /// Incomplete tiles are dropped once they are full.
    drops: Mutex<bool>,
    /// Nothing is answered.
    pub(super) away: Mutex<bool>,
    asked: AtomicU64,
}

impl Log {
    /// Appends leaves, whose content follows from `from` and the fork's number, and signs.
    pub(super) fn grow(&self, count: u64, fork: u8) {
        let mut frontier = self.frontier.lock().unwrap();
        for number in frontier.size()..frontier.size() + count {
            let leaf = *blake3::hash(&[&[fork][..], &number.to_be_bytes()].concat()).as_bytes();
            self.leaves.lock().unwrap().push(leaf);
            frontier.push(leaf_hash(&leaf), |node, hash| {
                self.nodes.lock().unwrap().insert(node, *hash);
            });
        }
        let checkpoint = Checkpoint {
            origin: "log.example".to_owned(),
            size: frontier.size(),
            root: frontier.root(),
        };
        let mut note = checkpoint.signed(&log_key());
        note.sign(&witness_key(), NOW);
        self.say(&note);
    }

    /// Forgets all leaves, and grows others.
    fn grow_anew(&self, count: u64, fork: u8) {
        self.nodes.lock().unwrap().clear();
        self.leaves.lock().unwrap().clear();
        *self.frontier.lock().unwrap() = Frontier::new();
        self.grow(count, fork);
    }

    fn checkpoint(&self) -> Checkpoint {
        self.note().text().parse().unwrap()
    }

    pub(super) fn say(&self, note: &SignedNote) {
        *self.note.lock().unwrap() = note.to_string();
    }

    /// Adds lines of nobody to the checkpoint, as long as a note may be.
    pub(super) fn pad(&self) {
        let mut note = self.note.lock().unwrap();
        let line = format!("\u{2014} nobody {}\n", Base64::encode_string(&[7; 800]));
        while note.len() + line.len() <= 64 * 1024 {
            note.push_str(&line);
        }
    }

    pub(super) fn note(&self) -> SignedNote {
        SignedNote::parse(self.note.lock().unwrap().as_bytes()).unwrap()
    }

    fn spoil(&self, path: Option<&str>) {
        *self.spoilt.lock().unwrap() = path.map(str::to_owned);
    }

    fn answer(&self, path: &str) -> Option<Vec<u8>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if *self.away.lock().unwrap() {
            return None;
        }
        let mut bytes = self.right(path)?;
        if self.spoilt.lock().unwrap().as_deref() == Some(path) {
            // Not an entry's length: its content.
            let middle = bytes.len() / 2 + 7;
            bytes[middle] ^= 1;
        }
        Some(bytes)
    }

    fn right(&self, path: &str) -> Option<Vec<u8>> {
        if path == "checkpoint" {
            return Some(self.note.lock().unwrap().clone().into_bytes());
        }
        let is_first = ["tile/entries/000", "tile/0/000"].contains(&path);
        if let Some(other) = self.lies.lock().unwrap().as_ref().filter(|_| is_first) {
            return other.right(path);
        }
        let path = path.strip_prefix("tile/")?;
        let is_entries = path.starts_with("entries/");
        let tile: Tile = path.replacen("entries/", "0/", 1).parse().ok()?;
        let from = tile.index * 256;
        let have = self.frontier.lock().unwrap().size() >> (8 * tile.level);
        if *self.drops.lock().unwrap() && !tile.is_full() && have >= from + 256 {
            return None;
        }
        let mut bytes = Vec::new();
        for index in from..from + u64::from(tile.width) {
            if is_entries {
                let leaves = self.leaves.lock().unwrap();
                bytes.extend(32_u16.to_be_bytes());
                bytes.extend(leaves.get(usize::try_from(index).ok()?)?);
            } else {
                let level = tile.level * 8;
                bytes.extend(self.nodes.lock().unwrap().get(&Node { level, index })?);
            }
        }
        Some(bytes)
    }
}

/// A server on a port of its own, below a prefix; ends with the test.
pub(super) struct Server {
    pub(super) log: Arc<Log>,
    pub(super) url: String,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn any(
    State(log): State<Arc<Log>>,
    UrlPath(path): UrlPath<String>,
) -> Result<Vec<u8>, StatusCode> {
    log.answer(&path).ok_or(StatusCode::NOT_FOUND)
}

impl Server {
    pub(super) async fn new(size: u64) -> Server {
        let log = Arc::new(Log::default());
        log.grow(size, 0);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/log", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/log/{*path}", get(any))
            .with_state(Arc::clone(&log));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Server { log, url, task }
    }

    pub(super) fn client(&self) -> LogClient {
        LogClient::new(&self.url).unwrap()
    }

    async fn audit(&self, dir: Option<&Path>) -> Result<AuditedLog, RemoteError> {
        let audit = RemoteAudit {
            client: self.client(),
            keys: keys(),
            resume: dir.map(|dir| dir.join("stand")),
            evidence: dir.map_or_else(PathBuf::new, Path::to_path_buf),
        };
        audit.run(&mut |_, _| {}).await
    }
}

fn judge(path: &Path) -> Fork {
    let text = fs::read_to_string(path).unwrap();
    Evidence::from_text(&text).unwrap().judge().unwrap()
}

#[tokio::test]
async fn a_good_log_is_read_whole_at_any_size() {
    for size in [0, 1, 255, 256, 257, 700, 256 * 257 + 3] {
        let server = Server::new(size).await;
        let audited = server.audit(None).await.unwrap();
        assert_eq!((audited.size, audited.cosigned), (size, NOW));
        // Every level, the incomplete tiles at the right edge among them.
        let tiles = |level: u32| {
            let hashes = size.checked_shr(8 * level).unwrap_or(0);
            hashes.div_ceil(256)
        };
        assert_eq!(audited.tiles, tiles(0) + tiles(1) + tiles(2), "{size}");
    }
}

#[tokio::test]
async fn an_incomplete_tile_that_is_full_by_now_is_read_as_far_as_it_was() {
    let server = Server::new(300).await;
    let note = server.log.note();
    server.log.grow(400, 0);
    server.log.say(&note);
    *server.log.drops.lock().unwrap() = true;
    assert_eq!(server.audit(None).await.unwrap().size, 300);
}

#[tokio::test]
async fn every_spoilt_answer_is_found_and_named() {
    let server = Server::new(700).await;
    for (path, part) in [
        ("checkpoint", "checkpoint"),
        ("tile/entries/000", "tile/0/000: hash 128"),
        ("tile/entries/002.p/188", "tile/0/002.p/188: hash 94"),
        ("tile/0/001", "tile/0/001: hash 128"),
        ("tile/0/002.p/188", "tile/0/002.p/188: hash 94"),
        ("tile/1/000.p/2", "tile/1/000.p/2: hash 1"),
    ] {
        server.log.spoil(Some(path));
        let told = server.audit(None).await.unwrap_err().to_string();
        assert!(told.contains(part), "{path}: {told}");
    }
    server.log.spoil(None);
    server.audit(None).await.unwrap();
}

#[tokio::test]
async fn signatures_are_the_pinned_keys_and_both_are_there() {
    let server = Server::new(10).await;
    let checkpoint = server.log.checkpoint();
    server.log.say(&checkpoint.signed(&log_key()));
    let told = server.audit(None).await.unwrap_err().to_string();
    assert!(told.contains("no signature of witness.example"), "{told}");
    let other = LogKey::from_seed([9; 32], "log.example", Algorithm::Ed25519).unwrap();
    server.log.say(&checkpoint.signed(&other));
    let told = server.audit(None).await.unwrap_err().to_string();
    assert!(told.contains("no signature of log.example"), "{told}");
}

#[tokio::test]
async fn an_audit_goes_on_where_it_stood_and_asks_for_nothing_twice() {
    let dir = TempDir::new().unwrap();
    let server = Server::new(1000).await;
    assert_eq!(server.audit(Some(dir.path())).await.unwrap().resumed, 0);
    server.log.grow(30, 0);
    let before = server.log.asked.load(Ordering::Relaxed);
    let again = server.audit(Some(dir.path())).await.unwrap();
    assert_eq!((again.resumed, again.size), (768, 1030));
    let asked = server.log.asked.load(Ordering::Relaxed) - before;
    assert!(asked < 14, "{asked} requests");
    // What it stands on is checked: a changed file is refused.
    let path = dir.path().join("stand");
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(97) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let result = server.audit(Some(dir.path())).await;
        assert!(
            matches!(result, Err(RemoteError::Resume(_))),
            "byte {at}: {result:?}"
        );
    }
    fs::write(&path, good).unwrap();
    server.audit(Some(dir.path())).await.unwrap();
}

#[tokio::test]
async fn a_server_whose_entries_are_not_its_checkpoint_s_spoils_no_later_audit() {
    let honest = Server::new(700).await;
    for all in [false, true] {
        let dir = TempDir::new().unwrap();
        let other = Arc::new(Log::default());
        other.grow(700, 7);
        // Either the hashes that the first ones need beside them are the right ones, or none is.
        let liar = Server::new(700).await;
        if all {
            liar.log.grow_anew(700, 7);
            liar.log.say(&honest.log.note());
        } else {
            *liar.log.lies.lock().unwrap() = Some(other);
        }
        assert_eq!(liar.log.note(), honest.log.note());
        let error = liar.audit(Some(dir.path())).await.unwrap_err();
        match (all, error) {
            (true, RemoteError::Unproven { size: 700, .. })
            | (false, RemoteError::Root { size: 512, .. }) => {}
            (all, error) => panic!("{all}: {error}"),
        }
        let audited = honest.audit(Some(dir.path())).await.unwrap();
        assert_eq!((audited.size, audited.resumed), (700, 0));
    }
}

#[tokio::test]
async fn hashes_of_another_log_than_the_checkpoint_beside_them_are_the_file_s_fault() {
    let dir = TempDir::new().unwrap();
    let (good, other) = (Server::new(700).await, Server::new(0).await);
    other.log.grow(700, 7);
    good.audit(Some(dir.path())).await.unwrap();
    let path = dir.path().join("stand");
    let right = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    other.audit(Some(dir.path())).await.unwrap();
    // The false hashes beside the right checkpoint, under a sum that holds.
    let mut stand: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let right: serde_json::Value = serde_json::from_str(&right).unwrap();
    stand["checkpoint"] = right["checkpoint"].clone();
    let mut sum = blake3::Hasher::new();
    let mut add = |part: &str| {
        sum.update(&(part.len() as u64).to_be_bytes());
        sum.update(part.as_bytes());
    };
    for name in ["format", "log", "witness"] {
        add(stand[name].as_str().unwrap());
    }
    add(&stand["size"].to_string());
    for row in stand["rows"].as_array().unwrap() {
        let hashes = row
            .as_array()
            .unwrap()
            .iter()
            .map(|hash| hash.as_str().unwrap());
        add(&hashes.collect::<String>());
    }
    add(stand["checkpoint"].as_str().unwrap());
    stand["blake3"] = sum.finalize().to_hex().to_string().into();
    fs::write(&path, stand.to_string()).unwrap();
    let error = good.audit(Some(dir.path())).await.unwrap_err();
    assert!(matches!(error, RemoteError::Resume(_)), "{error}");
    assert!(
        error.to_string().contains("are not those of the log"),
        "{error}"
    );
}

#[tokio::test]
async fn evidence_is_kept_and_stays_whatever_lines_a_server_adds() {
    for padded in [false, true] {
        let dir = TempDir::new().unwrap();
        let good = Server::new(1000).await;
        good.audit(Some(dir.path())).await.unwrap();
        let forked = Server::new(800).await;
        forked.log.grow(700, 7);
        if padded {
            forked.log.pad();
        }
        let mut kept = Vec::new();
        for _ in 0..2 {
            let error = forked.audit(Some(dir.path())).await.unwrap_err();
            let RemoteError::Forked { evidence, .. } = error else {
                panic!("{padded}: {error}");
            };
            assert!(judge(&evidence).witness_too);
            kept.push(fs::read(&evidence).unwrap());
            // In another dress, with lines of nobody.
            let later = forked.log.checkpoint();
            let mut note = later.signed(&log_key());
            note.sign(&witness_key(), NOW + 60);
            forked.log.say(&note);
            forked.log.pad();
        }
        assert_eq!(kept[0], kept[1], "{padded}: what is kept is left alone");
    }
}

#[tokio::test]
async fn what_is_no_evidence_stands_in_nobody_s_place() {
    let dir = TempDir::new().unwrap();
    Server::new(1000)
        .await
        .audit(Some(dir.path()))
        .await
        .unwrap();
    let forked = Server::new(800).await;
    forked.log.grow(700, 7);
    let find = async || match forked.audit(Some(dir.path())).await {
        Err(RemoteError::Forked { evidence, .. }) => evidence,
        other => panic!("{other:?}"),
    };
    let path = find().await;
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..good.len() - 9]).unwrap();
    assert_eq!(find().await, path);
    assert_eq!(fs::read(&path).unwrap(), good);
}

#[tokio::test]
async fn a_log_that_shrank_or_forked_is_refused_and_a_fork_is_kept() {
    let dir = TempDir::new().unwrap();
    let good = Server::new(1000).await;
    good.audit(Some(dir.path())).await.unwrap();
    let stand = fs::read(dir.path().join("stand")).unwrap();
    for (size, shows) in [(999, None), (1000, Some(1000)), (1500, Some(1000))] {
        fs::write(dir.path().join("stand"), &stand).unwrap();
        let forked = Server::new(800).await;
        forked.log.grow(size - 800, 7);
        let error = forked.audit(Some(dir.path())).await.unwrap_err();
        match (shows, error) {
            (
                None,
                RemoteError::Shrank {
                    found, expected, ..
                },
            ) => {
                assert_eq!((found, expected), (999, 1000));
            }
            (Some(at), RemoteError::Forked { size, evidence, .. }) => {
                assert_eq!(size, at);
                let fork = judge(&evidence);
                assert!(fork.witness_too && fork.size == at);
            }
            (_, error) => panic!("{size}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_audits_a_url_and_a_judge_explains_what_it_kept() {
    let dir = TempDir::new().unwrap();
    let text = warifu_node::config::render_ledger(&ledger(), &keys());
    fs::write(dir.path().join("ledger.toml"), text).unwrap();
    let server = Server::new(300).await;
    let audit = |url: &str| {
        let line = format!(
            "ledger audit {url} --ledger DIR/ledger.toml --resume DIR/stand --evidence DIR"
        );
        let dir = dir.path().to_path_buf();
        tokio::task::spawn_blocking(move || run(&line.split(' ').collect::<Vec<_>>(), &dir))
    };
    let told = succeeds(&audit(&server.url).await.unwrap());
    assert!(
        told.starts_with("audited: 300 leaves of log.example"),
        "{told}"
    );
    let forked = Server::new(100).await;
    forked.log.grow(250, 3);
    let told = fails(&audit(&forked.url).await.unwrap(), 1);
    assert!(
        told.contains("is forked at 300 leaves: evidence in "),
        "{told}"
    );
    let files = fs::read_dir(dir.path()).unwrap().flatten();
    let mut names = files.map(|entry| entry.file_name().into_string().unwrap());
    let file = names
        .find(|name| name.starts_with("evidence-300-"))
        .unwrap();
    let judge = |more: &str| {
        let line = format!("ledger judge DIR/{file}{more}");
        run(&line.split(' ').collect::<Vec<_>>(), dir.path())
    };
    let told = succeeds(&judge(""));
    for part in [
        "The log was forked.",
        "ログは分岐しています。",
        "log.example",
        "witness.example",
        "own claim",
    ] {
        assert!(told.contains(part), "{part} is missing in {told}");
    }
    let told = succeeds(&judge(" --ledger DIR/ledger.toml"));
    assert!(told.contains("The keys are the pinned ones."), "{told}");
    let json: serde_json::Value = serde_json::from_str(&succeeds(&judge(" --json"))).unwrap();
    assert_eq!(
        (&json["fork"], &json["witness_signed_both"]),
        (&true.into(), &true.into())
    );
    let other = LogKeys {
        log: LogKey::from_seed([9; 32], "log.example", Algorithm::Ed25519)
            .unwrap()
            .public()
            .clone(),
        ..keys()
    };
    let text = warifu_node::config::render_ledger(&ledger(), &other);
    fs::write(dir.path().join("other.toml"), text).unwrap();
    let told = fails(&judge(" --ledger DIR/other.toml"), 1);
    assert!(told.contains("shows nothing: its log key is"), "{told}");
    fails(&run(&["ledger", "judge", "DIR/ledger.toml"], dir.path()), 5);
    fails(&run(&["ledger", "audit", &server.url], dir.path()), 2);
}
