//! Who refuses what, and what is left of it (protocol rules 2, 6, 8, 10).

use warifu_consensus::{
    agree::{Event, Input, Outcome, Record, Refusal},
    block::Kind,
    encoding::Hash,
    party::Role,
    wire::{Agree, Reason},
};
use warifu_simulator::{
    stranger_world,
    world::{Answer, Deed, World},
};

use super::stage::{approve, begin, calm, end, has, holds, kinds, log_in, told};

#[test]
fn denied_after_the_number_ends_with_a_deny_block() {
    let mut world = calm();
    let (login, hash) = begin(&mut world, Kind::Login);
    approve(&mut world, hash);
    world.answer(0, hash, Answer::Deny(false));
    let outcome = end(&mut world, login);
    assert_eq!(
        outcome,
        Outcome::Refused {
            by: Role::Device,
            reason: Reason::Denied
        }
    );
    world.run_for(5);
    assert_eq!(kinds(&world, Role::Device), [Kind::Genesis, Kind::Deny]);
    assert!(!has(
        &world,
        Role::Device,
        |r| matches!(r, Record::DeviceLock(b) if b.hash() == hash)
    ));
    log_in(&mut world, Kind::Login);
    holds(world);
}

#[test]
fn wrong_number_has_one_try() {
    let mut world = calm();
    let (login, hash) = begin(&mut world, Kind::Login);
    let nonce = world.places[0].prompts[0].1.clone();
    let wrong = (world.page_number(0, &nonce).expect("a number") + 1) % 100;
    world.answer(0, hash, Answer::Number(wrong));
    let outcome = end(&mut world, login);
    assert_eq!(
        outcome,
        Outcome::Refused {
            by: Role::Device,
            reason: Reason::WrongNumber
        }
    );
    approve(&mut world, hash);
    world.run_for(5);
    assert_eq!(kinds(&world, Role::Device), [Kind::Genesis, Kind::Refuse]);
    holds(world);
}

#[test]
fn disowned_proposal_freezes_the_account() {
    let mut world = calm();
    let (_, hash) = begin(&mut world, Kind::Login);
    world.answer(0, hash, Answer::Deny(true));
    world.run_for(5);
    assert_eq!(
        kinds(&world, Role::TrustOperator),
        [Kind::Genesis, Kind::Freeze]
    );
    let login = world.begin(0, Kind::Login, 90);
    assert!(
        !world.places[0].logins.contains_key(&login),
        "begun on a frozen account"
    );
    log_in(&mut world, Kind::Unfreeze);
    log_in(&mut world, Kind::Login);
    holds(world);
}

#[test]
fn disowned_while_the_broker_is_away_freezes_through_the_trust_operator() {
    let mut world = calm();
    let (_, hash) = begin(&mut world, Kind::Login);
    let line = world.line_between(0, 2);
    world.drop_line(line);
    world.answer(0, hash, Answer::Deny(true));
    world.run_for(40);
    assert_eq!(kinds(&world, Role::Device), [Kind::Genesis, Kind::Freeze]);
    holds(world);
}

#[test]
fn freeze_word_cannot_be_replayed_after_unfreeze() {
    let mut world = calm();
    world.feed(0, Role::Device, Input::FreezeByCustomer);
    world.run_for(5);
    log_in(&mut world, Kind::Unfreeze);
    let word = world
        .seat(0, Role::Device)
        .records
        .iter()
        .find_map(|r| match r {
            Record::Word(held) => Some(held.word),
            _ => None,
        });
    let word = word.expect("the device said freeze");
    for to in [Role::Broker, Role::TrustOperator] {
        world.post(
            0,
            Role::Device,
            to,
            Agree::Word {
                word,
                proposal: None,
            },
        );
    }
    world.run_for(30);
    for role in [Role::Broker, Role::TrustOperator] {
        assert_eq!(
            told(&world, role, |e| matches!(
                e,
                Event::Rejected {
                    from: Role::Device,
                    ..
                }
            )),
            1
        );
        assert_eq!(
            kinds(&world, role),
            [Kind::Genesis, Kind::Freeze, Kind::Unfreeze]
        );
    }
    log_in(&mut world, Kind::Login);
    holds(world);
}

#[test]
fn genesis_that_never_comes_is_dead_for_all_three() {
    // Founded, then the device is away until after the last moment: the shares are deleted.
    let mut world = stranger_world(3, 1);
    for line in 0..3 {
        world.after(10, Deed::Connect(line));
    }
    let founded = |w: &warifu_simulator::world::World| {
        Role::ALL.iter().all(|r| !w.seat(0, *r).records.is_empty())
    };
    assert!(world.run_to(200, founded), "nobody was founded");
    world.stop(2, 900_000);
    world.run_for(1_000);
    for role in Role::ALL {
        assert!(
            has(&world, role, |r| matches!(r, Record::Dead)),
            "the {role} does not know"
        );
        assert!(
            world.seat(0, role).share.is_none(),
            "the {role} keeps a dead share"
        );
    }
    holds(world);
}

#[test]
fn proposal_that_nobody_answers_leaves_no_block() {
    let mut world = calm();
    let (login, hash) = begin(&mut world, Kind::Login);
    assert_eq!(end(&mut world, login), Outcome::Expired);
    assert_eq!(kinds(&world, Role::TrustOperator), [Kind::Genesis]);
    approve(&mut world, hash);
    world.run_for(5);
    assert_eq!(
        told(&world, Role::Device, |e| matches!(
            e,
            Event::NoPrompt { .. }
        )),
        1
    );
    log_in(&mut world, Kind::Login);
    holds(world);
}

#[test]
fn second_open_login_is_refused_until_the_first_ends() {
    let mut world = calm();
    let _ = begin(&mut world, Kind::Login);
    world.begin(0, Kind::Login, 90);
    let busy = |e: &Event| {
        matches!(
            e,
            Event::NotBegun {
                refusal: Refusal::Busy { .. },
                ..
            }
        )
    };
    assert_eq!(told(&world, Role::Broker, busy), 1);
    holds(world);
}

#[test]
fn cancel_before_the_lock_ends_it_and_after_is_too_late() {
    let mut world = calm();
    let (login, _) = begin(&mut world, Kind::Login);
    world.feed(0, Role::Broker, Input::Cancel { login });
    assert_eq!(
        end(&mut world, login),
        Outcome::Refused {
            by: Role::Broker,
            reason: Reason::Cancelled
        }
    );
    let (login, hash) = begin(&mut world, Kind::Login);
    approve(&mut world, hash);
    assert!(world.run_to(10, |w| has(
        w,
        Role::Broker,
        |r| matches!(r, Record::BrokerLock(l) if l.block.hash() == hash)
    )));
    world.feed(0, Role::Broker, Input::Cancel { login });
    let late = |e: &Event| {
        matches!(
            e,
            Event::NotCancelled {
                refusal: Refusal::Locked,
                ..
            }
        )
    };
    assert_eq!(told(&world, Role::Broker, late), 1);
    super::stage::admitted(&mut world, login);
    holds(world);
}

#[test]
fn clock_beyond_the_limit_is_told_with_by_how_much() {
    let mut world = calm();
    world.nodes[1].skew_ms = -100_000;
    let login = world.begin(0, Kind::Login, 90);
    let Outcome::Refused {
        by: Role::TrustOperator,
        reason: Reason::Clock(text),
    } = end(&mut world, login)
    else {
        panic!("not refused for its clock");
    };
    assert!(
        text.contains("100 s ahead") || text.contains("99 s ahead"),
        "{text}"
    );
    world.nodes[1].skew_ms = 0;
    world.nodes[2].skew_ms = 100_000;
    let login = world.begin(0, Kind::Login, 90);
    let Outcome::Refused {
        by: Role::Device,
        reason: Reason::Clock(text),
    } = end(&mut world, login)
    else {
        panic!("not refused for its clock");
    };
    assert!(
        text.contains("expired") && text.contains(" s ago"),
        "{text}"
    );
    holds(world);
}

#[test]
fn proposal_of_an_old_challenge_is_not_prompted_again() {
    let mut world = calm();
    log_in(&mut world, Kind::Login);
    let lock = world
        .seat(0, Role::Broker)
        .records
        .iter()
        .find_map(|r| match r {
            Record::BrokerLock(l) if l.block.claims().kind == Kind::Login => Some((**l).clone()),
            _ => None,
        });
    let block = lock.expect("a lock").block;
    let prompts = told(&world, Role::Device, |e| matches!(e, Event::Prompt(_)));
    let hash = block.hash();
    world.post(
        0,
        Role::Broker,
        Role::TrustOperator,
        Agree::Prepare { block },
    );
    world.post(0, Role::Broker, Role::Device, Agree::Match { hash });
    world.run_for(5);
    assert_eq!(
        told(&world, Role::Device, |e| matches!(e, Event::Prompt(_))),
        prompts
    );
    assert_eq!(kinds(&world, Role::TrustOperator).len(), 2);
    holds(world);
}

#[test]
fn messages_of_the_wrong_party_are_refused_and_change_nothing() {
    let mut world = calm();
    let (login, hash) = begin(&mut world, Kind::Login);
    let block = match world.places[0]
        .told
        .iter()
        .rev()
        .find_map(|(_, e)| match e {
            Event::Prompt(p) => Some(p.claims.clone()),
            _ => None,
        }) {
        Some(claims) => {
            let key = *world
                .seat(0, Role::Device)
                .machine
                .as_ref()
                .expect("up")
                .base()
                .account_key();
            warifu_consensus::block::Block::new(claims, &key).expect("the prompt's block")
        }
        None => panic!("no prompt"),
    };
    let zero = Hash::ZERO;
    let wrong = [
        (
            Role::Device,
            Role::TrustOperator,
            Agree::Prepare {
                block: block.clone(),
            },
        ),
        (Role::Device, Role::Broker, Agree::Match { hash: zero }),
        (Role::Device, Role::Broker, Agree::GenesisDead),
        (Role::Broker, Role::Device, Agree::GenesisDead),
        (Role::TrustOperator, Role::Device, Agree::Match { hash }),
        (
            Role::TrustOperator,
            Role::Broker,
            Agree::Number { hash, number: 1 },
        ),
        (Role::TrustOperator, Role::Broker, Agree::Locked { block }),
        (
            Role::Broker,
            Role::TrustOperator,
            Agree::Number { hash, number: 1 },
        ),
    ];
    let expected = wrong.len();
    for (from, to, agree) in wrong {
        world.post(0, from, to, agree);
    }
    world.run_for(2);
    let refused = |e: &Event| {
        matches!(
            e,
            Event::Rejected {
                refusal: Refusal::WrongParty { .. },
                ..
            }
        )
    };
    let found: usize = Role::ALL.iter().map(|r| told(&world, *r, refused)).sum();
    assert_eq!(found, expected);
    approve(&mut world, hash);
    super::stage::admitted(&mut world, login);
    holds(world);
}

#[test]
fn match_before_a_number_locks_nothing() {
    let mut world = calm();
    let (_, hash) = begin(&mut world, Kind::Login);
    world.post(0, Role::Broker, Role::Device, Agree::Match { hash });
    world.run_for(3);
    assert!(!has(
        &world,
        Role::Device,
        |r| matches!(r, Record::DeviceLock(b) if b.hash() == hash)
    ));
    holds(world);
}

#[test]
fn freeze_that_is_asked_for_again_is_written_down_once() {
    let mut world = calm();
    let wishes = |world: &World| {
        let wanted = |r: &&Record| matches!(r, Record::FreezeWanted { .. });
        let records = &world.seat(0, Role::Broker).records;
        records.iter().filter(wanted).count()
    };
    world.feed(0, Role::Broker, Input::LineDown(Role::TrustOperator));
    for _ in 0..20 {
        world.feed(0, Role::Broker, Input::Freeze);
    }
    assert!(world.run_to(5, |w| wishes(w) > 0));
    assert_eq!(wishes(&world), 1);
    world.feed(0, Role::Broker, Input::LineUp(Role::TrustOperator));
    world.run_for(60);
    assert_eq!(kinds(&world, Role::Broker), [Kind::Genesis, Kind::Freeze]);
    // A head later it is another wish.
    world.feed(0, Role::Broker, Input::Freeze);
    world.run_for(20);
    assert_eq!(wishes(&world), 2);
    holds(world);
}

#[test]
fn unfreeze_waits_for_the_trust_operators_own_delay() {
    let mut world = calm();
    world.options.unfreeze_delay_s = 60;
    world.stop(1, 1_000);
    world.run_for(20);
    world.feed(0, Role::Broker, Input::Freeze);
    world.run_for(5);
    let login = world.begin(0, Kind::Unfreeze, 90);
    let outcome = end(&mut world, login);
    let delayed = matches!(outcome, Outcome::Refused { by: Role::TrustOperator, reason: Reason::UnfreezeDelay { wait_s } } if wait_s > 0 && wait_s <= 60);
    assert!(delayed, "{outcome:?}");
    world.run_for(60);
    log_in(&mut world, Kind::Unfreeze);
    holds(world);
}

#[test]
fn freeze_that_reached_the_trust_operator_first_stops_the_seal() {
    // The endorsement is on its way when the device's freeze arrives by its own line.
    let mut world = calm();
    let (login, hash) = begin(&mut world, Kind::Login);
    approve(&mut world, hash);
    let locked = |r: &Record| matches!(r, Record::BrokerLock(l) if l.block.hash() == hash);
    assert!(world.run_to(10, |w| has(w, Role::Broker, locked)));
    world.feed(0, Role::Device, Input::FreezeByCustomer);
    let said = world
        .seat(0, Role::Device)
        .records
        .iter()
        .rev()
        .find_map(|r| match r {
            Record::Word(held) => Some(held.word),
            _ => None,
        });
    let agree = Agree::Word {
        word: said.expect("a freeze"),
        proposal: None,
    };
    world.feed(
        0,
        Role::TrustOperator,
        Input::Message {
            from: Role::Device,
            agree,
        },
    );
    let outcome = end(&mut world, login);
    assert!(!matches!(outcome, Outcome::Admitted(_)), "{outcome:?}");
    world.run_for(10);
    assert_eq!(
        kinds(&world, Role::TrustOperator),
        [Kind::Genesis, Kind::Freeze]
    );
    holds(world);
}

#[test]
fn device_that_said_freeze_does_not_even_prompt() {
    // A cheating broker proposes again what stood in front of the customer who froze.
    let mut world = calm();
    world.heard = Some(vec![]);
    let (_, _) = begin(&mut world, Kind::Login);
    let heard = world.heard.take().expect("listening");
    let propose = heard
        .into_iter()
        .rev()
        .find_map(|(_, _, agree)| match agree {
            Agree::Propose { .. } => Some(agree),
            _ => None,
        });
    world.feed(0, Role::Device, Input::FreezeByCustomer);
    world.heard = Some(vec![]);
    let input = Input::Message {
        from: Role::Broker,
        agree: propose.expect("a proposal"),
    };
    world.feed(0, Role::Device, input);
    assert_eq!(
        told(&world, Role::Device, |e| matches!(e, Event::Prompt(_))),
        1
    );
    let refused = |(_, _, agree): &(Role, Role, Agree)| {
        matches!(
            agree,
            Agree::Refused {
                reason: Reason::FreezeWanted,
                ..
            }
        )
    };
    assert!(world.heard.take().expect("listening").iter().any(refused));
    holds(world);
}
