//! Clocks that stand a day or a year ahead for a moment and are right again: the account goes on (protocol
//! rules 1, 4, 8), and one that stands behind for a moment shortens no wait.

use warifu_consensus::{
    agree::{Input, Outcome, Record},
    block::Kind,
    chain::Head,
    party::Role,
    vote::{Statement, Verb, Vote},
    wire::Agree,
};
use warifu_simulator::{
    standing,
    world::{Mood, World},
};

use super::stage::{calm, has, holds, kinds, log_in, outcome};

const DAY_MS: i64 = 86_400_000;
const YEAR_MS: i64 = 365 * DAY_MS;
const AHEAD: [i64; 3] = [100_000, DAY_MS, YEAR_MS];

const BROKER: usize = 0;
const TRUST_OPERATOR: usize = 1;
const DEVICE: usize = 2;

/// The device says that it is a restored copy.
fn notice(world: &World) -> Input {
    let head = world.seat(0, Role::Broker).chain().last().cloned();
    let head = head.expect("a genesis").block;
    let (sub, hash) = (head.claims().sub, head.hash());
    let statement = Statement {
        verb: Verb::Head,
        role: Role::Device,
        sub,
        hash,
    };
    let agree = Agree::HeadIs {
        head: Some(Head {
            height: head.claims().height,
            hash,
        }),
        vote: Some(Vote::sign(&standing()[0].device, &statement)),
        ask: false,
        notice: true,
    };
    let from = Role::Device;
    Input::Message { from, agree }
}

/// One login sealed, and all at rest.
fn one_login() -> World {
    let mut world = calm();
    log_in(&mut world, Kind::Login);
    world.run_for(3);
    world
}

/// The desk freezes, the customer lifts it, and somebody logs in.
fn goes_on(mut world: World, within_s: u64) {
    world.feed(0, Role::Broker, Input::Freeze);
    let frozen = world.run_to(within_s, |w| {
        [Role::Broker, Role::TrustOperator].map(|role| kinds(w, role).last() == Some(&Kind::Freeze))
            == [true; 2]
    });
    let of = |role| kinds(&world, role);
    assert!(
        frozen,
        "{:?} {:?}",
        of(Role::Broker),
        of(Role::TrustOperator)
    );
    log_in(&mut world, Kind::Unfreeze);
    log_in(&mut world, Kind::Login);
    holds(world);
}

/// Whether somebody who logs in at this moment is admitted.
fn is_let_in(world: &mut World, kind: Kind) -> bool {
    world.mood = Mood::Willing;
    let login = world.begin(0, kind, 90);
    world.run_for(20);
    world.mood = Mood::ByHand;
    matches!(outcome(world, login), Some(Outcome::Admitted(_)))
}

fn signed_restored(world: &World) -> Vec<(u64, u64)> {
    let records = world.seat(0, Role::Broker).records.iter();
    let signed = records.filter_map(|record| match record {
        Record::RestrictLock(lock) if lock.block.claims().kind == Kind::Restored => {
            Some((lock.block.claims().height, lock.block.claims().iat))
        }
        _ => None,
    });
    signed.collect()
}

#[test]
fn restored_block_of_a_clock_that_stood_ahead_is_signed_anew() {
    // A copy of the device asked for a `restored` block in the second in which the broker's clock
    // stood a year ahead. The trust operator would complete it in a year; until then nothing was
    // signed for the account, the desk's freeze included.
    for ahead in AHEAD {
        let mut world = one_login();
        // The notice is spoken here, by its key.
        world.audit.cheats[0] = true;
        let said = notice(&world);
        world.set_clock(BROKER, ahead);
        world.feed(0, Role::Broker, said);
        world.run_for(2);
        assert_eq!(
            kinds(&world, Role::TrustOperator).last(),
            Some(&Kind::Login)
        );
        world.set_clock(BROKER, 0);
        world.run_for(3);
        let [(height, dated)] = signed_restored(&world)[..] else {
            panic!("{:?}", signed_restored(&world));
        };
        let right = world.clock(0, Role::Broker).seconds();
        world.audit.cheats[0] = false;
        goes_on(world, 300);
        assert!(dated > right && height == 2);
    }
}

#[test]
fn restored_block_that_lies_a_little_ahead_is_waited_for() {
    let mut world = one_login();
    world.audit.cheats[0] = true;
    let said = notice(&world);
    world.set_clock(BROKER, 50_000);
    world.feed(0, Role::Broker, said);
    world.set_clock(BROKER, 0);
    world.run_for(40);
    assert_eq!(
        kinds(&world, Role::TrustOperator).last(),
        Some(&Kind::Restored)
    );
    assert_eq!(signed_restored(&world).len(), 1);
    world.audit.cheats[0] = false;
    goes_on(world, 10);
}

/// A broker that comes back from a backup of before the login and catches up while its clock is off.
fn broker_comes_back(skew_ms: i64) -> World {
    let mut world = one_login();
    world.set_back(BROKER, u64::MAX);
    world.set_clock(BROKER, skew_ms);
    let noticed = |r: &Record| matches!(r, Record::BrokerRestored { .. });
    assert!(world.run_to(60, |w| has(w, Role::Broker, noticed)));
    world
}

#[test]
fn broker_that_noticed_by_a_clock_ahead_that_it_is_a_copy_opens_again() {
    // It would have opened with `restored` in a year.
    for ahead in AHEAD {
        let mut world = broker_comes_back(ahead);
        world.run_for(1);
        world.set_clock(BROKER, 0);
        goes_on(world, 400);
    }
}

#[test]
fn broker_that_noticed_so_and_was_started_again_opens_again() {
    let mut world = broker_comes_back(YEAR_MS);
    world.set_clock(BROKER, 0);
    world.run_for(200);
    world.stop(BROKER, 1_000);
    world.run_for(200);
    // What it waited before the stop is not counted.
    assert_eq!(signed_restored(&world), []);
    goes_on(world, 120);
}

#[test]
fn restored_broker_waits_its_time_whatever_its_clock_says_for_a_moment() {
    // Ahead: it signs `restored` too early, dated so that the trust operator completes it in a day,
    // and signs anew when its wait is over. Behind: its wait is not cut short by what lies too far
    // ahead of that clock.
    for off in [DAY_MS, -DAY_MS, YEAR_MS] {
        let mut world = broker_comes_back(0);
        let noticed_ms = world.now;
        world.run_for(20);
        world.set_clock(BROKER, off);
        world.feed(0, Role::Broker, Input::Tick);
        world.set_clock(BROKER, 0);
        world.feed(0, Role::Broker, Input::Tick);
        let sealed = |w: &World| kinds(w, Role::TrustOperator).last() == Some(&Kind::Restored);
        assert!(world.run_to(400, sealed));
        let (_, dated) = signed_restored(&world).pop().expect("one");
        assert!(dated * 1000 + 1_000 > noticed_ms + 240_000, "{off}");
        assert!(dated * 1000 < world.now + 1_000, "{off}");
        goes_on(world, 30);
    }
}

#[test]
fn device_that_noticed_by_a_clock_ahead_that_it_is_a_copy_assents_again() {
    // Only a `restored` block of the next year would have ended its waiting, and every line that came
    // up and every login had the broker make another one in vain.
    for ahead in AHEAD {
        let mut world = one_login();
        world.set_back(DEVICE, u64::MAX);
        world.set_clock(DEVICE, ahead);
        let noticed = |r: &Record| matches!(r, Record::DeviceRestored { .. });
        assert!(world.run_to(60, |w| has(w, Role::Device, noticed)));
        world.run_for(1);
        world.set_clock(DEVICE, 0);
        // The first login tells it what became of its clock.
        assert!(!is_let_in(&mut world, Kind::Login));
        world.run_for(20);
        log_in(&mut world, Kind::Login);
        let restored = kinds(&world, Role::Broker);
        let restored = restored.iter().filter(|k| **k == Kind::Restored).count();
        assert!(restored <= 3, "{restored}");
        holds(world);
    }
}

#[test]
fn unfreeze_waits_its_delay_where_the_freeze_was_sealed_by_a_clock_ahead() {
    // The trust operator's clock stood a year ahead when it sealed the freeze: the unfreeze would have
    // waited a year and its delay.
    for ahead in AHEAD {
        let mut world = one_login();
        world.options.unfreeze_delay_s = 60;
        world.stop(TRUST_OPERATOR, 1_000);
        world.run_for(20);
        world.set_clock(TRUST_OPERATOR, ahead);
        world.feed(0, Role::Broker, Input::Freeze);
        world.run_for(2);
        assert_eq!(kinds(&world, Role::Broker).last(), Some(&Kind::Freeze));
        world.set_clock(TRUST_OPERATOR, 0);
        assert!(!is_let_in(&mut world, Kind::Unfreeze), "the delay is gone");
        world.run_for(61);
        assert!(is_let_in(&mut world, Kind::Unfreeze));
        holds(world);
    }
}

#[test]
fn unfreeze_delay_is_not_cut_short_by_a_clock_that_stands_behind() {
    let mut world = one_login();
    world.options.unfreeze_delay_s = 3_600;
    world.stop(TRUST_OPERATOR, 1_000);
    world.run_for(20);
    world.feed(0, Role::Broker, Input::Freeze);
    world.run_for(2);
    world.set_clock(TRUST_OPERATOR, -DAY_MS);
    assert!(!is_let_in(&mut world, Kind::Unfreeze));
    world.set_clock(TRUST_OPERATOR, 0);
    assert!(!is_let_in(&mut world, Kind::Unfreeze));
    holds(world);
}

#[test]
fn what_is_said_again_is_said_again_after_a_clock_ahead() {
    // The freeze and its answer were lost while the broker's clock stood a year ahead, and the next
    // repeat was set for then.
    for lost in [(Role::Broker, "restrict"), (Role::TrustOperator, "blocks")] {
        let mut world = one_login();
        world.set_clock(BROKER, YEAR_MS);
        world.lose = Some(lost);
        world.feed(0, Role::Broker, Input::Freeze);
        world.run_for(1);
        world.set_clock(BROKER, 0);
        goes_on(world, 60);
    }
}

#[test]
fn paces_of_a_clock_ahead_are_forgotten_in_their_time() {
    // Twenty logins that came to nothing while the broker's clock stood a year ahead: the account was
    // refused logins for that year.
    let mut world = one_login();
    world.audit.broker_crashed = true;
    world.set_clock(BROKER, YEAR_MS);
    for _ in 0..20 {
        world.begin(0, Kind::Login, 90);
        world.run_for(1);
    }
    world.set_clock(BROKER, 0);
    assert!(
        !is_let_in(&mut world, Kind::Login),
        "the pace was forgotten"
    );
    world.run_for(601);
    assert!(is_let_in(&mut world, Kind::Login));
    holds(world);
}
