//! How many syncs a login costs each operator.

use std::time::Duration;

use warifu_consensus::{
    agree::Record,
    block::{Kind, Sealed},
    encoding::Hash,
    party::Role,
    vote::{Verb, Word},
};
use warifu_tests::load::{Disk, Trio, accounts};

/// Logins in flight.
const IN_FLIGHT: u64 = 64;

/// On a disk so slow that everybody waits for it, a login costs next to nothing but its turn. That
/// makes the count a property of the code and not of the machine: a sync ends only when all
/// accounts wait for one, so every group holds whoever could be in it. A machine that stalls for
/// longer than the disk waits makes a few groups smaller; the bound leaves room for most of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_logins_in_flight_share_their_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let founded = accounts(IN_FLIGHT);
    let mut trio = Trio::open(dir.path(), &founded, &Disk::patient()).await;
    let counted = trio.log_in(2 * IN_FLIGHT).await;
    trio.stop();
    for (party, written) in [
        ("broker", counted.broker),
        ("trust operator", counted.trust_operator),
    ] {
        assert!(
            written.syncs() <= counted.logins,
            "{party}: {} syncs for {} logins: {written:?}",
            written.syncs(),
            counted.logins
        );
    }
    // What each login wrote did not change: only who shares a sync with whom.
    assert_eq!(counted.broker.vault.records, counted.logins);
    assert_eq!(counted.broker.journal.records, 2 * counted.logins);
    // The last acknowledgements may still wait for something to go with.
    let sealed_and_acked = counted.logins..=2 * counted.logins;
    assert!(sealed_and_acked.contains(&counted.trust_operator.journal.records));
    assert_eq!(counted.trust_operator.vault.records, 0);
}

/// Alone, nobody is waited for: the broker syncs its lock with the salt beside it and the sealed
/// block, the trust operator the sealed block; an acknowledgement costs nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_login_at_a_time_costs_what_must_be_durable() {
    let dir = tempfile::tempdir().unwrap();
    let founded = accounts(1);
    let mut trio = Trio::open(dir.path(), &founded, &Disk::default()).await;
    let counted = trio.log_in(40).await;
    trio.stop();
    assert_eq!(counted.broker.journal.syncs, 80);
    assert_eq!(counted.broker.vault.syncs, 40);
    assert_eq!(counted.trust_operator.vault.syncs, 0);
    // The last acknowledgement has no later record to go with.
    let syncs = counted.trust_operator.journal.syncs;
    assert!((40..=44).contains(&syncs), "{syncs}");
}

fn sealed(records: &[Record]) -> Vec<Sealed> {
    let blocks = records.iter().filter_map(|record| match record {
        Record::Sealed(sealed) => Some((**sealed).clone()),
        _ => None,
    });
    blocks.collect()
}

/// What is read of a long chain is what it holds, and no more than its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_chain_is_read_from_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let founded = accounts(1);
    let sub = founded[0].founding.sub;
    let mut trio = Trio::open(dir.path(), &founded, &Disk::default()).await;
    trio.log_in(100).await;
    trio.pass(Duration::from_secs(61));
    trio.log_in(50).await;

    for role in [Role::Broker, Role::TrustOperator] {
        let keeper = trio.keeper(role);
        let all = keeper.records(&sub).unwrap();
        let chain = sealed(&all);
        assert_eq!(keeper.height(&sub).unwrap(), Some(150));
        assert_eq!(keeper.head(&sub).unwrap(), Some(chain[150].block.hash()));
        assert_eq!(keeper.first(&sub).unwrap().as_ref(), all.first());
        for (from, until) in [(0, 0), (0, 3), (31, 33), (64, 150), (149, 900), (151, 900)] {
            let found = keeper.blocks(&sub, from, until, usize::MAX).unwrap();
            let expected: Vec<_> = (0..).zip(&chain).collect();
            let expected = expected
                .iter()
                .filter(|(height, _)| (from..=until).contains(height));
            let expected: Vec<_> = expected.map(|(_, block)| (*block).clone()).collect();
            assert_eq!(found, expected, "{from} to {until}");
            let between = keeper.between(&sub, from, until).unwrap();
            assert_eq!(sealed(&between), expected, "{from} to {until}");
        }
        // One lock or acknowledgement for each block, and the mark behind it.
        let of_one = keeper.between(&sub, 100, 100).unwrap();
        assert_eq!(of_one.len(), 3, "{of_one:?}");
        let few = keeper.blocks(&sub, 10, 150, 5_000).unwrap();
        assert!((1..10).contains(&few.len()), "{}", few.len());

        let recovering = keeper.to_recover(&sub).unwrap();
        assert!(all.ends_with(&recovering));
        let Some(Record::Checkpoint(checkpoint)) = recovering.first() else {
            panic!("{:?}", recovering.first());
        };
        assert_eq!(checkpoint.head().height, 128);
        assert_eq!(sealed(&recovering).len(), 22);
        let marks = all.iter().filter(|r| r.is_behind_sealed()).count();
        assert_eq!(marks, 151, "something stands behind every block");
        for height in [0, 77, 150] {
            let hash = chain[height as usize].block.hash();
            assert_eq!(keeper.height_of(&sub, &hash, 0).unwrap(), Some(height));
            assert_eq!(keeper.height_of(&sub, &hash, height + 1).unwrap(), None);
        }
    }
    trio.stop();
}

/// A device that is far behind freezes: the block that it names is older than what the machines
/// have at hand, and counts all the same. A word about no block at all does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_that_names_an_old_block_counts() {
    let dir = tempfile::tempdir().unwrap();
    let founded = accounts(1);
    let sub = founded[0].founding.sub;
    let mut trio = Trio::open(dir.path(), &founded, &Disk::default()).await;
    trio.log_in(100).await;
    trio.pass(Duration::from_secs(61));
    trio.log_in(40).await;
    let old = sealed(&trio.records(Role::Broker, 0))[3].block.hash();
    let frozen = |trio: &Trio| {
        let records = trio.records(Role::Broker, 0);
        let frozen = records
            .iter()
            .any(|r| matches!(r, Record::Sealed(s) if s.block.claims().kind == Kind::Freeze));
        let held = trio.records(Role::TrustOperator, 0).into_iter();
        let held = held.filter_map(|r| match r {
            Record::Word(held) => Some(held.above),
            _ => None,
        });
        (frozen, held.collect::<Vec<_>>())
    };
    let word = |hash| Word::sign(&founded[0].device, Verb::Freeze, sub, hash);
    trio.tell_word(0, word(old));
    let sealing = async {
        while !frozen(&trio).0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), sealing)
        .await
        .expect("a freeze is sealed");
    assert_eq!(frozen(&trio).1, [3]);
    trio.tell_word(0, word(Hash([9; 32])));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(frozen(&trio).1, [3], "a word about no block was kept");
    trio.stop();
}
