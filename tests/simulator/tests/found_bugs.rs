//! What the walks found, each with its story.

use warifu_consensus::{
    agree::{Event, Input, Outcome, Record},
    block::Kind,
    party::Role,
    wire::{Agree, Reason},
};
use warifu_simulator::{stranger_world, world::Deed};

use super::stage::{approve, begin, calm, end, has, holds, kinds, log_in, told};

#[test]
fn broker_without_a_line_does_not_spin_at_its_deadline() {
    // A lock ran out while the trust operator was unreachable: the broker's deadline stayed in the
    // past, and a caller that ticks at the deadline would have taken a core for itself. The walk
    // fails on any deadline that a tick leaves in the past.
    let mut world = calm();
    let (_, hash) = begin(&mut world, Kind::Login);
    world.lose = Some((Role::Broker, "endorse"));
    approve(&mut world, hash);
    assert!(world.run_to(10, |w| has(
        w,
        Role::Broker,
        |r| matches!(r, Record::BrokerLock(l) if l.block.hash() == hash)
    )));
    world.stop(1, 300_000);
    world.run_for(400);
    assert_eq!(kinds(&world, Role::Broker), [Kind::Genesis, Kind::Expire]);
    holds(world);
}

#[test]
fn broker_asks_for_an_overdue_genesis_until_it_is_answered() {
    // The trust operator's clock is behind: asked once at the deadline it had nothing to say, and
    // the broker waited for ever on a genesis that was dead half a minute later.
    let mut world = stranger_world(3, 1);
    for line in 0..3 {
        world.after(10, Deed::Connect(line));
    }
    assert!(world.run_to(200, |w| {
        Role::ALL.iter().all(|r| !w.seat(0, *r).records.is_empty())
    }));
    world.stop(2, 2_000_000);
    world.nodes[1].skew_ms = -20_000;
    world.run_for(1_000);
    assert!(has(&world, Role::Broker, |r| matches!(r, Record::Dead)));
    holds(world);
}

#[test]
fn trust_operators_word_alone_blames_nobody() {
    // A cheating trust operator answers an endorsement with "the device's share is bad": the broker
    // repeated the blame without looking at the share, which it holds.
    for culprit in [Role::Device, Role::Broker] {
        let mut world = calm();
        let (login, hash) = begin(&mut world, Kind::Login);
        approve(&mut world, hash);
        assert!(world.run_to(10, |w| has(w, Role::Broker, |r| {
            matches!(r, Record::BrokerLock(l) if l.block.hash() == hash)
        })));
        let reason = Reason::Fault { culprit };
        world.feed(
            0,
            Role::Broker,
            Input::Message {
                from: Role::TrustOperator,
                agree: Agree::Refused { hash, reason },
            },
        );
        let outcome = end(&mut world, login);
        assert!(
            matches!(
                outcome,
                Outcome::Refused {
                    by: Role::TrustOperator,
                    ..
                }
            ),
            "{outcome:?}"
        );
        assert_eq!(
            told(&world, Role::Broker, |e| matches!(e, Event::Fault(_))),
            0
        );
        holds(world);
    }
}

#[test]
fn freeze_that_reached_the_broker_first_is_not_outrun() {
    // The login is sealed, its block is lost with the line. Before the broker hears of it the
    // customer's freeze arrives: the broker adopted the block and told "admitted" all the same.
    let mut world = calm();
    let (login, hash) = begin(&mut world, Kind::Login);
    world.lose = Some((Role::TrustOperator, "blocks"));
    approve(&mut world, hash);
    assert!(world.run_to(10, |w| kinds(w, Role::TrustOperator).len() == 2));
    world.stop(1, 20_000);
    // The broker knows that the line is down, so it cannot sign the freeze yet.
    world.feed(0, Role::Broker, Input::LineDown(Role::TrustOperator));
    world.feed(0, Role::Device, Input::FreezeByCustomer);
    assert!(world.run_to(5, |w| has(w, Role::Broker, |r| matches!(
        r,
        Record::Word(_)
    ))));
    let outcome = end(&mut world, login);
    assert!(!matches!(outcome, Outcome::Admitted(_)), "{outcome:?}");
    world.run_for(30);
    assert_eq!(
        kinds(&world, Role::Broker),
        [Kind::Genesis, Kind::Login, Kind::Freeze]
    );
    holds(world);
}

#[test]
fn freeze_said_while_an_unfreeze_is_on_its_way_holds() {
    // The device assented to an unfreeze, then the customer froze again before the device held the
    // unfreeze: the word named a block before it, both operators took it for a replay, the freeze
    // was lost, and the device, which waited for it, never assented again.
    let mut world = calm();
    world.feed(0, Role::Broker, Input::Freeze);
    world.run_for(5);
    let (_, hash) = begin(&mut world, Kind::Unfreeze);
    approve(&mut world, hash);
    let locked = |r: &Record| matches!(r, Record::DeviceLock(b) if b.hash() == hash);
    assert!(world.run_to(10, |w| has(w, Role::Device, locked)));
    // The words are lost with the device's lines, the endorsement goes its way.
    for line in [1, 2] {
        world.drop_line(line);
    }
    let sealed =
        |w: &warifu_simulator::world::World| kinds(w, Role::Broker).contains(&Kind::Unfreeze);
    let arrived = world.run_to(1, sealed);
    world.feed(0, Role::Device, Input::FreezeByCustomer);
    world.run_for(120);
    let expected = if arrived || sealed(&world) {
        vec![Kind::Genesis, Kind::Freeze, Kind::Unfreeze, Kind::Freeze]
    } else {
        vec![Kind::Genesis, Kind::Freeze, Kind::Freeze]
    };
    assert_eq!(kinds(&world, Role::TrustOperator), expected);
    log_in(&mut world, Kind::Unfreeze);
    log_in(&mut world, Kind::Login);
    holds(world);
}
