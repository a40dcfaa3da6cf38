//! Operators that came back from an older copy of their directory.

use std::{fs, path::Path};

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
