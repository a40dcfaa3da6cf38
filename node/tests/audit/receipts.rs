//! A receipt alone, with its proof, with the account's key: what held is told, and what was not looked at.

use std::fs;

use serde_json::{Value, json};
use warifu_consensus::{block::Votes, encoding::text_b64, log::LogProof};
use warifu_node::config::render_ledger;

use super::*;
use crate::cli::{fails, run, succeeds};

/// A directory with a login's receipt, its proof and the ledger's keys.
struct Files {
    kept: Kept,
    login: Sealed,
    proof: String,
}

impl Files {
    async fn new() -> Self {
        let (kept, chains) = kept(2, 3).await;
        let login = chains[1][1].clone();
        let mut files = Self {
            kept,
            login,
            proof: String::new(),
        };
        files.proof = files.prove(&files.login);
        files.write("ledger.toml", &render_ledger(&ledger(), &keys()));
        files.write("receipt", &files.login.to_json());
        files.write("proof", &files.proof);
        files
    }

    fn prove(&self, sealed: &Sealed) -> String {
        let (open, claims) = (self.kept.open(), sealed.block.claims());
        let index = open.book.index_of(&claims.sub, claims.height).unwrap();
        let (index, state) = (index.unwrap(), open.book.state());
        let proof = LogProof {
            opening: opener(&claims.sub).opening(&sealed.block.hash()),
            index,
            path: open.book.inclusion(index, state.size).unwrap(),
            checkpoint: state.note.unwrap(),
        };
        proof.to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.kept.dir.path().join(name), text).unwrap();
    }

    fn verify(&self, args: &str) -> std::process::Output {
        let line = format!("--json ledger verify {args} --ledger DIR/ledger.toml");
        run(&line.split(' ').collect::<Vec<_>>(), self.kept.dir.path())
    }

    fn holds(&self, args: &str) -> Value {
        serde_json::from_str(&succeeds(&self.verify(args))).unwrap()
    }
}

#[tokio::test]
async fn more_is_checked_the_more_is_brought() {
    let files = Files::new().await;
    let key = text_b64(&House::new(2).account_key());
    let alone = files.holds("DIR/receipt");
    assert_eq!(alone["unchecked"].as_array().unwrap().len(), 3);
    assert_eq!(alone["index"], Value::Null);
    let logged = files.holds("DIR/receipt --proof DIR/proof");
    assert_eq!(logged["unchecked"].as_array().unwrap().len(), 2);
    assert!(logged["index"].is_u64());
    assert_eq!(logged["cosigned"], NOW);
    let whole = files.holds(&format!(
        "DIR/receipt --proof DIR/proof --account-key {key}"
    ));
    assert_eq!(whole["unchecked"], json!(["The device's vote"]));
    assert_eq!(whole["hash"], files.login.block.hash().to_string());
    // As `warifu login --json` prints it: a line before, and the proof beside the receipt.
    let answer = json!({ "receipt": files.login.to_json(), "proof": files.proof });
    let begun = json!({ "number": "42", "id": "x", "nonce": "y", "expires_in": 90 });
    files.write("answer", &format!("{begun}\n{answer}\n"));
    let answered = files.holds(&format!("DIR/answer --account-key {key}"));
    assert_eq!(answered, whole);
    let dir = files.kept.dir.path();
    let line = "--lang ja ledger verify DIR/receipt --ledger DIR/ledger.toml";
    let told = succeeds(&run(&line.split(' ').collect::<Vec<_>>(), dir));
    let first = "確認できた範囲では有効です。検証していない項目があります。";
    assert!(told.starts_with(first), "{told}");
    assert!(told.contains("No proof was given."), "{told}");
}

#[tokio::test]
async fn a_key_that_was_brought_is_compared_whatever_the_block() {
    let files = Files::new().await;
    let (own, other) = (House::new(2), House::new(3));
    let (key, others) = (text_b64(&own.account_key()), text_b64(&other.account_key()));
    let chain = &chains(3)[1];
    files.write("genesis", &chain[0].to_json());
    let unchecked = |args: &str| files.holds(args)["unchecked"].as_array().unwrap().len();
    assert_eq!(unchecked("DIR/genesis"), 2);
    let said = |args: &str| {
        let answer = files.holds(args);
        (answer["verified"].clone(), answer["verdict"].clone())
    };
    // Only what leaves nothing unchecked is called verified.
    files.write("first", &files.prove(&chain[0]));
    for (args, is_whole) in [
        ("DIR/receipt".to_owned(), false),
        (
            format!("DIR/receipt --proof DIR/proof --account-key {key}"),
            false,
        ),
        ("DIR/genesis --proof DIR/first".to_owned(), false),
        (format!("DIR/genesis --account-key {key}"), false),
        (
            format!("DIR/genesis --proof DIR/first --account-key {key}"),
            true,
        ),
    ] {
        let verdict = if is_whole { "held" } else { "unchecked" };
        assert_eq!(said(&args), (is_whole.into(), verdict.into()), "{args}");
    }
    assert_eq!(unchecked(&format!("DIR/genesis --account-key {key}")), 1);
    let told = fails(
        &files.verify(&format!("DIR/genesis --account-key {others}")),
        1,
    );
    assert!(told.contains("is the pinned one"), "{told}");
    // A denial, and a freeze without a word: the operators' blocks.
    files.write("denial", &chain[3].to_json());
    files.write("freeze", &chain[4].to_json());
    assert_eq!(unchecked("DIR/denial"), 2);
    assert_eq!(unchecked("DIR/freeze"), 1);
    assert_eq!(unchecked(&format!("DIR/freeze --account-key {key}")), 2);
    for name in ["genesis", "denial", "receipt"] {
        fails(&files.verify(&format!("DIR/{name} --account-key none")), 1);
    }
    let dir = files.kept.dir.path();
    let line = [
        "ledger",
        "verify",
        "DIR/receipt",
        "--ledger",
        "DIR/ledger.toml",
    ];
    let empty = [&line[..], &["--account-key", ""]].concat();
    fails(&run(&empty, dir), 2);
    let mut silent = chain[3].clone();
    silent.votes = Votes::Restrict { word: None };
    files.write("silent", &silent.to_json());
    let told = fails(&files.verify("DIR/silent"), 1);
    assert!(told.contains("only the device denies"), "{told}");
}

#[tokio::test]
async fn an_export_or_a_bundle_that_was_cut_is_no_receipt() {
    let files = Files::new().await;
    let dir = files.kept.dir.path();
    let exported = succeeds(&run(&["ledger", "export", "DIR/data"], dir));
    let lines: Vec<&str> = exported.lines().collect();
    assert!(lines.len() > 3);
    for kept in 1..lines.len() {
        files.write("cut", &lines[..kept].join("\n"));
        fails(&files.verify("DIR/cut"), 1);
        if kept > 2 {
            files.write("cut", &lines[1..kept].join("\n"));
            fails(&files.verify("DIR/cut"), 1);
        }
    }
    files.write(
        "long",
        &format!("{}{}", files.login.to_json(), " ".repeat(70_000)),
    );
    fails(&files.verify("DIR/long"), 1);
}

#[tokio::test]
async fn what_does_not_hold_is_named() {
    let files = Files::new().await;
    let other = text_b64(&House::new(3).account_key());
    let told = fails(
        &files.verify(&format!("DIR/receipt --account-key {other}")),
        1,
    );
    assert!(told.contains("not verified: The account key"), "{told}");
    let wrong = files.proof.replacen("index ", "index 1", 1);
    files.write("wrong", &wrong);
    let told = fails(&files.verify("DIR/receipt --proof DIR/wrong"), 1);
    assert!(
        told.contains("not verified: It is in this ledger's log"),
        "{told}"
    );
    let mut forged = files.login.clone();
    let chains = chains(3);
    forged.votes = chains[2][1].votes;
    files.write("forged", &forged.to_json());
    let told = fails(&files.verify("DIR/forged"), 1);
    assert!(told.contains("votes"), "{told}");
    files.write("empty", "\n");
    fails(&files.verify("DIR/receipt --proof DIR/empty"), 5);
    fails(&files.verify("DIR/receipt --proof DIR/nothing"), 5);
    let told = fails(&files.verify("DIR/data --proof DIR/proof"), 5);
    assert!(told.contains("no receipt"), "{told}");
}
