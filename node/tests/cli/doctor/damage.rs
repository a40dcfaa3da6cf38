//! Journals, indexes, vaults and disks that are not what they should be.

use warifu_consensus::log::SignedNote;

use super::*;

#[test]
fn an_account_with_its_share_is_well_and_one_without_is_named() {
    let house = House::new();
    house.found("b", 1, true);
    let findings = house.offline("b");
    findings.is_well("journal");
    findings.is_well("vault");
    findings.is_well("index");
    let bare = house.found("b", 2, false);
    let findings = house.offline("b");
    findings.fails("vault", &format!("no share of 1 accounts: {bare}"), 6);
    fs::remove_dir_all(house.path("b/data/vault")).unwrap();
    house
        .offline("b")
        .fails("vault", "there is none beside a journal of 2 accounts", 6);
}

#[test]
fn doctor_changes_nothing() {
    let house = House::new();
    house.found("t", 1, true);
    let files = |dir: &Path| {
        let mut found = Vec::new();
        let mut open = vec![dir.to_path_buf()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).unwrap().flatten() {
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() {
                    open.push(entry.path());
                } else {
                    let bytes = fs::read(entry.path()).unwrap();
                    found.push((entry.path(), metadata.modified().unwrap(), bytes));
                }
            }
        }
        found.sort();
        found
    };
    let before = files(house.dir.path());
    house.doctor("t", &[]);
    assert!(before == files(house.dir.path()), "a file was changed");
}

#[test]
fn a_flipped_byte_is_named_by_file_and_offset() {
    let house = House::new();
    house.found("b", 1, true);
    for (part, check) in [("journal", "journal"), ("vault", "vault")] {
        let path = house.path("b/data").join(part).join("00000001.seg");
        let good = fs::read(&path).unwrap();
        let mut bytes = good.clone();
        let at = bytes.len() - 5;
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        house.offline("b").fails(check, "is corrupt at byte", 6);
        fs::write(path, good).unwrap();
    }
    house.offline("b").is_well("journal");
}

#[test]
fn a_cut_last_record_and_a_missing_index_are_only_noted() {
    let house = House::new();
    house.found("b", 1, true);
    let path = house.path("b/data/journal/00000001.seg");
    let mut file = fs::File::options().append(true).open(path).unwrap();
    file.write_all(&[1, 2, 3]).unwrap();
    let findings = house.offline("b");
    findings.has("journal", "note", "3 bytes of an unfinished last write");
    fs::remove_dir_all(house.path("b/data/index")).unwrap();
    house.offline("b").has("index", "note", "there is none");
}

#[test]
fn an_index_of_another_journal_is_warned_of() {
    let house = House::new();
    house.found("b", 1, true);
    fs::rename(house.path("b/data"), house.path("b/before")).unwrap();
    house.found("b", 2, true);
    fs::remove_dir_all(house.path("b/data/index")).unwrap();
    fs::rename(house.path("b/before/index"), house.path("b/data/index")).unwrap();
    house
        .offline("b")
        .has("index", "warning", "something else than this journal");
}

#[test]
fn an_index_that_is_behind_is_only_noted() {
    let house = House::new();
    house.found("b", 1, true);
    fs::rename(house.path("b/data/index"), house.path("older")).unwrap();
    house.found("b", 2, true);
    fs::remove_dir_all(house.path("b/data/index")).unwrap();
    fs::rename(house.path("older"), house.path("b/data/index")).unwrap();
    let findings = house.offline("b");
    findings.has("index", "note", "the last 1 records are not in it yet");
}

#[test]
fn a_journal_of_a_later_release_or_another_role_is_refused() {
    let house = House::new();
    house.found("b", 1, true);
    let path = house.path("b/data/journal/00000001.seg");
    let good = fs::read(&path).unwrap();
    let mut bytes = good.clone();
    let length = u32::from_le_bytes(bytes[..4].try_into().unwrap());
    let length = (length & (u32::MAX >> 1)) as usize;
    // Length 4, check 8, chain hash 32, then the header's payload: magic 14, version 4.
    bytes[44 + 14] = 3;
    let mut hasher = blake3::Hasher::new_derive_key("warifu 2026 journal record v1");
    hasher.update(&[0; 32]);
    hasher.update(&bytes[44..44 + length]);
    bytes[12..44].copy_from_slice(hasher.finalize().as_bytes());
    fs::write(&path, bytes).unwrap();
    house
        .offline("b")
        .fails("journal", "format version 3, newest supported 2", 3);
    fs::write(&path, good).unwrap();
    fs::rename(house.path("b/data"), house.path("t/data")).unwrap();
    house
        .offline("t")
        .fails("journal", "directory belongs to ledger", 3);
}

#[test]
fn another_nodes_master_key_is_told_from_damage() {
    let house = House::new();
    house.found("b", 1, true);
    fs::copy(house.path("t.master-key"), house.path("b.master-key")).unwrap();
    house
        .offline("b")
        .fails("vault", "sealed under another master key", 3);
}

#[test]
fn a_disk_with_less_than_the_reserve_is_an_error() {
    let house = House::new();
    house.edit(
        "b",
        "disk_reserve_mib = 256",
        "disk_reserve_mib = 1073741824",
    );
    let findings = house.offline("b");
    findings.fails("disk", "MiB are kept in reserve", 6);
    let is_written = |finding: &&Value| finding["found"].as_str().unwrap().contains("synced in");
    // How long it took is the machine's affair.
    assert!(findings.list.iter().any(|finding| is_written(&finding)));
}

#[test]
fn the_log_s_checkpoint_and_evidence_of_a_fork_are_told() {
    let house = House::new();
    let config = |name: &str| Config::load(&house.path(name)).unwrap();
    let log = config("b").node.data.join("log");
    let offline = || house.offline("b");
    offline().has("log", "note", "no checkpoint of both operators yet");
    let key = |name: &str| config(name).checkpoint_key().unwrap().unwrap();
    let (broker, witness) = (key("b"), key("t"));
    let root = house.log("b", 7, [&broker, &witness]);
    let note = |size: u64, root: [u8; 32]| {
        let checkpoint = Checkpoint {
            origin: broker.public().name().to_owned(),
            size,
            root,
        };
        checkpoint.signed(&broker)
    };
    let write =
        |name: &str, note: &SignedNote| fs::write(log.join(name), note.to_string()).unwrap();
    let both = |size, root| {
        let mut note = note(size, root);
        note.sign(&witness, 1_790_000_000);
        note
    };
    write("checkpoint", &note(7, root));
    offline().has("log", "warning", "checkpoint: ");
    // What both signed and the journal lacks.
    for (name, size, told) in [
        ("checkpoint", 7, "the log was forked"),
        ("checkpoint", 9, "but the journal's log has 7"),
        ("checkpoint.ahead", 9, "but the journal's log has 7"),
    ] {
        write(name, &both(size, [3; 32]));
        let findings = offline();
        findings.fails("log", told, 6);
        let advice = findings.has("log", "error", told)["do"].to_string();
        assert!(advice.contains("keep this file"), "{advice}");
        write("checkpoint", &both(7, root));
    }
    fs::remove_file(log.join("checkpoint.ahead")).unwrap();
    offline().has("log", "ok", "checkpoint of 7 leaves, cosigned 2026-");
    fs::create_dir_all(log.join("evidence")).unwrap();
    offline().is_well("log");
    fs::write(log.join("evidence/7-x.json"), "{}").unwrap();
    offline().fails("log", "the log was forked", 6);
}

#[test]
fn secrets_of_an_erased_account_are_told() {
    let house = House::new();
    let sub = house.found("b", 4, true);
    house.offline("b").is_well("vault");
    let tombstone = Record::Erased {
        erasure: None,
        both: true,
    };
    house.append("b", sub, tombstone);
    let findings = house.offline("b");
    findings.fails("vault", "secrets of 1 erased accounts: ", 6);
    findings.has("vault", "error", &sub.to_string());
}
