//! What a single cheating party tries against the honest two, by hand.

use warifu_consensus::{
    agree::{Event, Input, Record},
    block::Kind,
    party::Role,
    wire::Agree,
};
use warifu_tests::scenario::{
    standing,
    world::{Mood, World},
};

use super::stage::{has, holds, log_in, told};

#[test]
fn block_of_another_account_is_no_conflict() {
    // Both operators prove the restrict blocks of all accounts with one key each. A customer of two
    // accounts brought the `freeze` of one as a second block of the other: the broker blamed the
    // trust operator and stopped the account for good.
    let mut world = World::new(7, &standing()[..2], None);
    world.now += 1_000_000;
    world.make_fair();
    world.mood = Mood::ByHand;
    world.run_for(3);
    world.feed(1, Role::Broker, Input::Freeze);
    log_in(&mut world, Kind::Login);
    let foreign = world.seat(1, Role::Broker).chain().last().cloned();
    let foreign = foreign.expect("a freeze");
    assert_eq!(foreign.block.claims().kind, Kind::Freeze);
    for (to, from) in [
        (Role::Broker, Role::Device),
        (Role::Device, Role::TrustOperator),
        (Role::TrustOperator, Role::Broker),
    ] {
        let agree = Agree::Blocks {
            sealed: vec![foreign.clone()],
        };
        world.feed(0, to, Input::Message { from, agree });
        assert!(!has(&world, to, |r| matches!(r, Record::Conflict(_))));
        assert_eq!(told(&world, to, |e| matches!(e, Event::Fault(_))), 0);
    }
    log_in(&mut world, Kind::Login);
    holds(world);
}
