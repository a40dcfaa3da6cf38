//! Nonces, packages and shares at their bounds: what is answered again, what is made anew, and when
//! no more (protocol rules 2 and 7).

use warifu_consensus::{
    agree::{Event, Fault, Input, Output, Record},
    block::{Block, Claims, Kind},
    chain::Head,
    encoding::{Hash, text_b64},
    party::Role,
    share::{Commitment, CommitmentBytes},
    time::Time,
    vote::{Statement, Verb, Vote},
    wire::{Agree, OperatorCommitments, Reason},
};
use warifu_simulator::{founded::operators, party::at, standing, world::World};

use super::stage::{approve, begin, calm, has};

/// Moves one machine at a moment of its own clock and performs nothing of what it asks for.
fn handle(world: &mut World, role: Role, now: Time, input: Input) -> Vec<Output> {
    let machine = world.places[0].seats[at(role)].machine.as_mut();
    machine
        .expect("it runs")
        .handle(now, input, &mut world.entropy)
}

fn from_broker(agree: Agree) -> Input {
    let from = Role::Broker;
    Input::Message { from, agree }
}

/// The last message that was sent and is like this.
fn heard<T>(world: &World, like: impl Fn(&Agree) -> Option<T>) -> T {
    let heard = world.heard.as_ref().expect("listening").iter();
    heard
        .rev()
        .find_map(|(_, _, agree)| like(agree))
        .expect("it was sent")
}

fn prepared(world: &World) -> Block {
    heard(world, |agree| match agree {
        Agree::Prepare { block } => Some(block.clone()),
        _ => None,
    })
}

fn committed(outputs: &[Output]) -> Option<(Hash, Commitment)> {
    outputs.iter().find_map(|output| match output {
        Output::Send {
            agree: Agree::Committed { hash, commitment },
            ..
        } => Some((*hash, commitment.commitment)),
        _ => None,
    })
}

fn refused(outputs: &[Output]) -> Option<Reason> {
    outputs.iter().find_map(|output| match output {
        Output::Send {
            agree: Agree::Refused { reason, .. },
            ..
        } => Some(reason.clone()),
        _ => None,
    })
}

fn is_sealed(outputs: &[Output]) -> bool {
    let sealed = |output: &Output| matches!(output, Output::Store(Record::Sealed(_)));
    outputs.iter().any(sealed)
}

/// A login in front of the customer, and everything said on the way.
fn open() -> (World, Hash) {
    let mut world = calm();
    world.heard = Some(vec![]);
    let (_, hash) = begin(&mut world, Kind::Login);
    (world, hash)
}

/// The endorsement of a login, on its way to the trust operator.
fn endorsed() -> (World, Agree) {
    let (mut world, hash) = open();
    approve(&mut world, hash);
    let is = |(_, _, agree): &(Role, Role, Agree)| matches!(agree, Agree::Endorse { .. });
    let sent = |w: &World| w.heard.as_ref().is_some_and(|heard| heard.iter().any(is));
    assert!(world.run_to(10, sent), "no endorsement");
    let endorse = heard(&world, |agree| {
        matches!(agree, Agree::Endorse { .. }).then(|| agree.clone())
    });
    (world, endorse)
}

#[test]
fn trust_operator_commits_once_to_a_proposal_while_it_lives() {
    let (mut world, hash) = open();
    let block = prepared(&world);
    let first = heard(&world, |agree| match agree {
        Agree::Committed { commitment, .. } => Some(commitment.commitment),
        _ => None,
    });
    let again = || Agree::Prepare {
        block: block.clone(),
    };
    let now = world.clock(0, Role::TrustOperator);
    let exp = Time::from_seconds(block.claims().exp);
    let role = Role::TrustOperator;
    let machine = |w: &World| {
        let machine = w.seat(0, role).machine.as_ref().expect("it runs");
        (machine.is_idle(exp), machine.deadline())
    };
    assert_eq!(machine(&world), (false, Some(exp)));
    for now in [now, Time(exp.0 - 1)] {
        let outputs = handle(&mut world, role, now, from_broker(again()));
        assert_eq!(committed(&outputs), Some((hash, first)));
        assert_eq!(outputs.len(), 1);
    }
    let _ = handle(&mut world, role, Time(exp.0 - 1), Input::Tick);
    let outputs = handle(&mut world, role, now, from_broker(again()));
    assert_eq!(committed(&outputs), Some((hash, first)));
    let outputs = handle(&mut world, role, exp, from_broker(again()));
    assert!(matches!(refused(&outputs), Some(Reason::Clock(_))));
    // A newer proposal takes its place: what comes after is made anew.
    let claims = Claims {
        nonce: text_b64(&[1; 16]),
        ..block.claims().clone()
    };
    let newer = Block::new(claims, &standing()[0].founding.account_key).expect("a block");
    let prepare = Agree::Prepare {
        block: newer.clone(),
    };
    let outputs = handle(&mut world, role, now, from_broker(prepare));
    let (of, second) = committed(&outputs).expect("committed");
    assert_eq!(of, newer.hash());
    let outputs = handle(&mut world, role, now, from_broker(again()));
    let (of, third) = committed(&outputs).expect("committed");
    assert_eq!(of, hash);
    assert!(first != second && second != third && third != first);
    // Its end frees what it holds.
    assert_eq!(handle(&mut world, role, exp, Input::Tick), []);
    assert_eq!(machine(&world).1, None);
}

#[test]
fn trust_operator_forgets_its_nonce_with_the_session() {
    let (mut world, hash) = open();
    let block = prepared(&world);
    let now = world.clock(0, Role::TrustOperator);
    let role = Role::TrustOperator;
    let prepare = || {
        from_broker(Agree::Prepare {
            block: block.clone(),
        })
    };
    let (_, first) = committed(&handle(&mut world, role, now, prepare())).expect("committed");
    let _ = handle(&mut world, role, now, Input::LineUp(Role::Broker));
    assert_eq!(committed(&handle(&mut world, role, now, prepare())), None);
    let sealed = world.seat(0, Role::Broker).chain().last().cloned();
    let sealed = sealed.expect("a genesis").block;
    let statement = Statement {
        verb: Verb::Head,
        role: Role::Broker,
        sub: sealed.claims().sub,
        hash: sealed.hash(),
    };
    let key = &operators().broker;
    let head = Agree::HeadIs {
        head: Some(Head {
            height: 0,
            hash: sealed.hash(),
        }),
        vote: Some(Vote::sign(key, &statement)),
        ask: false,
        notice: false,
    };
    let _ = handle(&mut world, role, now, from_broker(head));
    let (of, second) = committed(&handle(&mut world, role, now, prepare())).expect("committed");
    assert_eq!(of, hash);
    assert!(first != second, "a nonce outlived its session");
}

#[test]
fn trust_operator_keeps_its_nonce_for_the_newer_package_and_seals_with_it() {
    let (mut world, endorse) = endorsed();
    let now = world.clock(0, Role::TrustOperator);
    let role = Role::TrustOperator;
    let Agree::Endorse {
        block,
        commitments,
        shares,
        assent,
        endorse: vote,
        ..
    } = endorse.clone()
    else {
        panic!("an endorsement");
    };
    let older = Agree::Endorse {
        own: CommitmentBytes::from(&commitments[0]),
        block: block.clone(),
        commitments,
        shares,
        assent,
        endorse: vote,
    };
    let outputs = handle(&mut world, role, now, from_broker(older));
    let (of, own) = committed(&outputs).expect("its commitment again");
    assert_eq!((of, outputs.len()), (block.hash(), 1));
    let first = heard(&world, |agree| match agree {
        Agree::Committed { commitment, .. } => Some(commitment.commitment),
        _ => None,
    });
    assert!(own == first);
    let outputs = handle(&mut world, role, now, from_broker(endorse));
    assert!(is_sealed(&outputs), "{outputs:?}");
}

#[test]
fn nonce_of_the_trust_operator_serves_one_try() {
    // What the broker forwards without its owner's vote is the broker's fault, and costs the nonce.
    for swapped in [true, false] {
        let (mut world, good) = endorsed();
        let now = world.clock(0, Role::TrustOperator);
        let role = Role::TrustOperator;
        let mut forged = good.clone();
        let Agree::Endorse {
            assent,
            endorse,
            shares,
            ..
        } = &mut forged
        else {
            panic!("an endorsement");
        };
        if swapped {
            std::mem::swap(assent, endorse);
        } else {
            shares[0] = shares[1].clone();
        }
        let outputs = handle(&mut world, role, now, from_broker(forged));
        let culprit = Role::Broker;
        assert_eq!(refused(&outputs), Some(Reason::Fault { culprit }));
        let blames = |output: &Output| {
            matches!(
                output,
                Output::Tell(Event::Fault(Fault {
                    culprit: Role::Broker,
                    ..
                }))
            )
        };
        assert!(outputs.iter().any(blames));
        let outputs = handle(&mut world, role, now, from_broker(good));
        assert!(!is_sealed(&outputs));
        assert!(committed(&outputs).is_some(), "another package, same block");
    }
}

/// The device's answer to a package, if it gives one: its commitment.
fn assented(outputs: &[Output]) -> Option<Agree> {
    outputs.iter().find_map(|output| match output {
        Output::Send { agree, .. } if matches!(agree, Agree::Assent { .. }) => Some(agree.clone()),
        _ => None,
    })
}

#[test]
fn device_tries_a_block_three_times_and_repeats_the_last_answer() {
    let (mut world, hash) = open();
    let propose = heard(&world, |agree| {
        matches!(agree, Agree::Propose { .. }).then(|| agree.clone())
    });
    approve(&mut world, hash);
    let locked = |r: &Record| matches!(r, Record::DeviceLock(b) if b.hash() == hash);
    assert!(world.run_to(10, |w| has(w, Role::Device, locked)));
    let now = world.clock(0, Role::Device);
    let Agree::Propose {
        block,
        body,
        salt,
        commitments,
    } = propose.clone()
    else {
        panic!("a proposal");
    };
    let exp = Time::from_seconds(block.claims().exp);
    // The broker's commitment is covered by no vote: here are as many packages as one likes.
    let (one, two) = (commitments.broker, commitments.trust_operator.commitment);
    let point = |of: &Commitment, half: usize| of.as_bytes()[half * 32..][..32].to_vec();
    let mixed = |a: Vec<u8>, b: Vec<u8>| Commitment::decode(&[a, b].concat()).expect("points");
    let packages = [
        two,
        mixed(point(&one, 0), point(&two, 0)),
        mixed(point(&one, 1), point(&two, 1)),
    ];
    let package = |broker: Commitment| Agree::Propose {
        block: block.clone(),
        body: body.clone(),
        salt: salt.clone(),
        commitments: OperatorCommitments {
            broker,
            ..commitments.clone()
        },
    };
    let role = Role::Device;
    let first = assented(&handle(&mut world, role, now, from_broker(propose)));
    assert!(first.is_some(), "the first answer again");
    let mut last = first;
    for broker in &packages[..2] {
        let outputs = handle(&mut world, role, now, from_broker(package(*broker)));
        let answer = assented(&outputs);
        assert!(answer.is_some() && answer != last, "a fresh nonce");
        for now in [now, Time(exp.0 - 1)] {
            let outputs = handle(&mut world, role, now, from_broker(package(*broker)));
            assert_eq!(assented(&outputs), answer, "the same package");
        }
        last = answer;
    }
    let outputs = handle(&mut world, role, now, from_broker(package(packages[2])));
    assert_eq!(refused(&outputs), Some(Reason::Tries { limit: 3 }));
    assert_eq!(assented(&outputs), None);
    let outputs = handle(&mut world, role, now, from_broker(package(packages[1])));
    assert_eq!(assented(&outputs), last);
    let outputs = handle(&mut world, role, exp, from_broker(package(packages[1])));
    assert_eq!(assented(&outputs), None, "nothing at the proposal's end");
    assert!(matches!(refused(&outputs), Some(Reason::Clock(_))));
}
