//! Races of locks, seals and expiries (protocol rules 1, 3, 4, 5, 7, 8).

use warifu_consensus::{
    agree::{Input, Outcome, Record},
    block::Kind,
    party::Role,
    wire::Agree,
};
use warifu_simulator::world::{Mood, World};

use super::stage::{admitted, approve, begin, calm, end, has, holds, kinds, log_in, told};
use warifu_consensus::agree::Event;

#[test]
fn expire_that_races_a_seal_gets_the_sealed_block() {
    // The broker's clock jumps past exp + 30 s while the sealed block is on its way: the trust
    // operator answers the `expire` with what it sealed, and the broker adopts it, as expired.
    let mut world = calm();
    let (login, hash) = begin(&mut world, Kind::Login);
    approve(&mut world, hash);
    let sealed = |w: &World| kinds(w, Role::TrustOperator).len() == 2;
    assert!(world.run_to(10, sealed));
    world.nodes[0].skew_ms = 125_000;
    world.feed(0, Role::Broker, Input::Tick);
    let signed =
        |r: &Record| matches!(r, Record::RestrictLock(l) if l.block.claims().kind == Kind::Expire);
    assert!(
        has(&world, Role::Broker, signed),
        "the broker signed no expire"
    );
    assert_eq!(end(&mut world, login), Outcome::Expired);
    world.nodes[0].skew_ms = 0;
    world.run_for(5);
    assert_eq!(kinds(&world, Role::Broker), [Kind::Genesis, Kind::Login]);
    log_in(&mut world, Kind::Login);
    holds(world);
}

#[test]
fn displaced_freeze_is_sealed_next() {
    // The desk freezes while the sealed login is on its way to the broker.
    let mut world = calm();
    let (login, hash) = begin(&mut world, Kind::Login);
    approve(&mut world, hash);
    assert!(world.run_to(10, |w| kinds(w, Role::TrustOperator).len() == 2));
    world.feed(0, Role::Broker, Input::Freeze);
    assert!(!matches!(end(&mut world, login), Outcome::Admitted(_)));
    world.run_for(10);
    let expected = [Kind::Genesis, Kind::Login, Kind::Freeze];
    assert_eq!(kinds(&world, Role::Broker), expected);
    assert_eq!(kinds(&world, Role::TrustOperator), expected);
    log_in(&mut world, Kind::Unfreeze);
    log_in(&mut world, Kind::Login);
    holds(world);
}

#[test]
fn displaced_freeze_survives_a_restart() {
    let mut world = calm();
    let (_, hash) = begin(&mut world, Kind::Login);
    approve(&mut world, hash);
    assert!(world.run_to(10, |w| kinds(w, Role::TrustOperator).len() == 2));
    world.feed(0, Role::Broker, Input::Freeze);
    assert!(world.run_to(10, |w| kinds(w, Role::Broker).len() == 2));
    world.stop(0, 5_000);
    world.run_for(40);
    assert_eq!(
        kinds(&world, Role::Broker),
        [Kind::Genesis, Kind::Login, Kind::Freeze]
    );
    holds(world);
}

#[test]
fn bytes_that_the_broker_never_locked_are_expired_at_once() {
    // The assent is lost with its line and the broker forgets its open proposal in a restart: the
    // device alone is locked. The next login moves one height up, without a wait.
    let mut world = calm();
    let (_, hash) = begin(&mut world, Kind::Login);
    world.lose = Some((Role::Device, "assent"));
    approve(&mut world, hash);
    assert!(world.run_to(10, |w| has(
        w,
        Role::Device,
        |r| matches!(r, Record::DeviceLock(b) if b.hash() == hash)
    )));
    assert!(world.run_to(1, |w| w.lose.is_none()));
    world.stop(0, 1_000);
    world.run_for(20);
    let before = world.now;
    let (login, hash) = begin(&mut world, Kind::Login);
    assert!(
        world.now - before < 5_000,
        "the login waited {} ms",
        world.now - before
    );
    approve(&mut world, hash);
    admitted(&mut world, login);
    assert_eq!(
        kinds(&world, Role::Broker),
        [Kind::Genesis, Kind::Expire, Kind::Login]
    );
    holds(world);
}

#[test]
fn trust_operator_that_lost_its_nonce_gets_another_package_without_a_prompt() {
    let mut world = calm();
    let (login, hash) = begin(&mut world, Kind::Login);
    world.lose = Some((Role::Broker, "endorse"));
    approve(&mut world, hash);
    let locked = |w: &World| {
        has(
            w,
            Role::Broker,
            |r| matches!(r, Record::BrokerLock(l) if l.block.hash() == hash),
        )
    };
    assert!(world.run_to(10, locked));
    world.stop(1, 2_000);
    admitted(&mut world, login);
    assert_eq!(
        told(&world, Role::Device, |e| matches!(e, Event::Prompt(_))),
        1
    );
    world.run_for(20);
    assert_eq!(kinds(&world, Role::Device).len(), 2);
    holds(world);
}

#[test]
fn broker_that_restarts_with_a_lock_finishes_the_login() {
    let mut world = calm();
    let (login, hash) = begin(&mut world, Kind::Login);
    world.lose = Some((Role::Broker, "endorse"));
    approve(&mut world, hash);
    assert!(world.run_to(10, |w| has(
        w,
        Role::Broker,
        |r| matches!(r, Record::BrokerLock(l) if l.block.hash() == hash)
    )));
    world.stop(0, 3_000);
    admitted(&mut world, login);
    assert_eq!(
        told(&world, Role::Device, |e| matches!(e, Event::Prompt(_))),
        1
    );
    holds(world);
}

#[test]
fn broker_that_is_away_past_the_grace_expires_its_lock() {
    let mut world = calm();
    let (login, hash) = begin(&mut world, Kind::Login);
    world.lose = Some((Role::Broker, "endorse"));
    approve(&mut world, hash);
    assert!(world.run_to(10, |w| has(
        w,
        Role::Broker,
        |r| matches!(r, Record::BrokerLock(l) if l.block.hash() == hash)
    )));
    world.stop(0, 130_000);
    assert_eq!(end(&mut world, login), Outcome::Expired);
    world.run_for(30);
    assert_eq!(kinds(&world, Role::Device), [Kind::Genesis, Kind::Expire]);
    log_in(&mut world, Kind::Login);
    holds(world);
}

#[test]
fn expire_that_comes_early_is_answered_not_yet() {
    // The trust operator's clock is 20 s behind: its `NotYet` makes the broker wait, not give up.
    let mut world = calm();
    let (_, hash) = begin(&mut world, Kind::Login);
    world.lose = Some((Role::Broker, "endorse"));
    approve(&mut world, hash);
    assert!(world.run_to(10, |w| has(
        w,
        Role::Broker,
        |r| matches!(r, Record::BrokerLock(l) if l.block.hash() == hash)
    )));
    world.stop(0, 121_000);
    world.run_for(100);
    world.nodes[1].skew_ms = -20_000;
    world.run_for(60);
    assert!(
        world.story.lines().any(|l| l.contains("not-yet")),
        "nobody said not-yet"
    );
    assert_eq!(kinds(&world, Role::Broker), [Kind::Genesis, Kind::Expire]);
    holds(world);
}

#[test]
fn restored_broker_waits_and_opens_with_restored() {
    let mut world = calm();
    log_in(&mut world, Kind::Login);
    log_in(&mut world, Kind::Login);
    world.run_for(3);
    // An old backup: the founding and the genesis.
    world.set_back(0, u64::MAX);
    world.run_for(30);
    assert_eq!(kinds(&world, Role::Broker).len(), 3);
    let login = world.begin(0, Kind::Login, 90);
    assert!(
        !world.places[0].logins.contains_key(&login),
        "begun before `restored`"
    );
    world.run_for(260);
    assert_eq!(kinds(&world, Role::Broker).last(), Some(&Kind::Restored));
    log_in(&mut world, Kind::Login);
    holds(world);
}

#[test]
fn restored_device_signs_only_after_restored() {
    let mut world = calm();
    log_in(&mut world, Kind::Login);
    world.run_for(3);
    world.set_back(2, u64::MAX);
    world.run_for(30);
    assert!(has(&world, Role::Device, |r| matches!(
        r,
        Record::DeviceRestored { .. }
    )));
    world.mood = Mood::Willing;
    assert!(world.is_admitted(0, Kind::Login));
    assert!(kinds(&world, Role::Device).contains(&Kind::Restored));
    holds(world);
}

#[test]
fn repeated_endorsement_gets_the_sealed_block_and_makes_no_other() {
    let mut world = calm();
    log_in(&mut world, Kind::Login);
    let sealed = world
        .seat(0, Role::Broker)
        .chain()
        .last()
        .expect("a block")
        .clone();
    let head = sealed.block.hash();
    world.post(
        0,
        Role::Broker,
        Role::TrustOperator,
        Agree::Prepare {
            block: sealed.block.clone(),
        },
    );
    world.run_for(2);
    assert!(
        world
            .story
            .lines()
            .rev()
            .take(6)
            .any(|l| l.contains("trust operator → broker blocks"))
    );
    let last = world
        .seat(0, Role::TrustOperator)
        .chain()
        .last()
        .expect("a block")
        .block
        .hash();
    assert_eq!(last, head);
    holds(world);
}
