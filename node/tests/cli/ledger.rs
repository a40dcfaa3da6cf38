//! `warifu ledger`: every changed byte is found; keys come from --ledger only.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use warifu_client_sdk::store::{
    Batch, HeadMove, JournalOptions, JournalStore, MemoryIndex, Store, StreamId,
};
use warifu_consensus::{
    agree::Record,
    block::{Kind, Sealed},
    encoding::Hash,
    party::Ledger,
    wire,
};
use warifu_node::{
    config::render_ledger,
    export::{ExportWriter, MAX_ENTRY, Source, Verified, VerifyError, verify},
};

use super::{
    fails,
    house::{House, ISS},
    run, succeeds,
};

/// Two accounts' blocks, interleaved as a journal holds them.
fn blocks() -> (Ledger, Vec<Sealed>) {
    let (one, two) = (House::new(1), House::new(2));
    let mut ones = one
        .chain(&[Kind::Login, Kind::Deny, Kind::Freeze])
        .into_iter();
    let mut twos = two.chain(&[Kind::Login]).into_iter();
    let mut all = Vec::new();
    for _ in 0..4 {
        all.extend(ones.next());
        all.extend(twos.next());
    }
    assert_eq!(all.len(), 6);
    (one.ledger(), all)
}

fn export_bytes(blocks: &[Sealed]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ExportWriter::begin(&mut bytes, ISS).unwrap();
    for sealed in blocks {
        writer.block(sealed).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

fn check(ledger: &Ledger, path: &Path) -> Result<Verified, VerifyError> {
    let walk = |fault| VerifyError::Walk { after: None, fault };
    let blocks = Source::find(path).map_err(walk)?.blocks().map_err(walk)?;
    verify(ledger, blocks, |_, _| {})
}

#[test]
fn an_export_verifies_and_every_changed_byte_fails() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, blocks) = blocks();
    // Both geneses, both logins, a denial.
    let bytes = export_bytes(&blocks[..5]);
    let path = dir.path().join("export");
    fs::write(&path, &bytes).unwrap();
    let verified = check(&ledger, &path).unwrap();
    assert_eq!((verified.blocks, verified.accounts.len()), (5, 2));
    let second_block = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .nth(1);
    let after_first = second_block.unwrap().0 + 1;
    for at in 0..bytes.len() {
        // By turns another letter, another case, and no text at all.
        let mut changed = bytes.clone();
        changed[at] ^= [1, 0x20, 0x80][at % 3];
        fs::write(&path, &changed).unwrap();
        let error = check(&ledger, &path).expect_err("a changed byte verified");
        let told = error.to_string();
        assert!(!error.is_input(), "byte {at}: {told}");
        if at >= after_first {
            assert!(told.contains("account "), "byte {at}: {told}");
            assert!(told.contains("at height"), "byte {at}: {told}");
        }
    }
}

#[test]
fn a_cut_a_swap_a_lost_and_an_added_line_fail() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, blocks) = blocks();
    let text = String::from_utf8(export_bytes(&blocks)).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let path = dir.path().join("export");
    let fails = |lines: &[&str], expected: &str| {
        fs::write(&path, lines.concat()).unwrap();
        let told = check(&ledger, &path).unwrap_err().to_string();
        assert!(told.contains(expected), "{told}");
    };
    for kept in 0..lines.len() {
        fails(&lines[..kept], if kept == 0 { "line 1" } else { "cut off" });
    }
    for length in [text.len() - 1, text.len() / 2] {
        fails(&[&text[..length]], "line");
    }
    // The last account's last block left out, and its accounts' order changed: chains still hold.
    let mut lost = lines.clone();
    lost.remove(6);
    fails(&lost, "last line is");
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    fails(&swapped, "last line is");
    let mut doubled = lines.clone();
    doubled.insert(3, lines[3]);
    fails(&doubled, "expected");
    let mut added = lines.clone();
    added.push("\n");
    fails(&added, "nothing after");
}

#[test]
fn keys_come_from_the_verifier_only() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, blocks) = blocks();
    let path = dir.path().join("export");
    fs::write(&path, export_bytes(&blocks)).unwrap();
    let other = House::new(9).chain(&[])[0].block.hash().0;
    for ledger in [
        Ledger {
            broker: other,
            ..ledger.clone()
        },
        Ledger {
            trust_operator: other,
            ..ledger.clone()
        },
    ] {
        let told = check(&ledger, &path).unwrap_err().to_string();
        assert!(told.contains("genesis names another"), "{told}");
    }
    let elsewhere = Ledger {
        iss: "https://other.example".to_owned(),
        ..ledger
    };
    let told = check(&elsewhere, &path).unwrap_err().to_string();
    assert!(told.contains(&format!("source has iss {ISS}")), "{told}");
}

/// A data directory whose journal holds these blocks, one batch each.
fn journal(dir: &Path, blocks: &[Sealed], records: impl Fn(&Sealed) -> Vec<Record>) {
    let options = JournalOptions {
        reserve_bytes: 0,
        ..JournalOptions::new(ISS, 2)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let store =
        JournalStore::open(dir, options, || Ok(MemoryIndex::default()), &mut |_, _| {}).unwrap();
    runtime.block_on(async {
        let batch = |stream, entries| Batch {
            stream,
            head: None,
            entries,
            may_wait: false,
        };
        store
            .append(batch(StreamId::NODE, vec![b"the node's own".to_vec()]))
            .await
            .unwrap();
        for sealed in blocks {
            let stream = StreamId(sealed.block.claims().sub.0);
            let entries = records(sealed)
                .iter()
                .map(|record| wire::encode::<Record, MAX_ENTRY>(record).unwrap())
                .collect();
            let expected = store.head(stream).unwrap();
            let next = sealed.block.hash().0;
            let mut batch = batch(stream, entries);
            batch.head = Some(HeadMove { expected, next });
            store.append(batch).await.unwrap();
        }
    });
}

fn segment(dir: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|name| name == "seg"))
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

fn plain(sealed: &Sealed) -> Vec<Record> {
    vec![Record::Sealed(Box::new(sealed.clone()))]
}

#[test]
fn a_journal_verifies_and_every_changed_byte_fails() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, blocks) = blocks();
    journal(dir.path(), &blocks[..3], plain);
    let verified = check(&ledger, dir.path()).unwrap();
    assert_eq!((verified.blocks, verified.accounts.len()), (3, 2));
    let path = segment(dir.path());
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= [1, 0x80][at % 2];
        fs::write(&path, &changed).unwrap();
        let result = check(&ledger, dir.path());
        assert!(
            result.is_err(),
            "byte {at} of {} changed unnoticed",
            bytes.len()
        );
    }
    for length in [bytes.len() - 1, bytes.len() / 2] {
        fs::write(&path, &bytes[..length]).unwrap();
        let told = check(&ledger, dir.path()).unwrap_err().to_string();
        assert!(told.contains("incomplete record"), "{told}");
    }
}

#[test]
fn evidence_of_a_second_block_fails_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, blocks) = blocks();
    journal(dir.path(), &blocks[..3], |sealed| {
        let mut records = plain(sealed);
        if sealed.block.claims().kind == Kind::Login {
            records.push(Record::Conflict(Box::new(sealed.clone())));
        }
        records
    });
    let told = check(&ledger, dir.path()).unwrap_err().to_string();
    assert!(told.contains(&House::new(1).sub().to_string()), "{told}");
    assert!(told.contains("height 1: a second block"), "{told}");
}

#[test]
fn an_account_behind_a_tombstone_is_erased_if_the_broker_said_so() {
    let one = House::new(1);
    let two = House::new(2);
    for story in ["told", "another head", "another's", "also another", "early"] {
        let files = Files::new();
        let dir = files.0.path().join("erased");
        let (ledger, blocks) = blocks();
        let kind = if story == "early" {
            Kind::Deny
        } else {
            Kind::Freeze
        };
        journal(&dir, &blocks, |sealed| {
            let mut records = plain(sealed);
            let head = sealed.block.hash();
            let erasures = match story {
                "told" | "early" => vec![one.erasure(head)],
                "another head" => vec![one.erasure(Hash([9; 32]))],
                "another's" => vec![two.erasure(head)],
                _ => vec![one.erasure(head), one.erasure(Hash([9; 32]))],
            };
            if sealed.block.claims().kind == kind {
                records.extend(erasures.into_iter().map(|erasure| Record::Erased {
                    erasure: Some(erasure),
                    both: true,
                }));
            }
            records
        });
        let verified = check(&ledger, &dir);
        let show = "ledger show DIR/erased --ledger DIR/ledger.toml";
        if story == "told" {
            let verified = verified.unwrap();
            let account = verified.accounts.iter().find(|a| a.account == one.sub());
            assert_eq!(account.unwrap().status, "erased");
            let drawn = succeeds(&files.run(show));
            assert_eq!(drawn.matches("the broker signed that nothing").count(), 1);
            let json = succeeds(&files.run("--json ledger show DIR/erased"));
            assert_eq!(json.matches("\"erased\":true").count(), 4);
        } else {
            let told = verified.unwrap_err().to_string();
            let sub = one.sub();
            assert!(
                told.starts_with(&format!("account {sub}: its tombstone")),
                "{told}"
            );
            fails(&files.run(show), 1);
        }
        let drawn = succeeds(&files.run("ledger show DIR/erased"));
        assert_eq!(drawn.matches("says that it is erased").count(), 1);
    }
}

struct Files(TempDir);

impl Files {
    /// `ledger.toml`, `export`, and `data` with a journal.
    fn new() -> Files {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, blocks) = blocks();
        fs::write(
            dir.path().join("ledger.toml"),
            render_ledger(&ledger, &crate::log::keys()),
        )
        .unwrap();
        fs::write(dir.path().join("export"), export_bytes(&blocks)).unwrap();
        journal(&dir.path().join("data"), &blocks, plain);
        Files(dir)
    }

    fn run(&self, args: &str) -> std::process::Output {
        let args: Vec<&str> = args.split(' ').collect();
        run(&args, self.0.path())
    }
}

#[test]
fn the_command_verifies_files_and_directories_and_exports_the_same() {
    let files = Files::new();
    for source in ["export", "data"] {
        let told = succeeds(&files.run(&format!(
            "ledger verify DIR/{source} --ledger DIR/ledger.toml"
        )));
        assert!(told.starts_with("verified: 2 accounts, 6 blocks of https://ledger.example"));
        let json = files.run(&format!(
            "--json ledger verify DIR/{source} --ledger DIR/ledger.toml"
        ));
        let json: serde_json::Value = serde_json::from_str(&succeeds(&json)).unwrap();
        assert_eq!(json["verified"], true);
        assert_eq!(json["accounts"][0]["status"].as_str().unwrap().len(), 6);
    }
    let exported = succeeds(&files.run("ledger export DIR/data"));
    let expected = fs::read_to_string(files.0.path().join("export")).unwrap();
    assert_eq!(exported, expected);
}

#[test]
fn exit_codes_tell_a_failed_verification_from_a_missing_file() {
    let files = Files::new();
    let path = files.0.path().join("export");
    let text = fs::read_to_string(&path).unwrap();
    // The third block's proof.
    let line = text.lines().nth(3).unwrap();
    let changed = line.replacen("\"account\":\"", "\"account\":\"A", 1);
    fs::write(&path, text.replace(line, &changed)).unwrap();
    let verify = "ledger verify DIR/export --ledger DIR/ledger.toml";
    let told = fails(&files.run(verify), 1);
    assert!(told.contains("not verified: line 4"), "{told}");
    let json = fails(&files.run(&format!("--json {verify}")), 1);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["error"]["code"], &json["error"]["kind"]),
        (&1.into(), &"refused".into())
    );
    fails(
        &files.run("ledger verify DIR/nothing --ledger DIR/ledger.toml"),
        5,
    );
    fails(
        &files.run("ledger verify DIR/export --ledger DIR/nothing"),
        3,
    );
    fails(&files.run("ledger export DIR/export"), 5);
}

#[test]
fn show_draws_linked_boxes_in_local_time() {
    let files = Files::new();
    let sub = House::new(1).sub();
    let drawn = succeeds(&files.run(&format!("ledger show DIR/export --account {sub}")));
    for part in [
        "╭─ 0 genesis · admit ─",
        "╔═ 3 freeze · restrict ═",
        "├──╴ proposal CAgICAgICA…, locked at this height, displaced",
        "2026-09-21 23:13:20 +09:00",
        "device denies · broker signs",
        "supersedes CAgICAgICA…",
        "not verified",
    ] {
        assert!(drawn.contains(part), "{part} is missing in\n{drawn}");
    }
    assert!(
        drawn.contains("│ all three sign the transcript "),
        "{drawn}"
    );
    // Between four blocks, and after the branch that ends.
    assert_eq!(drawn.matches('▼').count(), 4);
    let boxes = drawn
        .lines()
        .filter(|line| line.starts_with(['╭', '│', '╰', '╔', '║', '╚']));
    assert!(
        boxes
            .map(|line| line.chars().count())
            .all(|width| width == 74)
    );
    assert!(
        !drawn.contains('\x1b'),
        "colours although stdout is no terminal"
    );
    let json = succeeds(&files.run("--json ledger show DIR/data --ledger DIR/ledger.toml"));
    let rows: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 6);
    assert!(rows.iter().all(|row| row["verified"] == true));
    let times = rows
        .iter()
        .filter(|row| row["iat"].is_u64() && row["exp"].is_u64());
    assert_eq!(times.count(), 6, "times are UTC seconds in {json}");
}

#[test]
fn long_chains_are_shown_in_pages() {
    let files = Files::new();
    let sub = House::new(1).sub();
    let show = |page: &str| {
        succeeds(&files.run(&format!("ledger show DIR/export --account {sub} {page}")))
    };
    let last = show("--last 1");
    assert!(last.contains("3 earlier blocks are not shown"), "{last}");
    assert!(
        last.contains(" 3 freeze · restrict ") && !last.contains(" 2 "),
        "{last}"
    );
    let from = show("--from 2");
    assert!(from.contains("2 earlier blocks are not shown"), "{from}");
    assert_eq!(from.matches("hash ").count(), 2, "{from}");
    let both = show("--from 1 --last 9");
    assert_eq!(both.matches("hash ").count(), 3, "{both}");
    let json = succeeds(&files.run(&format!(
        "--json ledger show DIR/export --account {sub} --last 2"
    )));
    assert_eq!(json.lines().count(), 2);
}
