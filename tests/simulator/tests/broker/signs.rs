//! Packages, numbers, locks and endorsements, and how refusals end them (protocol rules 1, 5, 7, 9, 10).

use super::*;

/// The operators' commitments of a proposal.
fn package(propose: &Agree) -> [Vec<u8>; 2] {
    let Agree::Propose { commitments, .. } = propose else {
        panic!("{} is no proposal", propose.name());
    };
    let theirs = commitments.trust_operator.commitment;
    [commitments.broker, theirs].map(|c| c.as_bytes().to_vec())
}

#[test]
fn a_package_is_said_again_and_three_are_made_of_one_block() {
    let mut lone = Lone::ready();
    let (_, _, block) = lone.open(Kind::Login);
    let (_, committed) = lone.committed(&block);
    let first = sent(
        &lone.hear(Role::TrustOperator, committed.clone()),
        Role::Device,
    );
    let again = sent(&lone.hear(Role::TrustOperator, committed), Role::Device);
    assert_eq!((first.len(), &first), (1, &again));
    // The trust operator lost its nonce: fresh ones of both, three packages in all (rule 7).
    let mut packages = vec![package(&first[0])];
    for _ in 0..2 {
        let (_, propose) = lone.propose(&block);
        let next = package(&propose);
        for known in &packages {
            assert!(known[0] != next[0] && known[1] != next[1]);
        }
        packages.push(next);
    }
    let (_, committed) = lone.committed(&block);
    let outputs = lone.hear(Role::TrustOperator, committed.clone());
    assert!(is_rejected(&outputs), "{outputs:?}");
    // From then on it only waits for its end.
    assert!(lone.hear(Role::TrustOperator, committed).is_empty());
    lone.put(Input::LineUp(Role::TrustOperator));
    let head = lone.head();
    let outputs = lone.says_head(Role::TrustOperator, head, false);
    assert!(names(&outputs, Role::TrustOperator).is_empty());
    assert_eq!(
        lone.broker.deadline(),
        Some(Time::from_seconds(block.claims().exp))
    );
    // A commitment without its owner's vote is none.
    let mut lone = Lone::ready();
    let (_, _, block) = lone.open(Kind::Login);
    let (_, mut committed) = lone.committed(&block);
    if let Agree::Committed { commitment, .. } = &mut committed {
        commitment.vote = vote(Role::TrustOperator, Verb::Commitment, OTHER);
    }
    assert!(is_rejected(&lone.hear(Role::TrustOperator, committed)));
}

#[test]
fn a_commitment_that_comes_at_the_end_or_without_a_share_is_refused() {
    let mut lone = Lone::ready();
    let (_, _, block) = lone.open(Kind::Login);
    let (_, committed) = lone.committed(&block);
    lone.now = Time::from_seconds(block.claims().exp);
    assert!(is_rejected(
        &lone.hear(Role::TrustOperator, committed.clone())
    ));
    lone.now = Time(lone.now.0 - 1);
    let outputs = lone.hear(Role::TrustOperator, committed);
    assert_eq!(names(&outputs, Role::Device), ["propose"]);
    // Another block's commitment.
    let other = lone.block(Kind::Login, 3);
    let (_, committed) = lone.committed(&other);
    assert!(is_rejected(&lone.hear(Role::TrustOperator, committed)));
}

#[test]
fn a_device_that_comes_back_gets_the_proposal_again() {
    let mut lone = Lone::ready();
    lone.put(Input::LineDown(Role::Device));
    assert!(lone.broker.has_compared(), "the operators' line stands");
    let (_, _, block) = lone.open(Kind::Login);
    let (_, committed) = lone.committed(&block);
    let outputs = lone.hear(Role::TrustOperator, committed);
    assert!(sent(&outputs, Role::Device).is_empty());
    let outputs = lone.put(Input::LineUp(Role::Device));
    assert_eq!(names(&outputs, Role::Device), ["propose"]);
    // It is not prepared again, whatever else moves the machine.
    let moves = [Input::Tick, Input::LineUp(Role::Device), Input::Tick];
    for input in moves {
        let outputs = lone.put(input);
        assert!(names(&outputs, Role::TrustOperator).is_empty());
    }
    lone.put(Input::LineDown(Role::TrustOperator));
    assert!(!lone.broker.has_compared());
}

#[test]
fn a_number_is_taken_once_and_in_time() {
    let mut lone = Lone::ready();
    let (login, number, block) = lone.open(Kind::Login);
    lone.propose(&block);
    let hash = block.hash();
    let says = |lone: &mut Lone, hash: Hash, number: u8| {
        lone.hear(Role::Device, Agree::Number { hash, number })
    };
    assert!(is_rejected(&says(&mut lone, OTHER, number)));
    let wrong = (number + 1) % 100;
    // The right one may be repeated, and a wrong one after it takes nothing back.
    for _ in 0..2 {
        let outputs = says(&mut lone, hash, number);
        assert_eq!(names(&outputs, Role::Device), ["match"]);
    }
    assert!(is_rejected(&says(&mut lone, hash, wrong)));
    lone.now = Time::from_seconds(block.claims().exp);
    assert!(is_rejected(&says(&mut lone, hash, number)));
    assert_eq!(ends(&lone.put(Input::Tick)), [(login, Outcome::Expired)]);
    // Wrong at first: the end, and a block that says so.
    let (login, number, block) = lone.open(Kind::Login);
    let hash = block.hash();
    lone.now = Time(Time::from_seconds(block.claims().exp).0 - 1);
    let outputs = says(&mut lone, hash, (number + 1) % 100);
    let wrong = refusal(Role::Device, Reason::WrongNumber);
    assert_eq!(ends(&outputs), [(login, wrong)]);
    let refuse = restrict(&outputs).expect("a block");
    let c = refuse.claims();
    assert_eq!((c.kind, c.supersedes), (Kind::Refuse, None));
    let proposal = block.claims();
    assert_eq!((&c.aud, &c.nonce), (&proposal.aud, &proposal.nonce));
    assert!(is_rejected(&says(&mut lone, hash, number)));
}

#[test]
fn a_locked_login_takes_no_number() {
    let mut lone = Lone::ready();
    let (_, block, ..) = lone.lock(Kind::Login);
    let hash = block.hash();
    let outputs = lone.hear(Role::Device, Agree::Number { hash, number: 0 });
    assert!(is_rejected(&outputs));
}

#[test]
fn nothing_is_endorsed_unmatched_or_unfit() {
    let mut lone = Lone::ready();
    let (_, number, block) = lone.open(Kind::Login);
    let (_, propose) = lone.propose(&block);
    let hash = block.hash();
    let assent = lone.assent(&propose, false);
    assert!(is_rejected(&lone.hear(Role::Device, assent.clone())));
    lone.hear(Role::Device, Agree::Number { hash, number });
    let unfit: [fn(&mut Agree); 4] = [
        |agree| {
            let Agree::Assent { hash, .. } = agree else {
                return;
            };
            *hash = OTHER;
        },
        |agree| {
            let Agree::Assent { hash, vote: of, .. } = agree else {
                return;
            };
            *of = vote(Role::Device, Verb::Endorse, *hash);
        },
        |agree| {
            let Agree::Assent { hash, vote: of, .. } = agree else {
                return;
            };
            *of = vote(Role::TrustOperator, Verb::Assent, *hash);
        },
        |agree| {
            let Agree::Assent { share, .. } = agree else {
                return;
            };
            share.vote = vote(Role::Device, Verb::Share, OTHER);
        },
    ];
    for (number, spoil) in unfit.into_iter().enumerate() {
        let mut spoilt = assent.clone();
        spoil(&mut spoilt);
        let outputs = lone.hear(Role::Device, spoilt);
        assert!(is_rejected(&outputs), "{number}: {outputs:?}");
    }
    // Rule 2: not from its end on.
    lone.now = Time::from_seconds(block.claims().exp);
    assert!(is_rejected(&lone.hear(Role::Device, assent.clone())));
    lone.now = Time(lone.now.0 - 1);
    let outputs = lone.hear(Role::Device, assent.clone());
    let kept = |o: &Output| matches!(o, Output::KeepSalt { hash: of, .. } if *of == hash);
    assert!(outputs.first().is_some_and(kept), "the salt comes first");
    assert!(matches!(&outputs[1], Output::Store(Record::BrokerLock(l)) if l.block == block));
    assert_eq!(names(&outputs, Role::TrustOperator), ["endorse"]);
    // The package is used up.
    assert!(is_rejected(&lone.hear(Role::Device, assent)));
}

#[test]
fn nothing_is_endorsed_before_heads_are_compared() {
    let mut lone = Lone::ready();
    let (_, number, block) = lone.open(Kind::Login);
    let (_, propose) = lone.propose(&block);
    let hash = block.hash();
    lone.hear(Role::Device, Agree::Number { hash, number });
    let assent = lone.assent(&propose, false);
    lone.put(Input::LineDown(Role::TrustOperator));
    assert!(is_rejected(&lone.hear(Role::Device, assent)));
}

#[test]
fn what_a_restrict_block_supersedes_is_never_signed_again() {
    // Rule 1: the broker stopped with its `expire` on the way, and lost its RAM. A trust operator that
    // cheats commits to the dead block, and the device assents to it again.
    let mut lone = Lone::ready();
    let (login, block, nonces, endorse) = lone.lock(Kind::Login);
    lone.now = Time(Time::from_seconds(block.claims().exp + 30).0 + 1);
    let expired = lone.put(Input::Tick);
    assert_eq!(ends(&expired), [(login, Outcome::Expired)]);
    lone.restart();
    lone.now = Time::from_seconds(block.claims().exp - 1);
    lone.put(Input::LineUp(Role::Device));
    let outputs = lone.meet();
    assert_eq!(names(&outputs, Role::TrustOperator), ["restrict"]);
    signs_nothing(&mut lone, &block);
    // Rule 6: that it was sealed before tells nobody "admitted" any more.
    let sealed = lone.sealed(nonces, &endorse);
    let outputs = lone.blocks(Role::TrustOperator, vec![sealed]);
    assert_eq!(ends(&outputs), [(login, Outcome::Expired)]);
    // Nor what it may have forgotten: a restored copy with a lock.
    let mut lone = Lone::ready();
    let (_, block, ..) = lone.lock(Kind::Login);
    let until = lone.now;
    lone.records.push(Record::BrokerRestored { until });
    lone.restart();
    lone.put(Input::LineUp(Role::Device));
    lone.now = Time(lone.now.0 - 1);
    lone.meet();
    signs_nothing(&mut lone, &block);
}

fn signs_nothing(lone: &mut Lone, block: &Block) {
    let (_, committed) = lone.committed(block);
    let outputs = lone.hear(Role::TrustOperator, committed);
    for propose in sent(&outputs, Role::Device) {
        let assent = lone.assent(&propose, false);
        let outputs = lone.hear(Role::Device, assent);
        assert!(is_rejected(&outputs), "{outputs:?}");
    }
}

#[test]
fn a_device_s_bad_share_is_found_and_the_device_blamed() {
    for (reason, is_blamed) in [
        (
            Reason::Fault {
                culprit: Role::Device,
            },
            true,
        ),
        (
            Reason::Fault {
                culprit: Role::Broker,
            },
            false,
        ),
        (Reason::Expired, false),
    ] {
        let mut lone = Lone::ready();
        let (login, number, block) = lone.open(Kind::Login);
        let (_, propose) = lone.propose(&block);
        let hash = block.hash();
        lone.hear(Role::Device, Agree::Number { hash, number });
        let assent = lone.assent(&propose, true);
        lone.hear(Role::Device, assent);
        // Of another block it says nothing.
        let other = Agree::Refused {
            hash: OTHER,
            reason: reason.clone(),
        };
        assert!(lone.hear(Role::TrustOperator, other).is_empty());
        let answer = Agree::Refused {
            hash,
            reason: reason.clone(),
        };
        let outputs = lone.hear(Role::TrustOperator, answer.clone());
        let by = if is_blamed {
            Role::Device
        } else {
            Role::TrustOperator
        };
        assert_eq!(ends(&outputs), [(login, refusal(by, reason))]);
        let faults = events(&outputs).into_iter().filter_map(|e| match e {
            Event::Fault(fault) => Some(fault.culprit),
            _ => None,
        });
        let expected: &[Role] = if is_blamed { &[Role::Device] } else { &[] };
        assert_eq!(faults.collect::<Vec<_>>(), expected);
        assert!(stored(&outputs).contains(&Record::GivenUp { hash }));
        // Told once, and tried no more.
        assert!(ends(&lone.hear(Role::TrustOperator, answer)).is_empty());
        let outputs = lone.meet();
        assert!(names(&outputs, Role::TrustOperator).is_empty());
        lone.restart();
        let outputs = lone.meet();
        assert!(names(&outputs, Role::TrustOperator).is_empty());
    }
}

#[test]
fn a_refusal_ends_what_is_open_and_nothing_else() {
    for from in [Role::TrustOperator, Role::Device] {
        let mut lone = Lone::ready();
        let (login, _, block) = lone.open(Kind::Login);
        let reason = Reason::Rule("no".into());
        let says = |hash: Hash| Agree::Refused {
            hash,
            reason: Reason::Rule("no".into()),
        };
        assert!(lone.hear(from, says(OTHER)).is_empty());
        let outputs = lone.hear(from, says(block.hash()));
        assert_eq!(ends(&outputs), [(login, refusal(from, reason))]);
        assert_eq!(names(&outputs, Role::Device), ["refused"]);
        assert!(stored(&outputs).is_empty() && restrict(&outputs).is_none());
        lone.open(Kind::Login);
    }
    // A trust operator in conflict waits for the freeze that this broker proposes, and for this block
    // only.
    let mut lone = Lone::ready();
    let (_, _, block) = lone.open(Kind::Login);
    let conflict = |hash: Hash| Agree::Refused {
        hash,
        reason: Reason::Conflict,
    };
    assert!(lone.hear(Role::TrustOperator, conflict(OTHER)).is_empty());
    let outputs = lone.hear(Role::TrustOperator, conflict(block.hash()));
    assert_eq!(
        restrict(&outputs).map(|b| b.claims().kind),
        Some(Kind::Freeze)
    );
    // The device says that it is a copy: a `restored` block, at once.
    let mut lone = Lone::ready();
    let (_, _, block) = lone.open(Kind::Login);
    let reason = Reason::Restored;
    let hash = block.hash();
    let outputs = lone.hear(Role::Device, Agree::Refused { hash, reason });
    assert_eq!(
        restrict(&outputs).map(|b| b.claims().kind),
        Some(Kind::Restored)
    );
}

#[test]
fn a_device_locked_elsewhere_is_released_and_its_own_login_moves_up() {
    let mut lone = Lone::ready();
    let (login, number, own) = lone.open(Kind::Login);
    // Locked on what is proposed here: that is as it should be.
    let says = |block: &Block| Agree::Locked {
        block: block.clone(),
    };
    assert!(lone.hear(Role::Device, says(&own)).is_empty());
    // What can be no lock of this height.
    let past = standing()[0].founding.sub;
    assert_eq!(own.claims().sub, past);
    let height = Head {
        height: 1,
        ..lone.head()
    };
    let prev = Head {
        hash: OTHER,
        ..lone.head()
    };
    let now = lone.now.seconds();
    for wrong in [
        block_on(height, Kind::Login, now, 1),
        block_on(prev, Kind::Login, now, 1),
        lone.block(Kind::Freeze, 1),
        lone.block(Kind::Unfreeze, 1),
    ] {
        let outputs = lone.hear(Role::Device, says(&wrong));
        assert!(is_rejected(&outputs), "{outputs:?}");
    }
    let foreign = lone.block(Kind::Login, 5);
    let outputs = lone.hear(Role::Device, says(&foreign));
    let expire = restrict(&outputs).expect("an expire");
    let c = expire.claims();
    assert_eq!((c.kind, c.supersedes), (Kind::Expire, None));
    assert_eq!(c.nonce, foreign.claims().nonce);
    assert!(ends(&outputs).is_empty(), "the own login goes on");
    let outputs = lone.seal(&outputs);
    let sends = sent(&outputs, Role::TrustOperator);
    let moved = sends.iter().find_map(|agree| match agree {
        Agree::Prepare { block } => Some(block.clone()),
        _ => None,
    });
    let moved = moved.expect("proposed again");
    let (old, new) = (own.claims(), moved.claims());
    assert_eq!((new.height, &new.nonce), (old.height + 1, &old.nonce));
    assert_eq!(new.exp, old.exp);
    // With the number that the page shows.
    lone.propose(&moved);
    let hash = moved.hash();
    let outputs = lone.hear(Role::Device, Agree::Number { hash, number });
    assert_eq!(names(&outputs, Role::Device), ["match"]);
    cancel(&mut lone, login);
}

#[test]
fn a_lock_of_the_broker_s_own_is_not_replaced_by_another_of_the_device_s() {
    let mut lone = Lone::ready();
    let (_, block, ..) = lone.lock(Kind::Login);
    let locked = Agree::Locked {
        block: block.clone(),
    };
    assert!(lone.hear(Role::Device, locked).is_empty());
    let block = lone.block(Kind::Login, 5);
    assert!(lone.hear(Role::Device, Agree::Locked { block }).is_empty());
}

#[test]
fn a_sealed_login_is_admitted_until_its_end_and_not_at_it() {
    for late in [false, true] {
        let mut lone = Lone::ready();
        let (login, block, nonces, endorse) = lone.lock(Kind::Login);
        let exp = Time::from_seconds(block.claims().exp);
        lone.now = if late { exp } else { Time(exp.0 - 1) };
        let sealed = lone.sealed(nonces, &endorse);
        let outputs = lone.blocks(Role::Device, vec![sealed.clone()]);
        let outcome = if late {
            Outcome::Expired
        } else {
            Outcome::Admitted(Box::new(sealed.clone()))
        };
        assert_eq!(ends(&outputs), [(login, outcome)]);
        // Durable, then acknowledged and shown, then told (rules 3 and 6).
        let head = lone.head();
        assert!(matches!(&outputs[0], Output::Store(Record::Sealed(s)) if **s == sealed));
        assert_eq!(outputs[1], Output::Store(Record::Settled));
        let ack = [Agree::Ack { head }];
        assert_eq!(sent(&outputs, Role::TrustOperator), ack);
        let shown = Agree::Blocks {
            sealed: vec![sealed],
        };
        assert_eq!(sent(&outputs, Role::Device), [shown]);
    }
}

#[test]
fn a_login_whose_place_another_block_took_is_over() {
    let mut lone = Lone::ready();
    let (login, _, block) = lone.open(Kind::Login);
    let other = lone.next(Kind::Refuse, 1);
    let outputs = lone.blocks(Role::TrustOperator, vec![other]);
    assert_eq!(ends(&outputs), [(login, Outcome::Expired)]);
    let (_, committed) = lone.committed(&block);
    assert!(is_rejected(&lone.hear(Role::TrustOperator, committed)));
    // And one that waits, since what the broker forgot comes first.
    let mut lone = Lone::started(journal());
    lone.put(Input::LineUp(Role::TrustOperator));
    let (login, _) = lone.begin(Kind::Login);
    let other = lone.next(Kind::Refuse, 1);
    let outputs = lone.blocks(Role::TrustOperator, vec![other]);
    let expected = (login, refusal(Role::Broker, Reason::Restored));
    assert_eq!(ends(&outputs), [expected]);
}
