//! What an account has at hand after a start from a checkpoint, and checkpoints that are none (protocol
//! rule 9).

use serde_json::{Value, json};
use warifu_consensus::agree::{Record, TrustOperator, TrustOperatorOptions};
use warifu_consensus::block::Kind;
use warifu_consensus::signature::IdentityKey;
use warifu_consensus::wire::{Agree, MAX_FRAME, decode, encode};

use crate::machines::{Bench, Chain, DELAY_S, NOW, chain, compared, trust_operator};

/// A trust operator that took in so many blocks, and the chain.
fn grown(height: u64) -> (Chain, Bench<TrustOperator>) {
    let mut chain = chain(&[]);
    let mut bench = compared(&chain, chain.records());
    for _ in 0..height {
        let sealed = vec![chain.grow(Kind::Expire)];
        let broker = warifu_consensus::party::Role::Broker;
        bench.hear(NOW, broker, Agree::Blocks { sealed });
    }
    (chain, bench)
}

fn is_checkpoint(record: &Record) -> bool {
    matches!(record, Record::Checkpoint(_))
}

/// The records from the last checkpoint on.
fn tail(records: &[Record]) -> Vec<Record> {
    let last = records.iter().rposition(is_checkpoint).expect("one");
    records[last..].to_vec()
}

#[test]
fn the_last_128_blocks_are_known_after_a_start_from_a_checkpoint() {
    for height in [31 + 32, 160, 170] {
        let (chain, bench) = grown(height);
        let started = trust_operator(tail(&bench.records));
        assert!(started.machine.stands_as(&bench.machine), "{height}");
        let account = started.machine.base().account().unwrap();
        for back in [0, 1, 31, 32, 62, 63, 126, 127, 128] {
            let Some(at) = height.checked_sub(back) else {
                continue;
            };
            let known = (back < 128).then(|| chain.head_at(at).hash);
            assert_eq!(account.hash_at(at), known, "{back} below {height}");
        }
        // A rival of the oldest of them is one.
        let oldest = height.saturating_sub(127).max(1);
        let like = &chain.blocks[oldest as usize].block;
        let rival = crate::machines::rival(&chain.house, like, Kind::Refuse, |_| ());
        let own = chain.head_at(oldest).hash;
        assert_eq!(account.rival_of(&rival.block), Some(own));
    }
}

#[test]
fn an_unfreeze_leaves_nothing_before_it_at_hand() {
    let mut chain = chain(&[Kind::Login, Kind::Freeze, Kind::Unfreeze]);
    let mut bench = compared(&chain, chain.records());
    while chain.head().height < 32 {
        let sealed = vec![chain.grow(Kind::Expire)];
        let broker = warifu_consensus::party::Role::Broker;
        bench.hear(NOW, broker, Agree::Blocks { sealed });
    }
    let started = trust_operator(tail(&bench.records));
    assert!(started.machine.stands_as(&bench.machine));
    let account = started.machine.base().account().unwrap();
    assert_eq!(account.hash_at(2), None);
    assert_eq!(account.hash_at(3), Some(chain.head_at(3).hash));
}

/// A checkpoint as JSON, to be altered.
fn altered(record: &Record, alter: impl FnOnce(&mut Value)) -> Record {
    let mut value = serde_json::to_value(record).unwrap();
    alter(&mut value["Checkpoint"]);
    serde_json::from_value(value).unwrap()
}

fn recovers(records: Vec<Record>) -> Result<TrustOperator, String> {
    let key = std::sync::Arc::new(IdentityKey::from_seed([3; 32]));
    let options = TrustOperatorOptions {
        unfreeze_delay_s: DELAY_S,
    };
    TrustOperator::recover(records, key, None, options)
}

#[test]
fn a_checkpoint_whose_blocks_end_elsewhere_is_refused() {
    let (_, bench) = grown(160);
    let checkpoint = tail(&bench.records).remove(0);
    let recent = |value: &Value| value["recent"].as_array().unwrap().len();
    let good = altered(&checkpoint, |value| assert_eq!(recent(value), 128));
    assert_eq!(good, checkpoint);
    assert!(recovers(vec![good]).is_ok());
    type Alter = fn(&mut Vec<Value>);
    let alter: [Alter; 3] = [
        |recent| recent.clear(),
        |recent| drop(recent.pop()),
        |recent| recent.insert(0, recent[0].clone()),
    ];
    for alter in alter {
        let bad = altered(&checkpoint, |value| {
            alter(value["recent"].as_array_mut().unwrap());
        });
        let error = recovers(vec![bad]).err().expect("refused");
        assert!(error.contains("expected 1 to 128"), "{error}");
    }
    // Fewer, that end at the head, are those of a chain that was unfrozen not long ago.
    let fewer = altered(&checkpoint, |value| {
        value["recent"].as_array_mut().unwrap().drain(..127);
    });
    assert!(recovers(vec![fewer]).is_ok());
}

#[test]
fn a_checkpoint_as_it_was_written_before_is_passed_over() {
    let (_, bench) = grown(40);
    let at = bench.records.iter().position(is_checkpoint).unwrap();
    let mut value = serde_json::to_value(&bench.records[at]).unwrap();
    let new = value["Checkpoint"].as_object_mut().unwrap();
    new.remove("recent");
    let old: Record = serde_json::from_value(json!({ "OldCheckpoint": new })).unwrap();
    // Its bytes are those of then: the same number, the same fields.
    let bytes = encode::<Record, MAX_FRAME>(&old).unwrap();
    assert_eq!(bytes[0], 14);
    assert_eq!(decode::<Record, MAX_FRAME>(&bytes).unwrap(), old);
    let newer = encode::<Record, MAX_FRAME>(&bench.records[at]).unwrap();
    assert_eq!(newer[0], 18);
    assert_eq!(newer.len(), bytes.len() + 1 + 33 * 32);
    // Nothing begins with it; a journal that holds it is folded from where something does.
    assert!(recovers(vec![old.clone()]).is_err());
    let mut records = bench.records.clone();
    records[at] = old;
    assert!(recovers(records).unwrap().stands_as(&bench.machine));
}
