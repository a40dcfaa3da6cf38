//! Machines that leave RAM whenever they say that they may: nothing is told otherwise than by machines
//! that stay.

use warifu_consensus::{
    agree::{Input, Outcome, Record, Refusal},
    block::Kind,
    party::Role,
    wire::{Agree, Reason},
};
use warifu_simulator::{
    party::{Machine, at},
    stranger_world,
    world::{Answer, Deed, World},
};

use super::stage::{approve, begin, calm, end, has, holds, kinds, log_in, told};
use warifu_consensus::agree::Event;

fn is_idle(world: &World, role: Role) -> bool {
    let machine = world.places[0].seats[at(role)].machine.as_ref();
    machine.is_some_and(|m| m.is_idle(world.clock(0, role)))
}

fn has_no_duty(world: &World, role: Role) -> bool {
    let clock = world.clock(0, role);
    match world.places[0].seats[at(role)].machine.as_ref() {
        Some(Machine::Device(m)) => !m.needs_trust_operator(clock),
        Some(Machine::Broker(m)) => m.has_no_duty(),
        Some(Machine::TrustOperator(m)) => m.has_no_duty(),
        None => false,
    }
}

#[test]
fn calm_account_is_idle_after_a_login_and_owes_nothing() {
    let mut world = calm();
    let (login, hash) = begin(&mut world, Kind::Login);
    assert!(!is_idle(&world, Role::Broker) && !is_idle(&world, Role::TrustOperator));
    approve(&mut world, hash);
    super::stage::admitted(&mut world, login);
    world.run_for(5);
    for role in Role::ALL {
        assert!(has_no_duty(&world, role), "{role}");
    }
    assert!(is_idle(&world, Role::Broker));
    // The trust operator counts proposals for a minute.
    assert!(!is_idle(&world, Role::TrustOperator));
    world.run_for(60);
    assert!(is_idle(&world, Role::TrustOperator));
    holds(world);
}

#[test]
fn machines_that_leave_ram_at_every_chance_forget_nothing() {
    let mut world = calm();
    world.trouble.retire_one_in = 3;
    log_in(&mut world, Kind::Login);
    world.run_for(700);
    // A denial, a wrong number, a freeze of each, what nobody answers, what nobody seals.
    let (login, hash) = begin(&mut world, Kind::Login);
    world.answer(0, hash, Answer::Deny(false));
    let denied = Outcome::Refused {
        by: Role::Device,
        reason: Reason::Denied,
    };
    assert_eq!(end(&mut world, login), denied);
    world.run_for(5);
    let (login, hash) = begin(&mut world, Kind::Login);
    let nonce = world.places[0].prompts.last().expect("a prompt").1.clone();
    let wrong = (world.page_number(0, &nonce).expect("a number") + 1) % 100;
    world.answer(0, hash, Answer::Number(wrong));
    end(&mut world, login);
    world.run_for(700);
    let (login, _) = begin(&mut world, Kind::Login);
    assert_eq!(end(&mut world, login), Outcome::Expired);
    world.run_for(700);
    let (login, hash) = begin(&mut world, Kind::Login);
    world.lose = Some((Role::Broker, "endorse"));
    approve(&mut world, hash);
    world.stop(1, 150_000);
    assert_eq!(end(&mut world, login), Outcome::Expired);
    world.run_for(700);
    world.feed(0, Role::Device, Input::FreezeByCustomer);
    world.run_for(700);
    log_in(&mut world, Kind::Unfreeze);
    world.feed(0, Role::Broker, Input::Freeze);
    world.run_for(700);
    log_in(&mut world, Kind::Unfreeze);
    log_in(&mut world, Kind::Login);
    let expected = [
        Kind::Genesis,
        Kind::Login,
        Kind::Deny,
        Kind::Refuse,
        Kind::Expire,
        Kind::Freeze,
        Kind::Unfreeze,
        Kind::Freeze,
        Kind::Unfreeze,
        Kind::Login,
    ];
    assert_eq!(kinds(&world, Role::TrustOperator), expected);
    let left = |l: &String| l.contains("comes back from idleness");
    assert!(world.story.lines().any(left), "they left RAM");
    holds(world);
}

#[test]
fn word_that_the_trust_operator_alone_heard_keeps_it_in_ram() {
    let mut world = calm();
    world.trouble.retire_one_in = 3;
    world.stop(0, 200_000);
    world.feed(0, Role::Device, Input::FreezeByCustomer);
    world.run_for(100);
    assert!(!has_no_duty(&world, Role::TrustOperator));
    assert!(!is_idle(&world, Role::TrustOperator));
    assert!(!has_no_duty(&world, Role::Device));
    world.run_for(200);
    assert_eq!(kinds(&world, Role::Broker), [Kind::Genesis, Kind::Freeze]);
    for role in Role::ALL {
        assert!(has_no_duty(&world, role), "{role}");
    }
    holds(world);
}

#[test]
fn pace_outlives_idleness() {
    // Dropped with its pace, a machine would let a stranger keep the phone busy.
    let mut world = calm();
    world.trouble.retire_one_in = 3;
    for _ in 0..20 {
        let (login, _) = begin(&mut world, Kind::Login);
        world.feed(0, Role::Broker, Input::Cancel { login });
        world.run_for(1);
    }
    world.begin(0, Kind::Login, 90);
    let paced = |e: &Event| {
        matches!(
            e,
            Event::NotBegun {
                refusal: Refusal::Pace { .. },
                ..
            }
        )
    };
    assert_eq!(told(&world, Role::Broker, paced), 1);
    holds(world);
}

#[test]
fn dead_genesis_that_was_signed_is_owed_nothing() {
    // Device and broker had locked on a genesis that the trust operator never got. It died, and the
    // locks stood for ever: the device dialled the trust operator about it every few seconds, and the
    // broker's machine of the dead account was never idle.
    let mut world = stranger_world(3, 1);
    for line in 0..3 {
        world.after(10, Deed::Connect(line));
    }
    world.lose = Some((Role::Broker, "endorse"));
    let locked = |w: &World| has(w, Role::Broker, |r| matches!(r, Record::BrokerLock(_)));
    assert!(world.run_to(300, locked), "nobody signed");
    world.stop(1, 2_000_000);
    world.run_for(3_000);
    for role in Role::ALL {
        assert!(has(&world, role, |r| matches!(r, Record::Dead)), "{role}");
        assert!(has_no_duty(&world, role), "{role}");
    }
    let device = world.places[0].seats[0].machine.as_ref();
    assert_eq!(device.and_then(Machine::deadline), None);
    world.heard = Some(vec![]);
    world.run_for(100);
    let heard = world.heard.take().expect("listening");
    let asks = |(from, _, agree): &(Role, Role, Agree)| {
        *from == Role::Device && matches!(agree, Agree::HeadIs { .. })
    };
    assert!(!heard.iter().any(asks), "it asks about a dead account");
    holds(world);
}
