//! A node's directory: what is good is counted, what is not is named.

use std::{fs, path::Path};

use warifu_client_sdk::runtime::AccountSecret;
use warifu_consensus::log::Checkpoint;

use super::*;
use crate::cli::{fails, run, succeeds};

#[tokio::test]
async fn a_good_directory_is_counted_in_either_mode_at_either_operator() {
    for role in [2, 3] {
        let (kept, _) = kept(role, 5).await;
        for mode in [Mode::Strict, Mode::Batch] {
            let audited = kept.audit(mode);
            assert_eq!(audited.faults, [], "{:?}", audited.notes);
            assert_eq!(audited.notes, [""; 0], "everything was read");
            assert_eq!((audited.accounts, audited.blocks), (5, 21));
            assert_eq!((audited.size, audited.batches, audited.opened), (20, 2, 20));
            assert_eq!((audited.unlogged, audited.erased), (1, 0));
            // Genesis 7, two logins 4, a denial's two operators and word; the freeze of one; two batches, one file.
            let blocks = 5 * (7 + 4 + 4 + 3) + 2;
            assert_eq!(audited.signatures, blocks + 2 * 2 + 2);
            assert_eq!(audited.secrets, 5);
        }
    }
}

#[tokio::test]
async fn accounts_that_do_not_fit_are_looked_at_in_further_passes_with_a_vault_and_without() {
    let (kept, _) = kept(2, 30).await;
    for master_key in [true, false] {
        let at_once = |accounts_at_once| {
            let audit = DirectoryAudit {
                master_key: master_key.then(master),
                ..auditor(&kept.data(), Mode::Batch, accounts_at_once)
            };
            audit.run(&mut |_, _, _| {})
        };
        let whole = at_once(1000);
        assert_eq!((whole.passes, whole.accounts), (1, 30));
        assert_eq!(whole.faults, []);
        for (few, least) in [(1, 8), (4, 3), (10, 2), (29, 1)] {
            let found = at_once(few);
            assert!(found.passes >= least, "{few}: {found:?}");
            let passes = whole.passes;
            assert_eq!(Audited { passes, ..found }, whole, "{few} at once");
        }
    }
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_flipped_bit_anywhere_fails_and_says_where() {
    for role in [2, 3] {
        let (kept, _) = kept(role, 6).await;
        let mut kinds = std::collections::BTreeSet::new();
        for path in files(&kept.data()) {
            let good = fs::read(&path).unwrap();
            if good.is_empty() {
                continue;
            }
            let name = path.strip_prefix(kept.data()).unwrap();
            kinds.insert(name.iter().next().unwrap().to_owned());
            for part in [0, 1, 3, 5, 7, 8] {
                let at = (good.len() - 1) * part / 8;
                let mut bytes = good.clone();
                bytes[at] ^= 1 << (part % 8);
                fs::write(&path, &bytes).unwrap();
                let audited = kept.audit(Mode::Strict);
                let told: Vec<String> = audited.faults.iter().map(ToString::to_string).collect();
                let fault = audited.faults.iter().find(|fault| fault.file == path);
                let fault =
                    fault.unwrap_or_else(|| panic!("{}, byte {at}: {told:?}", path.display()));
                let offset = fault.offset.expect("it is told where");
                let is_near = match name.to_str().unwrap() {
                    // Its sums are of 4096 bytes each.
                    name if name.ends_with(".sums") => offset == 0,
                    name if name.starts_with("index") => offset / 4096 == at as u64 / 4096,
                    // A note is good or not.
                    name if name.ends_with("checkpoint") => offset == 0,
                    // A record is good or not, and none is longer than this.
                    name if name.ends_with(".seg") => {
                        offset <= at as u64 && at as u64 - offset < 10_000
                    }
                    _ => offset == at as u64,
                };
                assert!(is_near, "{}, byte {at}: {fault}", path.display());
                let is_derived = name.starts_with("index") || name.starts_with("log");
                assert_eq!(fault.derived, is_derived, "{fault}");
            }
            fs::write(&path, good).unwrap();
        }
        assert_eq!(kinds.len(), 4, "{kinds:?}");
        assert_eq!(kept.audit(Mode::Strict).faults, []);
    }
}

#[tokio::test]
async fn a_signature_of_somebody_else_is_found_in_either_mode() {
    let kept = Kept::new(2);
    let chains = chains(3);
    let open = kept.open();
    for chain in &chains {
        open.knows(&chain[0].block.claims().sub).await;
        open.seal(&chain[0]).await;
    }
    let mut bad = chains[1][1].clone();
    bad.proof = chains[0][1].proof;
    open.seal(&chains[0][1]).await;
    open.seal(&bad).await;
    drop(open);
    for mode in [Mode::Strict, Mode::Batch] {
        let audited = kept.audit(mode);
        let told = audited.faults[0].to_string();
        let sub = bad.block.claims().sub.to_string();
        assert!(told.contains(&sub) && told.contains("height 1"), "{told}");
        assert!(audited.faults[0].offset.is_some(), "{told}");
    }
}

#[tokio::test]
async fn a_leaf_is_its_block_s_and_a_block_has_one() {
    let chains = chains(2);
    let name = |s: &Sealed| (s.block.claims().sub, s.block.claims().height);
    let leaf = |s: &Sealed| opener(&s.block.claims().sub).leaf(&s.block.hash());
    let (a, b) = (&chains[0][0], &chains[1][0]);
    for (story, leaves, blocks, told) in [
        (
            "another's leaf",
            vec![leaf(a), leaf(a)],
            vec![name(a), name(b)],
            "leaf 1 is not that of",
        ),
        (
            "twice",
            vec![leaf(a), leaf(a), leaf(b)],
            vec![name(a), name(a), name(b)],
            "has a leaf already",
        ),
        ("left out", vec![leaf(a)], vec![name(a)], "has no leaf"),
        (
            "of nothing",
            vec![leaf(a), leaf(b), leaf(a)],
            vec![name(a), name(b), (name(a).0, 9)],
            "does not hold",
        ),
    ] {
        let kept = Kept::new(2);
        let open = kept.open();
        for sealed in [a, b] {
            open.knows(&sealed.block.claims().sub).await;
            open.seal(sealed).await;
        }
        let (_, through) = open.keeper.sealed_after(Place::START, 1000).unwrap();
        open.grow(leaves, blocks, through).await;
        drop(open);
        let audited = kept.audit(Mode::Strict);
        let found = audited.faults.first().map(ToString::to_string);
        let found = found.unwrap_or_else(|| panic!("{story} passed"));
        assert!(found.contains(told), "{story}: {found}");
        assert!(audited.faults[0].offset.is_some(), "{story}: {found}");
    }
}

#[tokio::test]
async fn leaves_of_an_account_whose_secrets_are_gone_are_counted() {
    let (kept, chains) = kept(2, 3).await;
    let open = kept.open();
    let sub = chains[1][0].block.claims().sub;
    let head = chains[1][3].block.hash();
    let tombstone = Record::Erased {
        erasure: Some(House::new(2).erasure(head)),
        both: true,
    };
    open.keeper.append(&sub, &[tombstone]).await.unwrap();
    open.keeper.forget_erased(&[sub]).await.unwrap();
    drop(open);
    let audited = kept.audit(Mode::Strict);
    assert_eq!(audited.faults, []);
    assert_eq!((audited.opened, audited.erased), (8, 4));
}

#[tokio::test]
async fn a_tombstone_is_the_broker_s_word_on_the_last_block() {
    let (sub, other) = (House::new(2), House::new(1));
    for (story, told) in [
        ("of nobody", "has no word of the broker"),
        ("of another account", "the broker's word"),
        ("of another block", "but the last one here is"),
    ] {
        let (kept, chains) = kept(3, 2).await;
        let chain = &chains[1];
        let erasure = match story {
            "of nobody" => None,
            "of another account" => Some(other.erasure(chain[3].block.hash())),
            _ => Some(sub.erasure(chain[2].block.hash())),
        };
        let tombstone = Record::Erased {
            erasure,
            both: true,
        };
        let open = kept.open();
        open.keeper.append(&sub.sub(), &[tombstone]).await.unwrap();
        open.keeper.forget_erased(&[sub.sub()]).await.unwrap();
        drop(open);
        let audited = kept.audit(Mode::Strict);
        let found = audited.faults.first().map(ToString::to_string);
        let found = found.unwrap_or_else(|| panic!("{story} passed"));
        assert!(found.contains("tombstone of account"), "{story}: {found}");
        assert!(found.contains(told), "{story}: {found}");
    }
}

#[tokio::test]
async fn nothing_is_sealed_behind_a_tombstone() {
    let kept = Kept::new(2);
    let chain = &chains(1)[0];
    let open = kept.open();
    open.knows(&chain[0].block.claims().sub).await;
    for sealed in &chain[..4] {
        open.seal(sealed).await;
    }
    let tombstone = Record::Erased {
        erasure: Some(House::new(1).erasure(chain[3].block.hash())),
        both: false,
    };
    let sub = House::new(1).sub();
    open.keeper.append(&sub, &[tombstone]).await.unwrap();
    open.seal(&chain[4]).await;
    drop(open);
    let audited = kept.audit(Mode::Strict);
    let found = audited.faults[0].to_string();
    assert!(found.contains("behind the account's tombstone"), "{found}");
}

#[tokio::test]
async fn leaves_that_nobody_can_open_though_no_account_was_erased_are_a_fault() {
    for all in [false, true] {
        let (kept, chains) = kept(3, 3).await;
        let sub = chains[1][0].block.claims().sub;
        if all {
            fs::remove_dir_all(kept.data().join("vault")).unwrap();
        } else {
            kept.open().keeper.forget(&sub).await.unwrap();
        }
        let audited = kept.audit(Mode::Strict);
        let told = audited.faults.first().map(ToString::to_string);
        let told = told.unwrap_or_else(|| panic!("nothing told, {} opened", audited.opened));
        assert!(all || told.contains(&sub.to_string()), "{told}");
    }
}

/// A checkpoint that both operators signed.
fn both_signed(size: u64, root: [u8; 32]) -> String {
    let checkpoint = Checkpoint {
        origin: "log.example".to_owned(),
        size,
        root,
    };
    let mut note = checkpoint.signed(&log_key());
    note.sign(&witness_key(), NOW);
    note.to_string()
}

#[tokio::test]
async fn what_both_signed_and_the_journal_lacks_is_never_to_be_deleted() {
    for role in [2, 3] {
        let (kept, _) = kept(role, 3).await;
        let log = kept.data().join("log");
        for (name, size, told) in [
            ("checkpoint", 20, "the journal is behind it"),
            ("checkpoint", 12, "the log was forked"),
            ("checkpoint", 5, "the log was forked"),
            ("checkpoint.ahead", 20, "the journal is behind it"),
            ("checkpoint.ahead", 6, "the log was forked"),
        ] {
            let path = log.join(name);
            let before = fs::read(&path).ok();
            fs::write(&path, both_signed(size, [3; 32])).unwrap();
            let audited = kept.audit(Mode::Strict);
            let [fault] = audited.faults.as_slice() else {
                panic!("{name} of {size}: {:?}", audited.faults);
            };
            assert_eq!((&fault.file, fault.derived), (&path, false), "{fault}");
            let text = fault.to_string();
            assert!(
                text.contains(told) && text.contains("keep this file"),
                "{text}"
            );
            match before {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
        }
        // What a running node wrote meanwhile may be ahead of what was read; a fork is one.
        let open = kept.open();
        let path = log.join("checkpoint");
        fs::write(&path, both_signed(20, [3; 32])).unwrap();
        let audited = kept.audit(Mode::Strict);
        assert_eq!(audited.faults, []);
        assert!(audited.notes.iter().any(|n| n.contains("not compared")));
        fs::write(&path, both_signed(6, [3; 32])).unwrap();
        assert_eq!(kept.audit(Mode::Strict).faults.len(), 1);
        drop(open);
    }
}

#[tokio::test]
async fn secrets_that_an_erased_account_still_has_are_told() {
    for role in [2, 3] {
        for remaining in ["all", "put back", "a share"] {
            let (kept, chains) = kept(role, 3).await;
            let sub = chains[1][0].block.claims().sub;
            let tombstone = Record::Erased {
                erasure: Some(House::new(2).erasure(chains[1][3].block.hash())),
                both: true,
            };
            let open = kept.open();
            open.keeper.append(&sub, &[tombstone]).await.unwrap();
            if remaining != "all" {
                open.keeper.forget_erased(&[sub]).await.unwrap();
            }
            if remaining == "put back" {
                open.knows(&sub).await;
            }
            drop(open);
            if remaining == "a share" {
                let vault = Vault::open(&kept.data().join("vault"), &master(), ISS).unwrap();
                let key = AccountSecret::Share.key(&sub);
                vault.put(key, &[7; 32]).await.unwrap();
            }
            let audited = kept.audit(Mode::Strict);
            let told: Vec<String> = audited.faults.iter().map(ToString::to_string).collect();
            let [told] = told.as_slice() else {
                panic!("{remaining}: {told:?}");
            };
            let part = format!("secrets of 1 erased account, the first {sub}, are still");
            assert!(told.contains(&part), "{remaining}: {told}");
            // Of a node that runs it is noted: it may just be forgetting them.
            let _open = kept.open();
            let audited = kept.audit(Mode::Strict);
            assert_eq!(audited.faults, [], "{remaining}");
            let is_noted = audited.notes.iter().any(|note| note.contains(&part));
            assert!(is_noted, "{remaining}: {:?}", audited.notes);
        }
    }
}

#[tokio::test]
async fn an_opener_that_is_gone_while_the_node_runs_is_noted() {
    let (kept, chains) = kept(3, 3).await;
    let sub = chains[1][0].block.claims().sub;
    let open = kept.open();
    open.keeper.forget(&sub).await.unwrap();
    let audited = kept.audit(Mode::Strict);
    assert_eq!(audited.faults, []);
    let part = format!("the openers of 1 logged account, the first {sub}, are not");
    let is_noted = audited.notes.iter().any(|note| note.contains(&part));
    assert!(is_noted, "{:?}", audited.notes);
}

#[tokio::test]
async fn a_lost_index_and_a_node_that_runs_are_no_faults() {
    let (kept, _) = kept(2, 3).await;
    let open = kept.open();
    let audited = kept.audit(Mode::Strict);
    assert_eq!(audited.faults, []);
    assert!(audited.running);
    assert_eq!(audited.opened, 12);
    drop(open);
    fs::remove_dir_all(kept.data().join("index")).unwrap();
    assert_eq!(kept.audit(Mode::Strict).faults, []);
}

#[tokio::test]
async fn the_command_audits_a_data_directory_with_the_keys_it_is_told() {
    let (kept, chains) = kept(3, 3).await;
    let dir = kept.dir.path();
    let text = warifu_node::config::render_ledger(&ledger(), &keys());
    fs::write(dir.join("ledger.toml"), text).unwrap();
    fs::write(dir.join("master"), [5; 32]).unwrap();
    fs::set_permissions(
        dir.join("master"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let args = "ledger audit DIR/data --ledger DIR/ledger.toml --master-key DIR/master";
    let audit = |more: &str| {
        let line = format!("{args} {more}");
        run(&line.trim().split(' ').collect::<Vec<_>>(), dir)
    };
    let told = succeeds(&audit(""));
    assert!(
        told.starts_with("audited: trust-operator of 3 accounts, 13 blocks"),
        "{told}"
    );
    assert!(!told.contains("pass in a batch"), "{told}");
    assert!(succeeds(&audit("--batch")).contains("pass in a batch and fail alone"));
    let json: serde_json::Value = serde_json::from_str(&succeeds(&audit("--json"))).unwrap();
    assert_eq!(
        (&json["opened"], &json["mode"]),
        (&12.into(), &"strict".into())
    );
    let verified = succeeds(&run(
        &[
            "ledger",
            "verify",
            "DIR/data",
            "--ledger",
            "DIR/ledger.toml",
        ],
        dir,
    ));
    assert!(
        verified.contains("3 accounts, 13 blocks"),
        "a log beside the chains: {verified}"
    );
    let leaves = kept.data().join("log/leaves");
    let mut bytes = fs::read(&leaves).unwrap();
    bytes[100] ^= 4;
    fs::write(&leaves, bytes).unwrap();
    let told = fails(&audit(""), 1);
    assert!(told.contains("log/leaves, byte 100: "), "{told}");
    assert!(told.contains("it is derived: delete it"), "{told}");
    // Bundled from the same directory, which derived files can't mislead.
    let sub = chains[0][0].block.claims().sub;
    let line = format!(
        "ledger bundle DIR/data --account={sub} --out DIR/bundle --ledger DIR/ledger.toml --master-key DIR/master"
    );
    succeeds(&run(&line.split(' ').collect::<Vec<_>>(), dir));
    let first = fs::read(dir.join("bundle")).unwrap();
    let told = fails(&run(&line.split(' ').collect::<Vec<_>>(), dir), 2);
    assert!(told.contains("is there already"), "{told}");
    assert_eq!(fs::read(dir.join("bundle")).unwrap(), first);
    let verify = [
        "ledger",
        "verify",
        "DIR/bundle",
        "--ledger",
        "DIR/ledger.toml",
    ];
    let told = succeeds(&run(&verify, dir));
    assert!(told.contains("5 blocks, 4 in the log"), "{told}");
}
