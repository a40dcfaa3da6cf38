//! What a single cheating party tries against the honest two, by hand.

use warifu_consensus::{
    agree::{Event, Input, Record},
    block::Kind,
    encoding::Hash,
    party::Role,
    vote::{Statement, Verb, Vote, Word},
    wire::Agree,
};
use warifu_simulator::{
    standing,
    world::{Mood, World},
};

use super::stage::{calm, has, holds, kinds, log_in, told};

#[test]
fn block_of_another_account_is_no_conflict() {
    // Both operators prove the restrict blocks of all accounts with one key each. A customer of two
    // accounts brought the `freeze` of one as a second block of the other: the broker blamed the
    // trust operator and stopped the account for good.
    let mut world = World::new(7, &standing()[..2], vec![]);
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

#[test]
fn device_does_not_fill_the_ledger() {
    // Every "I am a restored copy" and every freeze of a device is answered by a block that both
    // operators keep for ever: a device repeated them as fast as its line carried.
    let mut world = calm();
    world.audit.cheats[0] = true;
    let key = standing()[0].device.clone();
    for _ in 0..100 {
        let head = world.seat(0, Role::Broker).chain().last().cloned();
        let head = head.expect("a genesis").block;
        let (sub, hash) = (head.claims().sub, head.hash());
        let word = Word::sign(&key, Verb::Freeze, sub, hash);
        let statement = Statement {
            verb: Verb::Head,
            role: Role::Device,
            sub,
            hash,
        };
        let says = [
            Agree::HeadIs {
                head: Some(warifu_consensus::chain::Head {
                    height: head.claims().height,
                    hash,
                }),
                vote: Some(Vote::sign(&key, &statement)),
                ask: false,
                notice: true,
            },
            Agree::Word {
                word,
                proposal: None,
            },
        ];
        for agree in says {
            let from = Role::Device;
            world.feed(0, Role::Broker, Input::Message { from, agree });
            world.run_for(1);
        }
    }
    assert_eq!(kinds(&world, Role::TrustOperator).len(), 31);
    // Its last word stands all the same, and is answered when its turn comes.
    world.run_for(700);
    assert_eq!(kinds(&world, Role::TrustOperator)[31], Kind::Freeze);
    holds(world);
}

#[test]
fn denials_leave_room_for_a_freeze() {
    // A device that holds many denials up, here of one that a malicious program drives, could not
    // freeze any more: the operators took no further word.
    let mut world = calm();
    let key = standing()[0].device.clone();
    let genesis = world.seat(0, Role::Broker).chain().next().cloned();
    let genesis = genesis.expect("a genesis").block;
    for number in 0..20 {
        let mut claims = genesis.claims().clone();
        claims.kind = Kind::Login;
        claims.genesis = None;
        claims.height = 1;
        claims.prev = genesis.hash();
        claims.body = Some(Hash([number; 32]));
        let account_key = standing()[0].founding.account_key;
        let proposal = warifu_consensus::block::Block::new(claims, &account_key);
        let proposal = proposal.expect("a block");
        let word = Word::sign(&key, Verb::Deny, genesis.claims().sub, proposal.hash());
        let agree = Agree::Word {
            word,
            proposal: Some(proposal),
        };
        let from = Role::Device;
        world.feed(0, Role::TrustOperator, Input::Message { from, agree });
    }
    world.feed(0, Role::Device, Input::FreezeByCustomer);
    world.run_for(60);
    for role in [Role::Broker, Role::TrustOperator] {
        assert_eq!(kinds(&world, role), [Kind::Genesis, Kind::Freeze]);
        assert!(has(&world, role, |r| {
            matches!(r, Record::Word(w) if w.word.verb == Verb::Freeze)
        }));
    }
    holds(world);
}
