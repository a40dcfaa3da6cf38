//! A journal that lost its last records, cut exactly between two: the file alone can't tell.

use std::fs;

use super::http::restart;
use super::*;
use warifu_client_sdk::store::JournalReader;

/// Cuts the record that moved a head last, and what follows it.
fn cut_last_block(data: &Path) -> u64 {
    let records = JournalReader::open(data).unwrap().map(Result::unwrap);
    let last = records
        .filter(|record| record.head.is_some())
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

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_cut_between_two_records_is_noticed_by_heads_and_filled_by_the_other_operator() {
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

    let data = net.dir.path().join("broker");
    let mut left = 0;
    let net = restart(net, |data| left = cut_last_block(data)).await;
    assert!(left > 0);
    // Heads are compared before anything is signed (rule 8): the trust operator's is one higher, and the
    // block that was acknowledged is there again. The broker holds its own lock on it, so it is no
    // restored copy, and goes on.
    let filled = timeout(PATIENCE, async {
        loop {
            let page = net.broker.history(account, None, 10).await.unwrap();
            if page.len() == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    filled.await.expect("the other operator fills it");
    let page = net.broker.history(account, None, 10).await.unwrap();
    let heights = page.iter().map(|entry| entry.sealed.block.claims().height);
    assert_eq!(heights.max(), Some(1));
    assert!(
        page.iter()
            .any(|entry| entry.sealed.block == admitted.block)
    );
    device.stop().await;
    net.broker.stop().await;
    net.trust_operator.stop().await;
    let walked = JournalReader::open(&data).unwrap().map(Result::unwrap);
    assert!(walked.count() as u64 > left);
}
