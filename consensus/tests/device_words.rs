//! What a device says without being asked: its refusals, its freezes, and when it says them again
//! (protocol rules 9 and 10).

use warifu_consensus::agree::{Device, Event, Fault, Input, Record};
use warifu_consensus::block::{Claims, Kind};
use warifu_consensus::party::Role;
use warifu_consensus::vote::Verb;
use warifu_consensus::wire::{Agree, Reason};

use crate::devices::{BROKER, OTHER, bring, deny, freezes, gone, is_prompt, lock, propose};
use crate::machines::{
    Bench, Chain, NOW, before, chain, device, events, later, refused, rival, said, stored,
};
use crate::support::IAT;

#[test]
fn a_refusal_is_kept_and_said_to_both_until_it_is_answered() {
    let chain = chain(&[]);
    let login = chain.login(1);
    for (not_me, verb) in [(false, Verb::Deny), (true, Verb::Disown)] {
        let mut bench = device(chain.records());
        propose(&mut bench, &login);
        assert!(!bench.machine.needs_trust_operator(NOW));
        let outputs = deny(&mut bench, &login, not_me);
        let word = chain.refusal(verb, &login.block);
        let denied = gone(&login, Some(Reason::Denied));
        assert_eq!(events(&outputs), [denied]);
        let Some(Record::Word(held)) = stored(&outputs).pop() else {
            panic!("not kept");
        };
        assert_eq!(
            (held.above, held.proposal.as_ref()),
            (0, Some(&login.block))
        );
        assert!(bench.machine.needs_trust_operator(NOW));
        let due = later(NOW, 5_000);
        assert_eq!(bench.machine.deadline(), Some(due));
        assert_eq!(bench.handle(before(due, 1), Input::Tick), []);
        let outputs = bench.handle(due, Input::Tick);
        let head = chain.asks(Role::Device, Some(chain.head()));
        let both = [head, word.clone()];
        assert_eq!(said(&outputs, BROKER), both);
        assert_eq!(said(&outputs, OTHER), both);
        assert_eq!(bench.machine.deadline(), Some(later(due, 5_000)));
        // From then on it assents to nothing that the word refuses, after a start neither.
        let mut again = device(bench.records.clone());
        assert!(again.machine.stands_as(&bench.machine));
        let outputs = again.handle(NOW, Input::LineUp(OTHER));
        assert_eq!(said(&outputs, OTHER), both);
        assert_eq!(said(&outputs, BROKER), []);
        let next = chain.login(2);
        for bench in [&mut bench, &mut again] {
            let reason = refused(&propose(bench, &login));
            assert_eq!(reason, Some(Reason::Denied));
            let outputs = propose(bench, &next);
            if not_me {
                assert_eq!(refused(&outputs), Some(Reason::FreezeWanted));
            } else {
                assert!(is_prompt(&outputs, &next));
            }
        }
        // A deny falls with any block, a disown with the freeze only.
        let mut grown = crate::machines::chain(&[]);
        bring(&mut bench, &grown.grow(Kind::Expire));
        assert_eq!(bench.machine.needs_trust_operator(NOW), not_me);
        assert_eq!(bench.machine.deadline().is_some(), not_me);
        bring(&mut bench, &grown.grow(Kind::Freeze));
        assert!(!bench.machine.needs_trust_operator(NOW));
        assert_eq!(bench.machine.deadline(), None);
    }
}

#[test]
fn a_freeze_that_stands_is_said_once_about_a_head() {
    let mut chain = chain(&[]);
    let mut bench = device(chain.records());
    let outputs = bench.handle(NOW, Input::FreezeByCustomer);
    assert_eq!(stored(&outputs), [chain.held_freeze(0)]);
    let word = [chain.freeze(0)];
    assert_eq!(said(&outputs, BROKER), word);
    assert_eq!(said(&outputs, OTHER), word);
    assert_eq!(bench.handle(NOW, Input::FreezeByCustomer), []);
    let sealed = chain.grow(Kind::Expire);
    let outputs = bring(&mut bench, &sealed);
    assert_eq!(freezes(&chain, &outputs), 0, "it stands as it is");
    // Behind the block stands all that it owes.
    let behind = bench.records.last().unwrap().clone();
    assert!(matches!(behind, Record::Checkpoint(_)));
    let mut from_checkpoint = device(vec![behind]);
    assert!(from_checkpoint.machine.stands_as(&bench.machine));
    let outputs = from_checkpoint.handle(NOW, Input::LineUp(BROKER));
    assert_eq!(said(&outputs, BROKER).last(), Some(&word[0]));
    // The freeze answers it, and then nothing is owed.
    let outputs = bring(&mut bench, &chain.grow(Kind::Freeze));
    assert_eq!(stored(&outputs).last(), Some(&Record::Settled));
    assert!(!bench.machine.stands_as(&from_checkpoint.machine));
}

/// A device whose customer froze, which was answered by a freeze; and the chain so far.
fn answered() -> (Bench<Device>, Chain) {
    let mut chain = chain(&[]);
    let mut bench = device(chain.records());
    bench.handle(NOW, Input::FreezeByCustomer);
    bring(&mut bench, &chain.grow(Kind::Freeze));
    (bench, chain)
}

#[test]
fn a_freeze_that_an_unknown_unfreeze_lifted_is_said_again_once() {
    let (mut bench, mut chain) = answered();
    let answered_at = bench.records.len();
    let outputs = bring(&mut bench, &chain.grow(Kind::Unfreeze));
    assert_eq!(freezes(&chain, &outputs), 1);
    assert!(stored(&outputs).contains(&chain.held_freeze(2)));
    let outputs = bring(&mut bench, &chain.grow(Kind::Expire));
    assert_eq!(freezes(&chain, &outputs), 0);
    // A denial in between is no newer wish, and takes nothing from the older one.
    let (mut bench, mut chain) = answered();
    let login = {
        let claims = chain.house.next_claims(&chain.account, Kind::Unfreeze);
        chain.proposed(claims, 1)
    };
    propose(&mut bench, &login);
    deny(&mut bench, &login, false);
    let outputs = bring(&mut bench, &chain.grow(Kind::Unfreeze));
    assert_eq!(freezes(&chain, &outputs), 1);
    // After a stop right behind the unfreeze it is said with the next line, if no freeze came.
    let (mut bench, mut chain) = answered();
    bring(&mut bench, &chain.grow(Kind::Unfreeze));
    let stop = bench.records[answered_at..].iter();
    let stop = stop
        .clone()
        .position(|r| matches!(r, Record::Checkpoint(_)));
    let records = bench.records[..=answered_at + stop.unwrap()].to_vec();
    let from_checkpoint = vec![records.last().unwrap().clone()];
    for records in [records.clone(), from_checkpoint.clone()] {
        let mut again = device(records);
        let outputs = again.handle(NOW, Input::LineUp(OTHER));
        assert_eq!(freezes(&chain, &outputs), 1);
        assert!(stored(&outputs).contains(&chain.held_freeze(2)));
    }
    let mut again = device(records);
    let outputs = bring(&mut again, &chain.grow(Kind::Freeze));
    assert_eq!(freezes(&chain, &outputs), 0, "that is its answer");
    let outputs = bring(&mut again, &chain.grow(Kind::Unfreeze));
    assert_eq!(freezes(&chain, &outputs), 1, "and it is lifted again");
}

#[test]
fn a_freeze_that_this_device_lifted_or_never_wished_is_not_said_again() {
    // It assented to the unfreeze itself.
    let (mut bench, chain) = answered();
    let lifts = {
        let claims = chain.house.next_claims(&chain.account, Kind::Unfreeze);
        chain.proposed(claims, 1)
    };
    lock(&mut bench, &lifts);
    let sealed = chain.house.seal(lifts.block.claims().clone());
    let outputs = bring(&mut bench, &sealed);
    assert_eq!(said(&outputs, BROKER), []);
    assert_eq!(
        said(&bench.handle(NOW, Input::LineUp(BROKER)), BROKER).len(),
        1
    );
    // The desk froze, not the customer.
    let mut chain = crate::machines::chain(&[]);
    let mut bench = device(chain.records());
    bring(&mut bench, &chain.grow(Kind::Freeze));
    let outputs = bring(&mut bench, &chain.grow(Kind::Unfreeze));
    assert_eq!(freezes(&chain, &outputs), 0);
    // Nothing is said of a revoked account.
    let (mut bench, mut chain) = answered();
    let outputs = bring(&mut bench, &chain.grow(Kind::Revoke));
    assert_eq!(stored(&outputs).last(), Some(&Record::Settled));
    assert_eq!(
        said(&bench.handle(NOW, Input::LineUp(BROKER)), BROKER).len(),
        1
    );
}

#[test]
fn a_freeze_that_an_unfreeze_overtook_is_said_again_about_the_head() {
    // It holds no freeze between: the wish still stands and counts no more.
    let mut chain = chain(&[Kind::Freeze]);
    let mut bench = device(chain.records());
    bench.handle(NOW, Input::FreezeByCustomer);
    let outputs = bring(&mut bench, &chain.grow(Kind::Unfreeze));
    assert_eq!(freezes(&chain, &outputs), 1);
    assert!(stored(&outputs).contains(&chain.held_freeze(2)));
    // The newer wish stands for the older one.
    let outputs = bench.handle(NOW, Input::LineUp(BROKER));
    assert_eq!(freezes(&chain, &outputs), 1);
    assert_eq!(said(&outputs, BROKER).len(), 2);
}

#[test]
fn a_conflict_is_kept_once_blames_whom_it_proves_guilty_and_asks_for_a_freeze() {
    for (kind, iat, guilty) in [
        (Kind::Refuse, IAT, vec![OTHER, BROKER]),
        // An honest broker that was restored forgot the login.
        (Kind::Restored, IAT + 121, vec![OTHER]),
    ] {
        let mut chain = chain(&[Kind::Login]);
        let mut bench = device(chain.records());
        let like = &chain.blocks[1].block;
        let claims = Claims {
            iat,
            exp: iat + 90,
            ..chain.house.claims(kind, 1, like.claims().prev)
        };
        let pair = chain.house.seal(claims);
        let outputs = bring(&mut bench, &pair);
        assert_eq!(
            stored(&outputs),
            [
                Record::Conflict(Box::new(pair.clone())),
                chain.held_freeze(1)
            ]
        );
        let mut told = events(&outputs).into_iter();
        let conflict = Event::Conflict {
            height: 1,
            held: like.hash(),
            found: pair.block.hash(),
        };
        assert_eq!(told.next(), Some(conflict));
        let blamed = told.map(|event| match event {
            Event::Fault(Fault { culprit, .. }) => culprit,
            other => panic!("{other:?}"),
        });
        assert_eq!(blamed.collect::<Vec<_>>(), guilty);
        assert_eq!(freezes(&chain, &outputs), 1);
        assert_eq!(bring(&mut bench, &pair), [], "one is enough");
        let outputs = propose(&mut bench, &chain.login(1));
        assert_eq!(refused(&outputs), Some(Reason::Conflict));
        // It stands through blocks and starts, until the freeze.
        let outputs = bring(&mut bench, &chain.grow(Kind::Expire));
        let behind = stored(&outputs).pop().unwrap();
        for records in [bench.records.clone(), vec![behind]] {
            let mut again = device(records);
            assert!(again.machine.stands_as(&bench.machine));
            let outputs = propose(&mut again, &chain.login(1));
            assert_eq!(refused(&outputs), Some(Reason::Conflict));
        }
        bring(&mut bench, &chain.grow(Kind::Freeze));
        let claims = chain.house.next_claims(&chain.account, Kind::Unfreeze);
        let lifts = chain.proposed(claims, 1);
        assert!(is_prompt(&propose(&mut bench, &lifts), &lifts));
    }
}

#[test]
fn evidence_in_front_of_a_page_ends_the_page() {
    let chain = chain(&[Kind::Login, Kind::Expire]);
    let mut bench = device(chain.records()[..3].to_vec());
    let pair = rival(&chain.house, &chain.blocks[1].block, Kind::Refuse, |_| ());
    let sealed = vec![pair, chain.blocks[2].clone()];
    let outputs = bench.hear(NOW, OTHER, Agree::Blocks { sealed });
    let is_block = |r: &Record| matches!(r, Record::Sealed(_));
    assert!(!stored(&outputs).iter().any(is_block));
    assert!(
        !said(&outputs, OTHER)
            .iter()
            .any(|a| matches!(a, Agree::BlocksFrom { .. }))
    );
}
