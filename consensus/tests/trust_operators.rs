//! What a trust operator answers, to whom, and from which moment on (protocol rules 2, 3, 8, 9, 10).

use warifu_consensus::agree::{Base, Event, Fault, Input, Record};
use warifu_consensus::block::{Claims, Kind};
use warifu_consensus::chain::Head;
use warifu_consensus::encoding::Hash;
use warifu_consensus::party::Role;
use warifu_consensus::time::Time;
use warifu_consensus::vote::Verb;
use warifu_consensus::wire::{Agree, Reason};

use crate::machines::{
    Bench, Chain, DEADLINE, DELAY_S, NOW, before, chain, compared, events, founding,
    genesis_claims, later, refused, rejected, rival, said, shown, stored, trust_operator,
};
use crate::support::IAT;
use warifu_consensus::agree::TrustOperator;

const BROKER: Role = Role::Broker;
const DEVICE: Role = Role::Device;

/// It holds no share here: who passed all checks is refused for that alone.
fn passes(outputs: &[warifu_consensus::agree::Output]) -> bool {
    matches!(refused(outputs), Some(Reason::Rule(text)) if text.contains("no share"))
}

fn prepare(chain: &Chain, kind: Kind, number: u8) -> Agree {
    let block = chain.proposal(kind, number);
    Agree::Prepare { block }
}

fn is_compared(bench: &mut Bench<TrustOperator>, chain: &Chain) -> bool {
    let outputs = bench.hear(NOW, BROKER, prepare(chain, Kind::Login, 99));
    refused(&outputs).is_some()
}

#[test]
fn nothing_is_signed_before_heads_were_compared_in_this_session() {
    let chain = chain(&[Kind::Login]);
    let mut bench = trust_operator(chain.records());
    let own = Some(chain.head());
    let asks = [chain.asks(Role::TrustOperator, own)];
    let say = |bench: &mut Bench<TrustOperator>| {
        bench.hear(NOW, BROKER, chain.head_is(BROKER, Some(chain.head())))
    };
    for input in [Input::LineUp(BROKER), Input::LineDown(BROKER)] {
        let outputs = bench.hear(NOW, BROKER, prepare(&chain, Kind::Login, 1));
        assert_eq!(said(&outputs, BROKER), asks, "heads first");
        let told = events(&say(&mut bench));
        assert_eq!(told, [Event::Compared { height: Some(1) }]);
        assert_eq!(events(&say(&mut bench)), [], "once a session");
        assert!(is_compared(&mut bench, &chain));
        bench.handle(NOW, input);
        assert!(!is_compared(&mut bench, &chain));
    }
    // What is sealed is answered at any time.
    let login = chain.blocks[1].clone();
    let repeat = Agree::Prepare {
        block: login.block.clone(),
    };
    let mut grown = trust_operator(chain.records()[..2].to_vec());
    let sealed = vec![login.clone()];
    grown.hear(
        NOW,
        BROKER,
        Agree::Blocks {
            sealed: sealed.clone(),
        },
    );
    let outputs = grown.hear(NOW, BROKER, repeat);
    assert_eq!(said(&outputs, BROKER), [Agree::Blocks { sealed }]);
    // Another block in its place: all blocks from there.
    let other = rival(&chain.house, &login.block, Kind::Expire, |_| ());
    let outputs = grown.hear(NOW, BROKER, Agree::Prepare { block: other.block });
    assert_eq!(shown(&outputs), [(BROKER, 1, 1)]);
    assert_eq!(said(&outputs, BROKER), []);
}

#[test]
fn a_broker_that_is_behind_is_shown_what_it_lacks_and_is_not_compared() {
    let chain = chain(&[Kind::Login, Kind::Login]);
    let mut bench = trust_operator(chain.records());
    bench.handle(NOW, Input::LineUp(BROKER));
    let own = [chain.head_is(Role::TrustOperator, Some(chain.head()))];
    for (head, from) in [
        (None, 0),
        (Some(chain.head_at(0)), 1),
        (Some(chain.head_at(1)), 2),
    ] {
        let outputs = bench.hear(NOW, BROKER, chain.asks(BROKER, head));
        assert_eq!(shown(&outputs), [(BROKER, from, 2)]);
        assert_eq!(said(&outputs, BROKER), own);
        let outputs = bench.hear(NOW, BROKER, chain.head_is(BROKER, head));
        assert_eq!(shown(&outputs), [(BROKER, from, 2)]);
        assert_eq!((said(&outputs, BROKER), events(&outputs)), (vec![], vec![]));
        assert!(!is_compared(&mut bench, &chain));
    }
    // The same head: nothing to show, and the block is acknowledged with it.
    let outputs = bench.hear(NOW, BROKER, chain.asks(BROKER, Some(chain.head())));
    assert_eq!(stored(&outputs), [Record::Acked(chain.head())]);
    assert_eq!(
        (shown(&outputs), said(&outputs, BROKER)),
        (vec![], own.to_vec())
    );
    assert!(is_compared(&mut bench, &chain));
}

#[test]
fn a_copy_that_is_behind_asks_for_what_it_lacks_and_takes_it_in_order() {
    let chain = chain(&[Kind::Login, Kind::Login, Kind::Freeze]);
    let mut bench = trust_operator(chain.records()[..2].to_vec());
    bench.handle(NOW, Input::LineUp(BROKER));
    let outputs = bench.hear(NOW, BROKER, chain.asks(BROKER, Some(chain.head())));
    assert_eq!(said(&outputs, BROKER), [Agree::BlocksFrom { height: 1 }]);
    assert!(events(&outputs).is_empty());
    // Known blocks change nothing, and one that leaves a gap is refused.
    let bring = |bench: &mut Bench<TrustOperator>, range: std::ops::Range<usize>| {
        let sealed = chain.blocks[range].to_vec();
        bench.hear(NOW, BROKER, Agree::Blocks { sealed })
    };
    assert_eq!(bring(&mut bench, 0..1), []);
    let gap = rejected(&bring(&mut bench, 2..3));
    assert!(gap.contains("height 2, expected 1"), "{gap}");
    let outputs = bring(&mut bench, 0..4);
    let sealed: Vec<Record> = stored(&outputs);
    let expected = [
        Record::Sealed(Box::new(chain.blocks[1].clone())),
        Record::Settled,
        Record::Sealed(Box::new(chain.blocks[2].clone())),
        Record::Settled,
        Record::FrozenAt { at: NOW },
        Record::Sealed(Box::new(chain.blocks[3].clone())),
        Record::Settled,
    ];
    assert_eq!(sealed, expected);
    let asks = chain.asks(Role::TrustOperator, Some(chain.head()));
    assert_eq!(said(&outputs, BROKER), [asks]);
    let mut forged = chain.house.next(&chain.account, Kind::Expire);
    forged.proof = chain.house.proof(&chain.blocks[3].block);
    let outputs = bench.hear(
        NOW,
        BROKER,
        Agree::Blocks {
            sealed: vec![forged],
        },
    );
    rejected(&outputs);
}

#[test]
fn a_device_is_shown_what_the_broker_acknowledged_and_no_more() {
    let chain = chain(&[Kind::Login, Kind::Login]);
    let mut bench = trust_operator(chain.records());
    let answer = |bench: &mut Bench<TrustOperator>, head| {
        let outputs = bench.hear(NOW, DEVICE, chain.asks(DEVICE, head));
        let heads = said(&outputs, DEVICE);
        let [
            Agree::HeadIs {
                head,
                notice,
                ask: false,
                vote,
            },
        ] = heads.as_slice()
        else {
            panic!("{heads:?}");
        };
        assert_eq!(vote.is_some(), head.is_some());
        (*head, *notice, shown(&outputs))
    };
    assert_eq!(
        answer(&mut bench, Some(chain.head_at(0))),
        (None, true, vec![])
    );
    let from_all = Agree::BlocksFrom { height: 0 };
    let none = bench.hear(NOW, DEVICE, from_all.clone());
    assert_eq!(shown(&none), []);
    // Only its own head, and only a newer one, is acknowledged.
    let ack = |bench: &mut Bench<TrustOperator>, head| {
        stored(&bench.hear(NOW, BROKER, Agree::Ack { head }))
    };
    for wrong in [
        chain.head_at(1),
        Head {
            height: 2,
            hash: Hash([1; 32]),
        },
        Head {
            height: 3,
            hash: Hash([1; 32]),
        },
    ] {
        assert_eq!(ack(&mut bench, wrong), []);
    }
    assert_eq!(ack(&mut bench, chain.head()), [Record::Acked(chain.head())]);
    assert_eq!(ack(&mut bench, chain.head()), [], "once");
    assert_eq!(ack(&mut bench, chain.head_at(1)), []);
    let acked = Some(chain.head());
    assert_eq!(
        answer(&mut bench, Some(chain.head_at(0))),
        (acked, false, vec![(DEVICE, 1, 2)])
    );
    assert_eq!(answer(&mut bench, acked), (acked, false, vec![]));
    assert_eq!(shown(&bench.hear(NOW, DEVICE, from_all)), [(DEVICE, 0, 2)]);
    let at_head = Agree::BlocksFrom { height: 2 };
    assert_eq!(shown(&bench.hear(NOW, DEVICE, at_head)), [(DEVICE, 2, 2)]);
    // A device says no heads that it is not asked for.
    let unasked = bench.hear(NOW, DEVICE, chain.head_is(DEVICE, acked));
    assert_eq!(unasked, []);
    // A newer block is not shown until it is acknowledged, to the broker at once.
    let mut grown = chain;
    let sealed = vec![grown.grow(Kind::Expire)];
    bench.hear(NOW, BROKER, Agree::Blocks { sealed });
    let outputs = bench.hear(NOW, DEVICE, grown.asks(DEVICE, acked));
    assert!(matches!(
        said(&outputs, DEVICE).as_slice(),
        [Agree::HeadIs { head, notice: true, .. }] if *head == acked
    ));
    assert_eq!(shown(&outputs), []);
    let from = Agree::BlocksFrom { height: 3 };
    assert_eq!(shown(&bench.hear(NOW, DEVICE, from.clone())), []);
    assert_eq!(shown(&bench.hear(NOW, BROKER, from)), [(BROKER, 3, 3)]);
    let beyond = Agree::BlocksFrom { height: 4 };
    assert_eq!(shown(&bench.hear(NOW, BROKER, beyond)), []);
    // A newer acknowledgement takes the older one's place.
    let newer = grown.head();
    let outputs = bench.hear(NOW, BROKER, Agree::Ack { head: newer });
    assert_eq!(stored(&outputs), [Record::Acked(newer)]);
}

#[test]
fn a_head_under_a_wrong_number_is_no_other_chain_and_compares_nothing() {
    let chain = chain(&[Kind::Login]);
    let mut bench = trust_operator(chain.records());
    bench.handle(NOW, Input::LineUp(BROKER));
    let hash = chain.head_at(0).hash;
    let head = chain.head_is(BROKER, Some(Head { height: 1, hash }));
    let reason = rejected(&bench.hear(NOW, BROKER, head));
    assert!(reason.contains(&hash.to_string()), "{reason}");
    assert!(reason.contains("at height 1"), "{reason}");
    assert!(!is_compared(&mut bench, &chain));
}

#[test]
fn a_head_of_another_chain_is_kept_once_and_its_block_is_asked_for_until_one_is_shown() {
    let chain = chain(&[Kind::Login]);
    let mut bench = trust_operator(chain.records());
    let hash = Hash([8; 32]);
    let head = Head { height: 1, hash };
    let parted = chain.head_is(BROKER, Some(head));
    let vote = chain.house.vote(Verb::Head, BROKER, hash);
    let kept = Record::HeadConflict { head, vote };
    for kept in [vec![kept], vec![]] {
        let outputs = bench.hear(NOW, BROKER, parted.clone());
        assert_eq!(stored(&outputs), kept);
        let told = Event::Conflict {
            height: 1,
            held: chain.head().hash,
            found: hash,
        };
        assert_eq!(events(&outputs).contains(&told), !kept.is_empty());
        assert_eq!(said(&outputs, BROKER), [Agree::BlocksFrom { height: 1 }]);
        assert_eq!(shown(&outputs), [(BROKER, 1, 1)]);
    }
    assert!(!is_compared(&mut bench, &chain));
    // A block says more than a vote, and one is enough.
    let admit = &chain.blocks[1].block;
    let guilty = rival(&chain.house, admit, Kind::Refuse, |_| ());
    let sealed = vec![guilty.clone()];
    let outputs = bench.hear(
        NOW,
        BROKER,
        Agree::Blocks {
            sealed: sealed.clone(),
        },
    );
    assert_eq!(
        stored(&outputs),
        [Record::Conflict(Box::new(guilty.clone()))]
    );
    let told = events(&outputs);
    let conflict = Event::Conflict {
        height: 1,
        held: admit.hash(),
        found: guilty.block.hash(),
    };
    let [
        first,
        Event::Fault(Fault {
            culprit: BROKER,
            what,
        }),
    ] = told.as_slice()
    else {
        panic!("{told:?}");
    };
    assert_eq!(*first, conflict);
    assert!(what.contains("at height 1"), "{what}");
    assert_eq!(bench.hear(NOW, BROKER, Agree::Blocks { sealed }), []);
    let outputs = bench.hear(NOW, BROKER, parted);
    assert_eq!((said(&outputs, BROKER), stored(&outputs)), (vec![], vec![]));
    assert_eq!(shown(&outputs), [(BROKER, 1, 1)]);
}

#[test]
fn a_conflict_ends_with_a_freeze_above_it_or_a_revoke_and_with_nothing_else() {
    for (kind, ends) in [
        (Kind::Expire, false),
        (Kind::Freeze, true),
        (Kind::Revoke, true),
    ] {
        let mut chain = chain(&[Kind::Login]);
        let guilty = rival(&chain.house, &chain.blocks[1].block, Kind::Refuse, |_| ());
        let conflict = Record::Conflict(Box::new(guilty));
        let mut records = chain.records();
        records.push(conflict.clone());
        let mut bench = compared(&chain, records);
        let outputs = bench.hear(NOW, BROKER, prepare(&chain, Kind::Login, 1));
        assert_eq!(refused(&outputs), Some(Reason::Conflict));
        let sealed = vec![chain.grow(kind)];
        bench.hear(NOW, BROKER, Agree::Blocks { sealed });
        let mut again = compared(&chain, bench.records.clone());
        for bench in [&mut bench, &mut again] {
            let kind = match kind {
                Kind::Freeze => Kind::Unfreeze,
                _ => Kind::Login,
            };
            let from = later(NOW, DELAY_S * 1000);
            let claims = Claims {
                iat: from.seconds(),
                exp: from.seconds() + 90,
                ..chain.house.next_claims(&chain.account, kind)
            };
            let block = chain.house.block(claims);
            bench.hear(from, BROKER, chain.head_is(BROKER, Some(chain.head())));
            let reason = refused(&bench.hear(from, BROKER, Agree::Prepare { block }));
            assert_eq!(reason == Some(Reason::Conflict), !ends, "{reason:?}");
        }
    }
}

#[test]
fn an_unsealed_genesis_is_dead_from_its_deadline_on() {
    let chain = chain(&[]);
    let records = chain.records()[..1].to_vec();
    let claims = Claims {
        iat: DEADLINE.seconds() - 10,
        exp: DEADLINE.seconds() + 80,
        ..genesis_claims(&chain.house)
    };
    let genesis = || Agree::Prepare {
        block: chain.house.block(claims.clone()),
    };
    let start = || {
        let mut bench = trust_operator(records.clone());
        bench.handle(NOW, Input::LineUp(BROKER));
        let outputs = bench.hear(NOW, BROKER, chain.head_is(BROKER, None));
        assert_eq!(events(&outputs), [Event::Compared { height: None }]);
        assert!(!bench.machine.has_no_duty() && !bench.machine.is_idle(NOW));
        assert_eq!(bench.machine.deadline(), Some(DEADLINE));
        bench
    };
    let mut bench = start();
    assert!(passes(&bench.hear(before(DEADLINE, 1), BROKER, genesis())));
    let refusal = refused(&bench.hear(DEADLINE, BROKER, genesis()));
    assert_eq!(refusal, Some(Reason::Dead));
    // By its own clock, or asked by either party; no earlier.
    let ways: [(Option<Role>, Input); 3] = [
        (None, Input::Tick),
        (
            Some(BROKER),
            Input::Message {
                from: BROKER,
                agree: chain.asks(BROKER, None),
            },
        ),
        (
            Some(DEVICE),
            Input::Message {
                from: DEVICE,
                agree: chain.asks(DEVICE, None),
            },
        ),
    ];
    for (asker, input) in ways {
        let mut bench = start();
        let outputs = bench.handle(before(DEADLINE, 1), input.clone());
        assert_eq!((stored(&outputs), events(&outputs)), (vec![], vec![]));
        let outputs = bench.handle(DEADLINE, input);
        assert_eq!(stored(&outputs), [Record::Dead]);
        assert_eq!(events(&outputs), [Event::Dead]);
        assert!(outputs.contains(&warifu_consensus::agree::Output::ForgetShare));
        if let Some(asker) = asker {
            assert_eq!(said(&outputs, asker), [Agree::GenesisDead]);
        }
        let mut again = trust_operator(bench.records.clone());
        for bench in [&mut bench, &mut again] {
            assert!(matches!(bench.machine.base(), Base::Dead(_)));
            assert!(bench.machine.has_no_duty());
            assert_eq!(bench.machine.deadline(), None);
            let outputs = bench.hear(NOW, DEVICE, chain.asks(DEVICE, None));
            assert_eq!(said(&outputs, DEVICE), [Agree::GenesisDead]);
            assert_eq!(stored(&outputs), []);
        }
    }
    assert_eq!(founding(&chain.house).deadline, DEADLINE);
}

#[test]
fn an_unfreeze_waits_for_the_delay_after_the_freeze_was_sealed_here() {
    let mut chain = chain(&[Kind::Login]);
    let mut bench = trust_operator(chain.records());
    let frozen = later(NOW, 40_000);
    let sealed = vec![chain.grow(Kind::Freeze)];
    bench.hear(frozen, BROKER, Agree::Blocks { sealed });
    let free = later(frozen, DELAY_S * 1000);
    let claims = Claims {
        iat: free.seconds() - 5,
        exp: free.seconds() + 85,
        ..chain.house.next_claims(&chain.account, Kind::Unfreeze)
    };
    let agree = || Agree::Prepare {
        block: chain.house.block(claims.clone()),
    };
    let start = |records: Vec<Record>| compared(&chain, records);
    let mut bench = start(bench.records);
    let refusal = refused(&bench.hear(before(free, 1), BROKER, agree()));
    assert_eq!(refusal, Some(Reason::UnfreezeDelay { wait_s: 1 }));
    let refusal = refused(&bench.hear(before(free, 3_000), BROKER, agree()));
    assert_eq!(refusal, Some(Reason::UnfreezeDelay { wait_s: 3 }));
    assert!(passes(&bench.hear(free, BROKER, agree())));
    assert!(passes(&bench.hear(later(free, 1_000), BROKER, agree())));
}

#[test]
fn proposals_of_a_minute_are_counted() {
    let chain = chain(&[]);
    let mut bench = compared(&chain, chain.records());
    assert!(bench.machine.is_idle(NOW));
    for number in 0..120 {
        let outputs = bench.hear(NOW, BROKER, prepare(&chain, Kind::Login, number));
        assert!(passes(&outputs), "proposal {number}");
    }
    let pace = Reason::Pace {
        limit: 120,
        window_s: 60,
    };
    let last = later(NOW, 60_000);
    for now in [NOW, last] {
        let outputs = bench.hear(now, BROKER, prepare(&chain, Kind::Login, 200));
        assert_eq!(refused(&outputs), Some(pace.clone()));
        // What is counted would be forgotten with the machine.
        assert!(!bench.machine.is_idle(now) && bench.machine.has_no_duty());
    }
    assert!(bench.machine.is_idle(later(last, 1)));
    let outputs = bench.hear(later(last, 1), BROKER, prepare(&chain, Kind::Login, 200));
    assert!(passes(&outputs));
    // A block that the rules refuse costs it nothing.
    let mut bench = compared(&chain, chain.records());
    let refusal = refused(&bench.hear(NOW, BROKER, prepare(&chain, Kind::Freeze, 1)));
    assert!(matches!(&refusal, Some(Reason::Rule(text)) if text.contains("no admit")));
    assert!(bench.machine.is_idle(NOW));
}

#[test]
fn a_denied_block_is_refused_and_no_other() {
    let chain = chain(&[]);
    let mut bench = compared(&chain, chain.records());
    let denied = chain.proposal(Kind::Login, 1);
    bench.hear(NOW, DEVICE, chain.refusal(Verb::Deny, &denied));
    assert!(!bench.machine.has_no_duty() && !bench.machine.is_idle(NOW));
    let outputs = bench.hear(NOW, BROKER, Agree::Prepare { block: denied });
    assert_eq!(refused(&outputs), Some(Reason::Denied));
    let outputs = bench.hear(NOW, BROKER, prepare(&chain, Kind::Login, 2));
    assert!(passes(&outputs));
    bench.hear(NOW, DEVICE, chain.freeze(0));
    let outputs = bench.hear(NOW, BROKER, prepare(&chain, Kind::Login, 2));
    assert_eq!(refused(&outputs), Some(Reason::FreezeWanted));
}

#[test]
fn a_checkpoint_holds_all_that_its_records_come_to() {
    let mut chain = chain(&[Kind::Freeze]);
    let mut records = chain.records();
    records.insert(2, Record::FrozenAt { at: NOW });
    records.push(Record::Acked(chain.head()));
    let guilty = rival(&chain.house, &chain.blocks[1].block, Kind::Refuse, |_| ());
    records.push(Record::Conflict(Box::new(guilty)));
    let mut bench = compared(&chain, records);
    bench.hear(NOW, DEVICE, chain.freeze(1));
    let whole = bench.records.len();
    let sealed = vec![chain.grow(Kind::Expire)];
    bench.hear(NOW, BROKER, Agree::Blocks { sealed });
    let last = bench.records.last().unwrap().clone();
    let Record::Checkpoint(checkpoint) = &last else {
        panic!("a word is owed an answer: {last:?}");
    };
    assert_eq!(checkpoint.head(), chain.head());
    let from_checkpoint = trust_operator(vec![last.clone()]);
    assert!(from_checkpoint.machine.stands_as(&bench.machine));
    assert!(
        trust_operator(bench.records.clone())
            .machine
            .stands_as(&bench.machine)
    );
    // Each of the records before it counts: without one the fold is another.
    for left_out in 2..whole {
        let is_block = |r: &Record| matches!(r, Record::Sealed(_));
        if is_block(&bench.records[left_out]) {
            continue;
        }
        let mut fewer = bench.records.clone();
        let gone = fewer.remove(left_out);
        assert!(
            !trust_operator(fewer).machine.stands_as(&bench.machine),
            "{gone:?}"
        );
    }
    // A machine begins with its own party's checkpoint only.
    assert!(std::panic::catch_unwind(|| crate::machines::device(vec![last])).is_err());
}

#[test]
fn a_checkpoint_stands_behind_every_32nd_block_and_where_something_is_owed() {
    let mut chain = chain(&[]);
    let mut bench = compared(&chain, chain.records());
    for height in 1..=65 {
        let sealed = vec![chain.grow(Kind::Expire)];
        let outputs = bench.hear(NOW, BROKER, Agree::Blocks { sealed });
        let behind = stored(&outputs).pop().unwrap();
        let is_checkpoint = matches!(behind, Record::Checkpoint(_));
        assert_eq!(is_checkpoint, height % 32 == 0, "height {height}");
        assert!(is_checkpoint || behind == Record::Settled);
    }
    assert_eq!(bench.machine.base().next_height(), 66);
    assert_eq!(Time::from_seconds(IAT + 10), NOW);
}
