//! A journal that lost its last records, cut exactly between two: the file alone can't tell.

use std::fs;

use super::*;
use warifu_client_sdk::store::JournalReader;

/// Cuts the record with the account's last block, and whatever follows it. Returns how many are left.
fn cut_last_block(data: &Path, account: Sub) -> u64 {
    let records = JournalReader::open(data).unwrap().map(Result::unwrap);
    let last = records
        .filter(|record| record.stream.0 == account.0 && record.head.is_some())
        .last()
        .unwrap();
    let path = data.join(format!("journal/{:08}.seg", last.segment));
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(last.offset).unwrap();
    let mut reader = JournalReader::open(data).unwrap();
    let left = reader.by_ref().map(Result::unwrap).count();
    assert_eq!(reader.torn_bytes(), 0, "the cut can be seen");
    left as u64
}

/// `is_logged`: what is cut off held the log's word on the block too, so that the log's files and the other
/// operator are ahead of the journal in both.
async fn is_noticed_and_filled(is_logged: bool) {
    let net = net().await;
    let device = net.device("device").await;
    let (account, _) = net.enrol(&device).await;
    let began = net.begin(account, Kind::Login).await.unwrap();
    device
        .approve(asked(&device).await, began.number)
        .await
        .unwrap();
    let Outcome::Admitted(admitted) = net.outcome(&began).await else {
        panic!("not admitted")
    };
    if is_logged {
        let proof = net.broker.proof(&admitted, PATIENCE).await.unwrap();
        proof.expect("the block is in the log");
    }

    let data = net.dir.path().join("broker");
    let mut left = 0;
    let net = restart(net, |data| left = cut_last_block(data, account)).await;
    assert!(left > 0);
    // Heads are compared before anything is signed (rule 8): the trust operator's is one higher, and the
    // block that was acknowledged is there again. The broker holds its own lock on it, so it is no
    // restored copy, and goes on.
    until("the other operator fills it", async || {
        net.broker.history(account, None, 10).await.unwrap().len() == 2
    })
    .await;
    let page = net.broker.history(account, None, 10).await.unwrap();
    let heights = page.iter().map(|entry| entry.sealed.block.claims().height);
    assert_eq!(heights.max(), Some(1));
    assert!(
        page.iter()
            .any(|entry| entry.sealed.block == admitted.block)
    );
    let proof = net.broker.proof(&admitted, PATIENCE).await.unwrap();
    let proof = proof.expect("the block is in the log again").to_string();
    verify_logged(&admitted.block, &proof, &log_keys()).unwrap();
    device.stop().await;
    net.broker.stop().await;
    net.trust_operator.stop().await;
    let walked = JournalReader::open(&data).unwrap().map(Result::unwrap);
    assert!(walked.count() as u64 > left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_cut_between_two_records_is_noticed_by_heads_and_filled_by_the_other_operator() {
    is_noticed_and_filled(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_cut_before_the_log_s_word_too_is_filled_and_logged_again() {
    is_noticed_and_filled(true).await;
}
