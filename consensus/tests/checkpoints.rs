//! What an account has at hand after a start from a checkpoint, and checkpoints that are none (protocol
//! rule 9).

use serde_json::json;
use warifu_consensus::agree::{Record, TrustOperator, TrustOperatorOptions};
use warifu_consensus::block::Kind;
use warifu_consensus::signature::IdentityKey;
use warifu_consensus::wire::{Agree, MAX_FRAME, WireError, decode, encode};

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

/// The same checkpoint with other bytes for its last blocks: in its own bytes they lie behind their length.
fn altered(record: &Record, alter: impl FnOnce(&mut Vec<u8>)) -> Result<Record, WireError> {
    let Record::Checkpoint(checkpoint) = record else {
        panic!("{record:?}");
    };
    let bytes = encode::<Record, MAX_FRAME>(record).unwrap();
    let head = checkpoint.head().hash.0;
    // The head's hash stands in the account twice, head and outline, before it ends the last blocks.
    let mut places = (0..bytes.len() - 32).filter(|at| bytes[*at..at + 32] == head);
    let end = places.next_back().unwrap() + 32;
    let begin = end - 128 * 32;
    let mut recent = bytes[begin..end].to_vec();
    assert_eq!(bytes[begin - 3..begin], [0xfb, 0, 16], "their length");
    alter(&mut recent);
    let length = u16::try_from(recent.len()).unwrap();
    let length = match length {
        0..=250 => vec![length as u8],
        _ => [&[0xfb][..], &length.to_le_bytes()].concat(),
    };
    let altered = [&bytes[..begin - 3], &length, &recent, &bytes[end..]].concat();
    decode::<Record, MAX_FRAME>(&altered)
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
    let (_, bench) = grown(161);
    let checkpoint = bench.records.iter().rfind(|r| is_checkpoint(r)).unwrap();
    let start = |alter: fn(&mut Vec<u8>)| recovers(vec![altered(checkpoint, alter).unwrap()]);
    assert!(start(|_| ()).is_ok());
    let alter: [fn(&mut Vec<u8>); 5] = [
        |recent| recent.push(0),
        Vec::clear,
        |recent| recent.truncate(127 * 32),
        |recent| recent.truncate(128 * 32 - 1),
        |recent| recent.extend_from_within(127 * 32..),
    ];
    for alter in alter {
        let error = start(alter).err().expect("refused");
        assert!(error.contains("expected 1 to 128"), "{error}");
    }
    // Fewer, that end at the head, are those of a chain that was unfrozen not long ago.
    assert!(start(|recent| drop(recent.drain(..127 * 32))).is_ok());
}

#[test]
fn a_checkpoint_as_it_was_written_before_is_passed_over() {
    let (_, bench) = grown(40);
    let at = bench.records.iter().position(is_checkpoint).unwrap();
    let mut value = serde_json::to_value(&bench.records[at]).unwrap();
    let new = value["Checkpoint"].as_object_mut().unwrap();
    new.remove("recent").expect("what was added");
    let old: Record = serde_json::from_value(json!({ "OldCheckpoint": new })).unwrap();
    // Its bytes are those of then: the same number, the same fields.
    let bytes = encode::<Record, MAX_FRAME>(&old).unwrap();
    assert_eq!(bytes[0], 14);
    assert_eq!(decode::<Record, MAX_FRAME>(&bytes).unwrap(), old);
    let newer = encode::<Record, MAX_FRAME>(&bench.records[at]).unwrap();
    assert_eq!(newer[0], 18);
    assert_eq!(newer.len(), bytes.len() + 3 + 33 * 32);
    // Nothing begins with it; a journal that holds it is folded from where something does.
    assert!(recovers(vec![old.clone()]).is_err());
    let mut records = bench.records.clone();
    records[at] = old;
    assert!(recovers(records).unwrap().stands_as(&bench.machine));
}
