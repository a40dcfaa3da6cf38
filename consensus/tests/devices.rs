//! What a device shows, locks on and says, and from which moment on (protocol rules 1, 5, 7, 8, 10).

use warifu_consensus::agree::{Device, Event, Input, Output, Prompt, Record};
use warifu_consensus::block::{Claims, Kind, Sealed};
use warifu_consensus::chain::Head;
use warifu_consensus::encoding::Hash;
use warifu_consensus::party::Role;
use warifu_consensus::time::Time;
use warifu_consensus::wire::{Agree, Reason};

use crate::machines::{
    Bench, Chain, DEADLINE, NOW, Proposed, before, chain, device, events, later, refused, rejected,
    said, shown, stored,
};
use crate::support::IAT;

pub(crate) const BROKER: Role = Role::Broker;
pub(crate) const OTHER: Role = Role::TrustOperator;
/// When a login of `IAT` ends, and when its lock is stale.
const EXP: Time = Time::from_seconds(IAT + 90);

pub(crate) fn propose(bench: &mut Bench<Device>, login: &Proposed) -> Vec<Output> {
    bench.hear(NOW, BROKER, login.propose())
}

pub(crate) fn approve(bench: &mut Bench<Device>, login: &Proposed, number: u8) -> Vec<Output> {
    let hash = login.hash();
    bench.handle(NOW, Input::Approve { hash, number })
}

pub(crate) fn matched(bench: &mut Bench<Device>, login: &Proposed) -> Vec<Output> {
    let hash = login.hash();
    bench.hear(NOW, BROKER, Agree::Match { hash })
}

pub(crate) fn deny(bench: &mut Bench<Device>, login: &Proposed, not_me: bool) -> Vec<Output> {
    let hash = login.hash();
    bench.handle(NOW, Input::Deny { hash, not_me })
}

pub(crate) fn bring(bench: &mut Bench<Device>, sealed: &Sealed) -> Vec<Output> {
    let sealed = vec![sealed.clone()];
    bench.hear(NOW, BROKER, Agree::Blocks { sealed })
}

pub(crate) fn gone(login: &Proposed, reason: Option<Reason>) -> Event {
    let hash = login.hash();
    Event::PromptGone { hash, reason }
}

pub(crate) fn is_prompt(outputs: &[Output], login: &Proposed) -> bool {
    let prompt = Event::Prompt(Prompt {
        hash: login.hash(),
        claims: login.block.claims().clone(),
        body: Some(login.shown.clone()),
    });
    events(outputs).contains(&prompt)
}

/// Locks on a login: it holds no share here, so its answer ends there.
pub(crate) fn lock(bench: &mut Bench<Device>, login: &Proposed) {
    propose(bench, login);
    approve(bench, login, 7);
    let outputs = matched(bench, login);
    assert!(stored(&outputs).contains(&Record::DeviceLock(login.block.clone())));
}

/// The freezes that it says about this head.
pub(crate) fn freezes(chain: &Chain, outputs: &[Output]) -> usize {
    let word = chain.freeze(chain.head().height);
    said(outputs, BROKER).iter().filter(|a| **a == word).count()
}

#[test]
fn a_proposal_is_shown_once_with_what_the_broker_says() {
    let chain = chain(&[]);
    let mut bench = device(chain.records());
    let login = chain.login(1);
    assert!(is_prompt(&propose(&mut bench, &login), &login));
    assert_eq!(bench.machine.deadline(), Some(EXP));
    // Again, and in another package: no second prompt, and the number as soon as there is one.
    assert_eq!(propose(&mut bench, &login), []);
    let (hash, number) = (login.hash(), 42);
    let says = [Agree::Number { hash, number }];
    let outputs = approve(&mut bench, &login, number);
    assert_eq!(said(&outputs, BROKER), says);
    assert_eq!(said(&propose(&mut bench, &login), BROKER), says);
    assert_eq!(said(&approve(&mut bench, &login, number), BROKER), says);
    // One try: another number is not said.
    let no_prompt = [Event::NoPrompt { hash }];
    let outputs = approve(&mut bench, &login, 43);
    assert_eq!(
        (said(&outputs, BROKER), events(&outputs)),
        (vec![], no_prompt.to_vec())
    );
    // A newer proposal takes its place.
    let newer = chain.login(2);
    let outputs = propose(&mut bench, &newer);
    assert!(is_prompt(&outputs, &newer));
    assert!(events(&outputs).contains(&gone(&login, None)));
    assert_eq!(events(&approve(&mut bench, &login, number)), no_prompt);
    assert_eq!(events(&deny(&mut bench, &login, false)), no_prompt);
}

#[test]
fn a_proposal_ahead_is_answered_with_the_head_and_one_behind_is_refused() {
    let mut chain = chain(&[]);
    let old = chain.login(1);
    chain.grow(Kind::Expire);
    let mut bench = device(chain.records());
    let outputs = propose(&mut bench, &old);
    assert!(matches!(refused(&outputs), Some(Reason::Rule(_))));
    let head = Some(chain.head());
    chain.grow(Kind::Expire);
    let outputs = propose(&mut bench, &chain.login(1));
    assert_eq!(outputs.len(), 1, "{outputs:?}");
    assert_eq!(said(&outputs, BROKER), [chain.asks(Role::Device, head)]);
}

#[test]
fn a_proposal_without_its_body_or_an_operators_commitment_is_not_shown() {
    let chain = chain(&[]);
    let login = chain.login(1);
    let mut bench = device(chain.records());
    for without in 0..3 {
        let Agree::Propose {
            block,
            mut body,
            mut salt,
            commitments,
        } = login.propose()
        else {
            panic!("a proposal");
        };
        if without != 1 {
            body = None;
        }
        if without != 0 {
            salt = None;
        }
        let agree = Agree::Propose {
            block,
            body,
            salt,
            commitments,
        };
        let outputs = bench.hear(NOW, BROKER, agree);
        assert!(matches!(refused(&outputs), Some(Reason::Rule(_))));
        assert_eq!(events(&outputs), []);
    }
    let (
        Agree::Propose {
            block, body, salt, ..
        },
        Agree::Propose { commitments, .. },
    ) = (login.propose(), chain.login(2).propose())
    else {
        panic!("two proposals");
    };
    let agree = Agree::Propose {
        block,
        body,
        salt,
        commitments,
    };
    rejected(&bench.hear(NOW, BROKER, agree));
    // What takes away needs no device, and no device signs it.
    let freeze = chain.house.next_claims(&chain.account, Kind::Freeze);
    let block = chain.house.block(freeze);
    let agree = Agree::Propose {
        commitments: chain.commitments(&block, 1),
        block,
        body: None,
        salt: None,
    };
    let reason = refused(&bench.hear(NOW, BROKER, agree));
    assert!(matches!(reason, Some(Reason::Rule(text)) if text.contains("no admit")));
    assert!(is_prompt(&propose(&mut bench, &login), &login));
}

#[test]
fn it_locks_after_number_and_match_and_answers_others_with_its_lock() {
    let chain = chain(&[]);
    let (login, other) = (chain.login(1), chain.login(2));
    let mut bench = device(chain.records());
    let reason = rejected(&matched(&mut bench, &login));
    assert!(reason.contains("not open"), "{reason}");
    propose(&mut bench, &login);
    let reason = rejected(&matched(&mut bench, &login));
    assert!(reason.contains("before the customer typed"), "{reason}");
    approve(&mut bench, &login, 7);
    rejected(&matched(&mut bench, &other));
    let outputs = matched(&mut bench, &login);
    let body = Record::Body {
        hash: login.hash(),
        body: login.body.clone(),
    };
    let locked = Record::DeviceLock(login.block.clone());
    assert_eq!(stored(&outputs), [body, locked]);
    assert!(
        matches!(outputs.first(), Some(Output::KeepSalt { hash, .. }) if *hash == login.hash())
    );
    assert_eq!(matched(&mut bench, &login), [], "a repeat");
    let mut again = device(bench.records.clone());
    assert!(again.machine.stands_as(&bench.machine));
    for bench in [&mut bench, &mut again] {
        rejected(&matched(bench, &other));
        let block = login.block.clone();
        let outputs = propose(bench, &other);
        assert_eq!(said(&outputs, BROKER), [Agree::Locked { block }]);
        assert_eq!(outputs.len(), 1);
    }
    // Any block at that height ends it: the other may be shown then.
    for kind in [Kind::Expire, Kind::Freeze] {
        let mut bench = device(bench.records.clone());
        let mut grown = crate::machines::chain(&[]);
        bring(&mut bench, &grown.grow(kind));
        assert_eq!(bench.machine.deadline(), None);
        let next = grown.proposed(
            grown.house.next_claims(
                &grown.account,
                if kind == Kind::Freeze {
                    Kind::Unfreeze
                } else {
                    Kind::Login
                },
            ),
            3,
        );
        assert!(is_prompt(&propose(&mut bench, &next), &next));
    }
}

#[test]
fn a_match_that_comes_at_the_end_of_the_proposal_locks_nothing() {
    let chain = chain(&[]);
    let login = chain.login(1);
    let hash = login.hash();
    for (now, locks) in [(before(EXP, 1), true), (EXP, false)] {
        let mut bench = device(chain.records());
        propose(&mut bench, &login);
        approve(&mut bench, &login, 7);
        let outputs = bench.hear(now, BROKER, Agree::Match { hash });
        assert_eq!(!stored(&outputs).is_empty(), locks);
        if !locks {
            let reason = refused(&outputs).unwrap();
            assert!(matches!(reason, Reason::Clock(_)));
            assert_eq!(events(&outputs), [gone(&login, Some(reason))]);
        }
    }
}

#[test]
fn a_prompt_is_gone_at_its_end_or_when_the_broker_or_a_block_says_so() {
    let chain = chain(&[]);
    let login = chain.login(1);
    let open = || {
        let mut bench = device(chain.records());
        propose(&mut bench, &login);
        bench
    };
    let mut bench = open();
    assert_eq!(bench.handle(before(EXP, 1), Input::Tick), []);
    let expired = [gone(&login, Some(Reason::Expired))];
    assert_eq!(events(&bench.handle(EXP, Input::Tick)), expired);
    assert_eq!(bench.machine.deadline(), None);
    let mut bench = open();
    let refusal = |hash| Agree::Refused {
        hash,
        reason: Reason::Cancelled,
    };
    assert_eq!(bench.hear(NOW, BROKER, refusal(Hash([1; 32]))), []);
    let outputs = bench.hear(NOW, BROKER, refusal(login.hash()));
    assert_eq!(events(&outputs), [gone(&login, Some(Reason::Cancelled))]);
    assert_eq!(bench.hear(NOW, BROKER, refusal(login.hash())), []);
    let mut bench = open();
    let mut grown = crate::machines::chain(&[]);
    let outputs = bring(&mut bench, &grown.grow(Kind::Expire));
    assert!(events(&outputs).contains(&gone(&login, None)));
    let mut bench = open();
    let outputs = bench.handle(NOW, Input::FreezeByCustomer);
    let frozen = gone(&login, Some(Reason::FreezeWanted));
    assert_eq!(events(&outputs), [frozen]);
}

#[test]
fn a_genesis_is_locked_without_a_prompt_and_is_no_sign_of_a_copy() {
    let chain = chain(&[]);
    let founded = chain.records()[..1].to_vec();
    let block = chain.blocks[0].block.clone();
    let agree = Agree::Propose {
        commitments: chain.commitments(&block, 1),
        block: block.clone(),
        body: None,
        salt: None,
    };
    let mut bench = device(founded.clone());
    let outputs = bench.hear(NOW, BROKER, agree);
    assert_eq!(stored(&outputs), [Record::DeviceLock(block)]);
    for records in [bench.records, founded] {
        let mut bench = device(records);
        let outputs = bring(&mut bench, &chain.blocks[0]);
        let sealed = Record::Sealed(Box::new(chain.blocks[0].clone()));
        assert_eq!(stored(&outputs)[0], sealed);
        assert_eq!(said(&outputs, BROKER), []);
    }
}

#[test]
fn a_genesis_that_is_overdue_or_a_lock_that_is_stale_needs_the_trust_operator() {
    let chain = chain(&[]);
    let founded = chain.records()[..1].to_vec();
    let mut locked = device(chain.records());
    lock(&mut locked, &chain.login(1));
    // `exp` + 30 s has to have passed.
    let stale = later(EXP, 30_001);
    for (records, due) in [(founded, DEADLINE), (locked.records, stale)] {
        let mut bench = device(records);
        assert!(!bench.machine.needs_trust_operator(before(due, 1)));
        assert!(bench.machine.needs_trust_operator(due));
        assert_eq!(bench.machine.deadline(), Some(due));
        assert_eq!(bench.handle(before(due, 1), Input::Tick), []);
        assert_eq!(bench.machine.deadline(), Some(due));
        let outputs = bench.handle(due, Input::Tick);
        assert_eq!(said(&outputs, BROKER).len(), 1);
        assert_eq!(said(&outputs, OTHER).len(), 1);
        let again = later(due, 5_000);
        assert_eq!(bench.machine.deadline(), Some(again));
        assert_eq!(bench.handle(before(again, 1), Input::Tick), []);
        assert_eq!(said(&bench.handle(again, Input::Tick), OTHER).len(), 1);
        // A clock that was set back asks no more.
        assert_eq!(bench.handle(NOW, Input::Tick), []);
        assert_eq!(bench.machine.deadline(), Some(due));
    }
}

#[test]
fn a_genesis_is_dead_by_the_trust_operators_word_before_there_is_a_chain() {
    let chain = chain(&[]);
    let mut bench = device(chain.records()[..1].to_vec());
    rejected(&bench.hear(NOW, BROKER, Agree::GenesisDead));
    let outputs = bench.hear(NOW, OTHER, Agree::GenesisDead);
    assert_eq!(stored(&outputs), [Record::Dead]);
    assert_eq!(events(&outputs), [Event::Dead]);
    assert!(outputs.contains(&Output::ForgetShare));
    assert_eq!(bench.hear(NOW, OTHER, Agree::GenesisDead), []);
    let mut again = device(bench.records.clone());
    assert!(again.machine.stands_as(&bench.machine));
    assert!(
        !again
            .machine
            .stands_as(&device(chain.records()[..1].to_vec()).machine)
    );
    assert_eq!(again.machine.deadline(), None);
    assert_eq!(again.handle(DEADLINE, Input::Tick), []);
    let mut standing = device(chain.records());
    assert_eq!(standing.hear(NOW, OTHER, Agree::GenesisDead), []);
}

#[test]
fn heads_are_answered_and_what_is_missing_is_asked_for() {
    let chain = chain(&[Kind::Expire, Kind::Freeze]);
    let mut bench = device(chain.records()[..3].to_vec());
    let own = chain.asks(Role::Device, Some(chain.head_at(1)));
    for role in [BROKER, OTHER] {
        let outputs = bench.handle(NOW, Input::LineUp(role));
        assert_eq!(said(&outputs, role), std::slice::from_ref(&own));
        let hear = |bench: &mut Bench<Device>, agree| said(&bench.hear(NOW, role, agree), role);
        let [behind, same, ahead] = [0, 1, 2].map(|height| Some(chain.head_at(height)));
        for head in [None, behind, same] {
            assert_eq!(hear(&mut bench, chain.head_is(role, head)), []);
            let answer = hear(&mut bench, chain.asks(role, head));
            assert_eq!(answer, std::slice::from_ref(&own));
        }
        let asks = Agree::BlocksFrom { height: 2 };
        let answer = hear(&mut bench, chain.head_is(role, ahead));
        assert_eq!(answer, std::slice::from_ref(&asks));
        assert_eq!(
            hear(&mut bench, chain.asks(role, ahead)),
            [own.clone(), asks]
        );
        let forged = chain.head_is(Role::Device, ahead);
        rejected(&bench.hear(NOW, role, forged));
        // It shows what it has, to whoever asks.
        for (height, range) in [(0, Some(0)), (1, Some(1)), (2, None)] {
            let outputs = bench.hear(NOW, role, Agree::BlocksFrom { height });
            let expected = range.map(|from| (role, from, 1)).into_iter();
            assert_eq!(shown(&outputs), expected.collect::<Vec<_>>());
        }
    }
}

#[test]
fn blocks_are_taken_in_order_and_asked_for_until_nothing_new_comes() {
    let chain = chain(&[Kind::Expire, Kind::Expire, Kind::Freeze]);
    let fresh = || device(chain.records()[..2].to_vec());
    let bring = |bench: &mut Bench<Device>, range: std::ops::Range<usize>| {
        let sealed = chain.blocks[range].to_vec();
        bench.hear(NOW, OTHER, Agree::Blocks { sealed })
    };
    let asks = |height| [Agree::BlocksFrom { height }];
    let mut bench = fresh();
    let outputs = bring(&mut bench, 0..3);
    let is_block = |r: &&Record| matches!(r, Record::Sealed(_));
    assert_eq!(stored(&outputs).iter().filter(is_block).count(), 2);
    assert_eq!(said(&outputs, OTHER), asks(3));
    assert_eq!(bring(&mut bench, 0..3), [], "nothing new");
    assert_eq!(
        said(&bring(&mut bench, 3..4), OTHER),
        [],
        "one is not a page"
    );
    let mut bench = fresh();
    let outputs = bring(&mut bench, 2..3);
    assert_eq!(said(&outputs, OTHER), asks(1), "what lies between");
    assert_eq!(stored(&outputs), []);
    let mut forged = chain.blocks[1].clone();
    forged.proof = chain.blocks[2].proof;
    let sealed = vec![forged];
    rejected(&bench.hear(NOW, OTHER, Agree::Blocks { sealed }));
}

#[test]
fn a_device_that_missed_an_admit_is_a_copy_until_a_restored_block_of_later() {
    // Not what needs no assent, nor what it is locked on.
    let mut own = chain(&[]);
    let mut bench = device(own.records());
    for kind in [Kind::Expire, Kind::Freeze] {
        let outputs = bring(&mut bench, &own.grow(kind));
        assert_eq!(said(&outputs, BROKER), [], "it has nothing to say");
        assert!(
            !bench
                .records
                .iter()
                .any(|r| matches!(r, Record::DeviceRestored { .. }))
        );
    }
    let mut own = chain(&[]);
    let mut bench = device(own.records());
    let login = own.login(1);
    lock(&mut bench, &login);
    let sealed = own.house.seal(login.block.claims().clone());
    let outputs = bring(&mut bench, &sealed);
    assert_eq!(
        stored(&outputs),
        [Record::Sealed(Box::new(sealed)), Record::Settled]
    );
    let _ = own.grow(Kind::Expire);
    // One that it knows nothing of: it says so, and signs nothing.
    let mut chain = chain(&[]);
    let mut bench = device(chain.records());
    let outputs = bring(&mut bench, &chain.grow(Kind::Login));
    assert_eq!(
        stored(&outputs).first(),
        Some(&Record::DeviceRestored { at: NOW })
    );
    let is_checkpoint = |r: &Record| matches!(r, Record::Checkpoint(_));
    assert!(stored(&outputs).last().is_some_and(is_checkpoint));
    let notice = |outputs: &[Output]| match said(outputs, BROKER).as_slice() {
        [] => None,
        [Agree::HeadIs { notice, .. }] => Some(*notice),
        other => panic!("{other:?}"),
    };
    assert_eq!(notice(&outputs), Some(true));
    let is_copy = |bench: &mut Bench<Device>, chain: &Chain| {
        let outputs = bench.handle(NOW, Input::LineUp(BROKER));
        let is_noticed = notice(&outputs) == Some(true);
        let is_refused = refused(&propose(bench, &chain.login(9))) == Some(Reason::Restored);
        assert_eq!(is_noticed, is_refused);
        is_refused
    };
    assert!(is_copy(&mut bench, &chain));
    let restored = |chain: &Chain, iat: u64| {
        let claims = Claims {
            iat,
            exp: iat + 90,
            ..chain.house.next_claims(&chain.account, Kind::Restored)
        };
        chain.house.seal(claims)
    };
    // Another block does not end it, and it says so again.
    let outputs = bring(&mut bench, &chain.grow(Kind::Expire));
    assert_eq!(notice(&outputs), Some(true));
    // Nor does a `restored` block of before, by more than clocks may differ.
    for (iat, ends) in [(NOW.seconds() - 31, false), (NOW.seconds() - 30, true)] {
        let mut bench = device(bench.records.clone());
        let mut account = chain.account.clone();
        let sealed = restored(&chain, iat);
        let outputs = bring(&mut bench, &sealed);
        assert_eq!(notice(&outputs), None, "it was heard");
        let settled = stored(&outputs).last() == Some(&Record::Settled);
        assert_eq!(settled, ends);
        account.next(&sealed).unwrap();
        let grown = Chain {
            house: crate::support::house(),
            blocks: vec![],
            account,
        };
        let last = bench.records.iter().rposition(is_checkpoint).unwrap();
        let mut from_checkpoint = device(bench.records[last..].to_vec());
        assert!(from_checkpoint.machine.stands_as(&bench.machine));
        assert_eq!(is_copy(&mut bench, &grown), !ends);
        assert_eq!(is_copy(&mut from_checkpoint, &grown), !ends);
    }
}

#[test]
fn a_located_block_is_known_to_the_device_s_account() {
    let mut chain = chain(&[Kind::Login]);
    let old: Head = chain.head();
    while chain.head().height < 150 {
        chain.grow(Kind::Expire);
    }
    let mut bench = device(chain.records());
    let known = |bench: &Bench<Device>| {
        let account = bench.machine.base().account().unwrap();
        account.height_since_unfreeze(&old.hash)
    };
    assert_eq!(known(&bench), None);
    bench.machine.locate(old);
    assert_eq!(known(&bench), Some(1));
}
