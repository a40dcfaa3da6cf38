//! The log over HTTP, read by others' code, and asked what it must refuse.

use base64ct::{Base64, Encoding};
use reqwest::{RequestBuilder, StatusCode};
use tlog_tiles::{
    Checkpoint as TheirCheckpoint, Tile as TheirTile, TileHashReader, TileReader,
    tlog::{self, Error, Hash as TheirHash},
};
use tokio::runtime::Handle;
use warifu_consensus::{
    log::{AddCheckpoint, Frontier, LogKey, SignedNote, leaf_hash},
    party::{Ledger, Role},
};
use warifu_node::log_http::{LogListener, LogSide};

use super::*;
use crate::contract;

pub(super) fn ledger() -> Ledger {
    Ledger {
        iss: "https://ledger.example".to_owned(),
        broker: [3; 32],
        trust_operator: [4; 32],
    }
}

/// One side's log, served.
struct Site {
    listener: LogListener,
    client: reqwest::Client,
}

impl Site {
    async fn open(up: &Up, role: Role) -> Self {
        let mut listener = LogListener::bind("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        listener.serve(LogSide {
            book: Arc::clone(&up.book),
            ledger: ledger(),
            role,
            witnesses: Vec::new(),
            witnessed: None,
        });
        Self {
            listener,
            client: contract::client(),
        }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.listener.url()))
    }

    async fn bytes(&self, path: &str) -> Vec<u8> {
        let answer = self.get(path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.bytes().await.unwrap().to_vec()
    }

    async fn status(&self, path: &str) -> StatusCode {
        self.get(path).send().await.unwrap().status()
    }

    async fn add(&self, body: impl Into<reqwest::Body>) -> (u16, String, String) {
        let url = format!("{}/add-checkpoint", self.listener.url());
        let answer = self.client.post(url).body(body).send().await.unwrap();
        let kind = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        (answer.status().as_u16(), kind, answer.text().await.unwrap())
    }
}

/// Two operators with a log of 40 leaves a round.
async fn grown(pair: &mut Pair, rounds: u64) -> (Up, Up) {
    let (broker, trust_operator) = (pair.broker(), pair.trust_operator());
    pair.connect([&broker, &trust_operator]).await;
    for round in 1..=rounds {
        for number in 1..=40 {
            pair.seal(&broker, &trust_operator, account(number)).await;
        }
        for side in [&broker, &trust_operator] {
            side.cosigned(40 * round).await;
        }
    }
    (broker, trust_operator)
}

/// `tlog_tiles` has tiles of a height in their path, the specification has not.
impl TileReader for Site {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[TheirTile]) -> Result<Vec<Vec<u8>>, Error> {
        let path = |tile: &TheirTile| tile.path().replacen("tile/8/", "/tile/", 1);
        let read = |tile| {
            let path = path(tile);
            tokio::task::block_in_place(|| Handle::current().block_on(self.bytes(&path)))
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[TheirTile], _: &[Vec<u8>]) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_s_reader_finds_every_entry_by_checkpoint_and_tiles() {
    let mut pair = Pair::new();
    let (broker, trust_operator) = grown(&mut pair, 8).await;
    for (up, role) in [
        (&broker, Role::Broker),
        (&trust_operator, Role::TrustOperator),
    ] {
        let site = Site::open(up, role).await;
        let note = site.bytes("/checkpoint").await;
        let note = SignedNote::parse(&note).unwrap();
        Checkpoint::open(&note, &keys().log).unwrap();
        Checkpoint::cosigned(&note, &keys().witness).unwrap();
        let checkpoint = TheirCheckpoint::from_bytes(note.text().as_bytes()).unwrap();
        assert_eq!((checkpoint.origin(), checkpoint.size()), (ORIGIN, 320));
        let mut entries = Vec::new();
        for bundle in ["/tile/entries/000", "/tile/entries/001.p/64"] {
            let bytes = site.bytes(bundle).await;
            for entry in bytes.chunks(34) {
                assert_eq!(entry[..2], [0, 32]);
                entries.push(entry[2..].to_vec());
            }
        }
        assert_eq!(entries.len(), 320);
        let (size, root) = (checkpoint.size(), *checkpoint.hash());
        for (index, entry) in (0_u64..).zip(&entries) {
            if index % 13 != 0 && index < 310 {
                continue;
            }
            let reader = TileHashReader::new(size, root, &site);
            let proof = tlog::prove_record(size, index, &reader).unwrap();
            let leaf = tlog::record_hash(entry);
            tlog::check_record(&proof, size, root, index, leaf).unwrap();
            let other = TheirHash([9; 32]);
            assert!(tlog::check_record(&proof, size, root, index, other).is_err());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_last_checkpoint_holds_is_served_to_be_kept_and_nothing_else_is() {
    let mut pair = Pair::new();
    let (broker, trust_operator) = (pair.broker(), pair.trust_operator());
    let empty = Site::open(&broker, Role::Broker).await;
    assert_eq!(empty.status("/checkpoint").await, 404);
    assert_eq!(empty.status("/tile/0/000.p/1").await, 404);
    pair.connect([&broker, &trust_operator]).await;
    for _ in 0..7 {
        for number in 1..=40 {
            pair.seal(&broker, &trust_operator, account(number)).await;
        }
    }
    broker.cosigned(280).await;
    let site = Site::open(&broker, Role::Broker).await;
    let checkpoint = site.get("/checkpoint").send().await.unwrap();
    let header = |answer: &reqwest::Response, name: &str| {
        let value = answer.headers().get(name);
        value
            .unwrap_or_else(|| panic!("no {name}"))
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(header(&checkpoint, "cache-control"), "no-cache");
    assert_eq!(
        header(&checkpoint, "content-type"),
        "text/plain; charset=utf-8"
    );
    for (path, bytes) in [
        ("/tile/0/000", 8192),
        ("/tile/0/000.p/255", 255 * 32),
        ("/tile/0/001.p/24", 24 * 32),
        ("/tile/0/001.p/1", 32),
        ("/tile/1/000.p/1", 32),
        ("/tile/entries/000", 256 * 34),
        ("/tile/entries/001.p/24", 24 * 34),
        ("/tile/entries/001.p/9", 9 * 34),
    ] {
        let answer = site.get(path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let kept = header(&answer, "cache-control");
        assert_eq!(kept, "public, max-age=31536000, immutable", "{path}");
        assert_eq!(header(&answer, "content-type"), "application/octet-stream");
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
        assert_eq!(header(&answer, "referrer-policy"), "no-referrer");
        assert_eq!(answer.bytes().await.unwrap().len(), bytes, "{path}");
    }
    // A narrower tile is the beginning of a wider one, and the level above is its hash.
    let full = site.bytes("/tile/0/000").await;
    assert_eq!(site.bytes("/tile/0/000.p/7").await, full[..7 * 32]);
    assert_eq!(
        site.bytes("/tile/1/000.p/1").await,
        broker.book.root_of(256).unwrap()
    );
    for path in [
        "/tile/0/001",
        "/tile/0/001.p/25",
        "/tile/0/002.p/1",
        "/tile/1/000",
        "/tile/1/000.p/2",
        "/tile/2/000.p/1",
        "/tile/0/0",
        "/tile/0/000.p/0",
        "/tile/0/000.p/256",
        "/tile/0/000.p/007",
        "/tile/0/x000/000",
        "/tile/8/000",
        "/tile/-1/000",
        "/tile/entries/001.p/25",
        "/tile/entries/0/000",
        "/tile/entries/",
        "/tile/0/x018/x446/x744/x073/x709/x551/615",
        "/tile/0/..%2f..%2fleaves",
        "/tile/",
        "/tile",
        "/leaves",
        "/checkpoint/",
        "/checkpoint/witnessed",
    ] {
        assert_eq!(site.status(path).await, 404, "{path}");
    }
    let post = site
        .client
        .post(format!("{}/checkpoint", site.listener.url()));
    assert_eq!(post.send().await.unwrap().status(), 405);
    // Only the trust operator is shown checkpoints.
    assert_eq!(site.add("old 0\n").await.0, 404);
}

/// A checkpoint of the log's name, signed by whoever.
fn signed(by: &LogKey, origin: &str, size: u64, root: [u8; 32]) -> SignedNote {
    let checkpoint = Checkpoint {
        origin: origin.to_owned(),
        size,
        root,
    };
    checkpoint.signed(by)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_cosigned_only_once_its_leaves_were_matched() {
    let mut pair = Pair::new();
    let (_broker, up) = grown(&mut pair, 2).await;
    let site = Site::open(&up, Role::TrustOperator).await;
    let (own, note) = up.book.cosigned().unwrap();
    let add = |old: u64, proof: Vec<[u8; 32]>, checkpoint: &SignedNote| {
        let checkpoint = checkpoint.clone();
        let request = AddCheckpoint {
            old,
            proof,
            checkpoint,
        };
        site.add(request.to_string())
    };
    let log = log_key();
    let bare = own.signed(&log);
    let size = ("text/x.tlog.size".to_owned(), "80\n".to_owned());

    // Its own: the cosignature that it made, and nothing else.
    let (status, _, lines) = add(80, vec![], &bare).await;
    assert_eq!(status, 200, "{lines}");
    assert_eq!(lines, note.lines_of(&keys().witness));
    let whole = SignedNote::parse(format!("{}\n{lines}", bare.text()).as_bytes()).unwrap();
    Checkpoint::cosigned(&whole, &keys().witness).unwrap();

    // From another size: which one it has.
    for old in [0, 40, 79] {
        let proof = up.book.consistency(old, 80).unwrap();
        let (status, kind, body) = add(old, proof, &bare).await;
        assert_eq!((status, (kind, body)), (409, size.clone()), "{old}");
    }

    // Well signed, well proven, and never matched: not cosigned.
    let mut frontier = Frontier::new();
    let leaves = up.book.leaves(0, 80).unwrap();
    let mut nodes = std::collections::HashMap::new();
    for leaf in leaves.iter().chain([&warifu_consensus::log::Leaf([9; 32])]) {
        frontier.push(leaf_hash(&leaf.0), |node, hash| {
            nodes.insert(node, *hash);
        });
    }
    let proof = warifu_consensus::log::consistency(80, 81, |node| {
        Ok::<_, warifu_consensus::log::TreeError>(nodes[&node])
    });
    let larger = signed(&log, ORIGIN, 81, frontier.root());
    let (status, kind, body) = add(80, proof.unwrap(), &larger).await;
    assert_eq!((status, (kind, body)), (409, size));
    assert_eq!(up.book.cosigned().unwrap().0, own);
    let evidence = pair.dir(3).join("log/evidence");
    assert!(!evidence.exists(), "all that is one log so far");

    // Another tree, by the log's own key: refused, and kept as evidence of a fork.
    let fork = signed(&log, ORIGIN, 80, [9; 32]);
    assert_eq!(add(80, vec![], &fork).await.0, 422);
    assert_eq!(add(80, vec![[1; 32]], &larger).await.0, 422);
    let kept: Vec<_> = std::fs::read_dir(&evidence).unwrap().collect();
    let [Ok(file)] = kept.as_slice() else {
        panic!("{kept:?}");
    };
    let text = std::fs::read_to_string(file.path()).unwrap();
    let evidence = warifu_consensus::log::Evidence::from_text(&text).unwrap();
    assert_eq!(evidence.judge().unwrap().size, 80);

    // Lengthened as far as a note goes by whoever shows it, under the witness's own name and under nobody's.
    let line = note.lines_of(&keys().witness);
    let (head, _) = line.trim_end().rsplit_once(' ').unwrap();
    let id = &line[head.len() + 1..][..8];
    for (head, root) in [(head, [8; 32]), ("\u{2014} junk.example", [7; 32])] {
        let fork = signed(&log, ORIGIN, 80, root);
        let junk = format!("{head} {id}{}\n", "junk".repeat(65_000 / 4));
        let padded = format!("old 80\n\n{fork}{junk}");
        assert_eq!(site.add(padded).await.0, 422);
    }
    let mut judged = 0;
    for file in std::fs::read_dir(pair.dir(3).join("log/evidence")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let evidence = warifu_consensus::log::Evidence::from_text(&text).unwrap();
        judged += u8::from(evidence.judge().is_ok());
    }
    assert_eq!(judged, 3);

    // Others' keys, others' logs, and what is no request.
    let stranger = LogKey::from_seed([99; 32], ORIGIN, Algorithm::Ed25519).unwrap();
    assert_eq!(
        add(80, vec![], &signed(&stranger, ORIGIN, 80, own.root))
            .await
            .0,
        403
    );
    let mut spoilt = bare.to_string();
    let at = spoilt.rfind("AAAA").unwrap_or(spoilt.len() - 10);
    spoilt.replace_range(
        at..=at,
        if spoilt.as_bytes()[at] == b'B' {
            "C"
        } else {
            "B"
        },
    );
    let spoilt = format!("old 80\n\n{spoilt}");
    assert_eq!(site.add(spoilt).await.0, 403);
    let elsewhere = LogKey::from_seed([21; 32], "log.elsewhere", Algorithm::Ed25519).unwrap();
    let other = signed(&elsewhere, "log.elsewhere", 80, own.root);
    assert_eq!(add(80, vec![], &other).await.0, 404);
    assert_eq!(add(81, vec![], &bare).await.0, 400);
    let many = vec![[1; 32]; 64];
    assert_eq!(add(80, many, &bare).await.0, 400);
    let hash = Base64::encode_string(&[1; 32]);
    for bad in [
        String::new(),
        "old 80\n".to_owned(),
        format!("old 080\n\n{bare}"),
        format!("old x\n\n{bare}"),
        format!("80\n\n{bare}"),
        format!("old 80\n{hash}=\n\n{bare}"),
        format!("old 80\n\n{}", bare.text()),
        format!("old 80\n\n{}", bare.to_string().trim_end()),
    ] {
        assert_eq!(site.add(bad.clone()).await.0, 400, "{bad:?}");
    }
    assert_eq!(site.add(b"old 80\n\xff\n\n".to_vec()).await.0, 400);
    assert_eq!(site.add("x".repeat(72 * 1024 + 1)).await.0, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_page_says_how_large_the_log_is_and_who_signed_it() {
    let mut pair = Pair::new();
    let up = pair.broker();
    let site = Site::open(&up, Role::Broker).await;
    let page = site.get("/").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("There is no checkpoint yet"), "{page}");
    let trust_operator = pair.trust_operator();
    pair.connect([&up, &trust_operator]).await;
    for round in 1..=3 {
        for number in 1..=40 {
            pair.seal(&up, &trust_operator, account(number)).await;
        }
        up.cosigned(40 * round).await;
    }
    let site = Site::open(&up, Role::Broker).await;
    let page = site.get("/").send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let page = page.text().await.unwrap();
    assert!(page.contains("<span class=\"size\">120</span>"), "{page}");
    assert_eq!(
        page.matches("class=\"held\"").count(),
        2,
        "both signatures hold"
    );
    for key in [keys().log, keys().witness] {
        assert!(page.contains(&key.to_string()));
    }
    let grown = up.book.growth(60).unwrap();
    assert!(
        grown
            .windows(2)
            .all(|two| two[0].0 <= two[1].0 && two[0].1 < two[1].1),
        "{grown:?}"
    );
    assert_eq!(grown.last().unwrap().1, 120);
    assert!(
        grown.iter().all(|(time, _)| time % 60 == 0),
        "whole minutes"
    );
    assert_eq!(up.book.growth(2).unwrap().len(), 2);
    let japanese = site
        .get("/?lang=ja")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(japanese.contains("<html lang=\"ja\">") && japanese.contains("件の記録"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pasted_is_shown_as_text_and_refused_by_name() {
    let mut pair = Pair::new();
    let (broker, _trust_operator) = grown(&mut pair, 2).await;
    let site = Site::open(&broker, Role::Broker).await;
    let post = |fields: Vec<(&'static str, String)>| {
        let body = fields.iter().map(|(name, value)| {
            let escaped: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            format!("{name}={escaped}")
        });
        let body = body.collect::<Vec<_>>().join("&");
        let url = format!("{}/receipt", site.listener.url());
        let request = site.client.post(url).body(body);
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .send()
    };
    let script = "<script>alert(1)</script>\"'</textarea>";
    let answer = post(vec![
        ("receipt", script.to_owned()),
        ("proof", script.to_owned()),
        ("account_key", script.to_owned()),
    ]);
    let page = answer.await.unwrap().text().await.unwrap();
    assert!(!page.contains("<script"), "{page}");
    assert!(page.contains("id=\"verdict\"") && page.contains("It does not hold."));
    // A block that nobody signed, with its true place in the log.
    let sealed = pair.heads[&account(7)].clone();
    let proof = broker.book.prove(&sealed).unwrap().unwrap().to_string();
    let answer = post(vec![
        ("receipt", sealed.to_json()),
        // As a browser sends it.
        ("proof", proof.replace('\n', "\r\n")),
    ]);
    let page = answer.await.unwrap().text().await.unwrap();
    assert!(page.contains("It does not hold."), "{page}");
    let logged = "<span class=\"held\">Holds</span> · It is in this ledger's log";
    assert!(page.contains(logged), "{page}");
    assert_eq!(
        post(vec![("proof", String::new())]).await.unwrap().status(),
        422
    );
    let long = post(vec![("receipt", "x".repeat(30 * 1024))])
        .await
        .unwrap();
    assert_eq!(long.status(), 413);
}
