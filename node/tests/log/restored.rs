//! Operators that came back from an older copy of their directory.

use std::{fs, path::Path};

use warifu_consensus::log::{Evidence, SignedNote};

use super::*;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Ten blocks, a backup of one side, ten more; then that side comes back from the backup and catches up with the
/// blocks, and ten more are sealed.
async fn comes_back(role: usize, is_checkpoint_lost: bool) {
    let mut pair = Pair::new();
    let (mut broker, mut trust_operator) = (pair.broker(), pair.trust_operator());
    pair.connect([&broker, &trust_operator]).await;
    let mut sealed = Vec::new();
    for number in 1..=10 {
        sealed.push(pair.seal(&broker, &trust_operator, account(number)).await);
    }
    for side in [&broker, &trust_operator] {
        side.cosigned(10).await;
    }
    pair.cut();
    broker.stop().await;
    trust_operator.stop().await;
    let backup = pair.dir(role).with_extension("backup");
    copy(pair.dir(role), &backup);
    broker = pair.broker();
    trust_operator = pair.trust_operator();
    pair.connect([&broker, &trust_operator]).await;
    let mut lost = Vec::new();
    for number in 5..=15 {
        lost.push(pair.seal(&broker, &trust_operator, account(number)).await);
    }
    for side in [&broker, &trust_operator] {
        side.cosigned(21).await;
    }
    pair.cut();
    broker.stop().await;
    trust_operator.stop().await;
    fs::remove_dir_all(pair.dir(role)).unwrap();
    fs::rename(&backup, pair.dir(role)).unwrap();
    if is_checkpoint_lost {
        fs::remove_file(pair.dir(2).join("log/checkpoint")).unwrap();
    }
    broker = pair.broker();
    trust_operator = pair.trust_operator();
    pair.connect([&broker, &trust_operator]).await;
    // Half of the blocks come back before the log is compared, half after.
    let restored = if role == 2 { &broker } else { &trust_operator };
    for (number, sealed) in lost.iter().enumerate() {
        if number == 5 && !is_checkpoint_lost {
            restored.cosigned(21).await;
        }
        let claims = sealed.block.claims();
        if role == 2 && claims.height == 0 {
            restored.keep_content_key(&claims.sub).await;
        }
        restored.seal(sealed).await;
    }
    // Each is proven as soon as it is there again, before any other block is logged.
    restored.cosigned(21).await;
    for sealed in &lost {
        prove(&restored.book, sealed);
    }
    sealed.extend(lost);
    for number in 1..=10 {
        sealed.push(pair.seal(&broker, &trust_operator, account(number)).await);
    }
    for side in [&broker, &trust_operator] {
        side.cosigned(31).await;
        assert_eq!(side.book.state().size, 31, "none twice");
        for sealed in &sealed {
            prove(&side.book, sealed);
        }
    }
    // And once more over, from what is on the disk.
    pair.cut();
    broker.stop().await;
    trust_operator.stop().await;
    let (broker, trust_operator) = (pair.broker(), pair.trust_operator());
    pair.connect([&broker, &trust_operator]).await;
    sealed.push(pair.seal(&broker, &trust_operator, account(15)).await);
    for side in [&broker, &trust_operator] {
        side.cosigned(32).await;
        assert_eq!(side.book.state().size, 32);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_broker_takes_the_leaves_over_and_logs_nothing_twice() {
    comes_back(2, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_trust_operator_takes_the_leaves_over_and_cosigns_nothing_twice() {
    comes_back(3, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_trust_operator_matches_every_batch_again_where_no_checkpoint_of_its_own_is_left()
 {
    comes_back(3, true).await;
}

/// A note that both signed.
fn both_signed(size: u64, root: [u8; 32]) -> SignedNote {
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size,
        root,
    };
    let mut note = checkpoint.signed(&log_key());
    note.sign(&witness_key(), 1_780_000_500);
    note
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_the_journal_is_behind_is_set_aside_until_the_log_has_it() {
    for role in [2, 3] {
        let mut pair = Pair::new();
        let (broker, trust_operator) = (pair.broker(), pair.trust_operator());
        pair.connect([&broker, &trust_operator]).await;
        for number in 1..=10 {
            pair.seal(&broker, &trust_operator, account(number)).await;
        }
        for side in [&broker, &trust_operator] {
            side.cosigned(10).await;
        }
        pair.cut();
        broker.stop().await;
        trust_operator.stop().await;
        let log = pair.dir(role).join("log");
        let (kept, aside) = (log.join("checkpoint"), log.join("checkpoint.ahead"));
        let good = fs::read(&kept).unwrap();
        // Signed, and not in the journal: rolled back.
        let ahead = both_signed(20, [3; 32]).to_string();
        fs::write(&kept, &ahead).unwrap();
        let side = &pair.sides[role - 2];
        for _ in 0..2 {
            let book = side.book(&side.keeper()).unwrap();
            assert_eq!(book.state().size, 10);
            drop(book);
            assert_eq!(fs::read_to_string(&aside).unwrap(), ahead);
        }
        // The first stays.
        fs::write(&kept, both_signed(30, [4; 32]).to_string()).unwrap();
        drop(side.book(&side.keeper()).unwrap());
        assert_eq!(fs::read_to_string(&aside).unwrap(), ahead);
        // What the log has needs no place aside.
        fs::write(&aside, &good).unwrap();
        fs::write(&kept, &good).unwrap();
        let book = side.book(&side.keeper()).unwrap();
        assert_eq!(book.cosigned().unwrap().0.size, 10);
        drop(book);
        assert!(!aside.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rival_that_both_signed_is_kept_as_evidence_before_it_is_written_over() {
    for (role, name) in [
        (2, "checkpoint"),
        (3, "checkpoint"),
        (2, "checkpoint.ahead"),
    ] {
        let mut pair = Pair::new();
        let (broker, trust_operator) = (pair.broker(), pair.trust_operator());
        pair.connect([&broker, &trust_operator]).await;
        for number in 1..=10 {
            pair.seal(&broker, &trust_operator, account(number)).await;
        }
        for side in [&broker, &trust_operator] {
            side.cosigned(10).await;
        }
        pair.cut();
        broker.stop().await;
        trust_operator.stop().await;
        let log = pair.dir(role).join("log");
        let rival = both_signed(7, [3; 32]);
        fs::write(log.join(name), rival.to_string()).unwrap();
        let side = &pair.sides[role - 2];
        let book = side.book(&side.keeper()).unwrap();
        // It is never taken for this log's own.
        assert!(book.cosigned().is_none_or(|(own, _)| own.size == 10));
        let file = fs::read_dir(log.join("evidence")).unwrap().next();
        let text = fs::read_to_string(file.unwrap().unwrap().path()).unwrap();
        let evidence = Evidence::from_text(&text).unwrap();
        assert_eq!(evidence.judge().unwrap().size, 7, "{role}");
        assert_eq!(evidence.first.text(), rival.text());
        assert!(!log.join("checkpoint.ahead").exists());
    }
}
