//! What a party wrote down by a clock that stood ahead, at the bound and one step past it (protocol rules 4
//! and 8); and what one account's restrict blocks and nonces may cost a trust operator (rules 2 and 7).

use warifu_consensus::agree::{Device, Event, Input, Output, Record, Refusal, TrustOperator};
use warifu_consensus::block::{Claims, Kind};
use warifu_consensus::chain::Status;
use warifu_consensus::encoding::text_b64;
use warifu_consensus::party::Role;
use warifu_consensus::share::{Commitment, SignatureShare};
use warifu_consensus::signature::IdentityKey;
use warifu_consensus::time::Time;
use warifu_consensus::vote::Verb;
use warifu_consensus::wire::{Agree, Reason, SignedShare};

use crate::machines::{
    Bench, Chain, DELAY_S, NOW, before, chain, compared, device, events, later, refused, said,
    stored, trust_operator,
};

const BROKER: Role = Role::Broker;
const DEVICE: Role = Role::Device;

/// A copy of a device that noticed so many milliseconds from now what it is.
fn copy(chain: &Chain, ahead_ms: u64) -> Bench<Device> {
    let mut records = chain.records();
    let at = later(NOW, ahead_ms);
    records.push(Record::DeviceRestored { at });
    device(records)
}

#[test]
fn a_copy_that_noticed_ahead_of_its_clock_has_noticed_now_after_thirty_seconds() {
    let chain = chain(&[Kind::Login]);
    let tick = |bench: &mut Bench<Device>, ms: u64| bench.handle(later(NOW, ms), Input::Tick);
    // As far as two clocks may differ, nothing is wrong.
    let mut bench = copy(&chain, 30_000);
    assert_eq!(tick(&mut bench, 0), []);
    assert_eq!(bench.machine.deadline(), None);
    // One step further it waits whether that lasts, then takes this moment for that one, and says again
    // that it is a copy.
    let mut bench = copy(&chain, 30_001 + 40_000);
    assert_eq!(tick(&mut bench, 0), []);
    assert_eq!(bench.machine.deadline(), Some(later(NOW, 30_000)));
    assert_eq!(tick(&mut bench, 29_999), []);
    let outputs = tick(&mut bench, 30_000);
    let at = later(NOW, 30_000);
    assert_eq!(stored(&outputs), [Record::DeviceRestored { at }]);
    assert_eq!(bench.machine.deadline(), None, "no caller spins");
    let notice = said(&outputs, BROKER);
    assert!(matches!(
        notice[..],
        [Agree::HeadIs {
            notice: true,
            ask: true,
            ..
        }]
    ));
    assert_eq!(tick(&mut bench, 60_000), [], "once");
    assert_eq!(bench.machine.deadline(), None);
    // A clock that stands behind for a moment changes nothing.
    let mut bench = copy(&chain, 0);
    assert_eq!(bench.handle(before(NOW, 90_000), Input::Tick), []);
    assert_eq!(tick(&mut bench, 0), []);
    assert_eq!(bench.machine.deadline(), None);
}

#[test]
fn repeats_that_were_put_off_by_a_clock_ahead_come_in_their_time() {
    let chain = chain(&[Kind::Login]);
    let day = later(NOW, 86_400_000);
    let mut bench = device(chain.records());
    bench.handle(day, Input::FreezeByCustomer);
    assert_eq!(bench.machine.deadline(), Some(later(day, 5_000)));
    bench.handle(NOW, Input::LineUp(BROKER));
    assert_eq!(bench.machine.deadline(), Some(later(NOW, 5_000)));
    // What is earlier stands.
    bench.handle(later(NOW, 1), Input::LineUp(BROKER));
    assert_eq!(bench.machine.deadline(), Some(later(NOW, 5_000)));

    let mut bench = compared(&chain, chain.records());
    bench.hear(day, DEVICE, chain.freeze(1));
    assert_eq!(bench.machine.deadline(), Some(later(day, 5_000)));
    bench.hear(NOW, DEVICE, chain.freeze(1));
    assert_eq!(bench.machine.deadline(), Some(later(NOW, 5_000)));
    bench.hear(later(NOW, 1), DEVICE, chain.freeze(1));
    assert_eq!(bench.machine.deadline(), Some(later(NOW, 5_000)));
}

fn unfreeze(chain: &Chain, now: Time) -> Agree {
    let claims = Claims {
        iat: now.seconds(),
        exp: now.seconds() + 90,
        ..chain.house.next_claims(&chain.account, Kind::Unfreeze)
    };
    let block = chain.house.block(claims);
    Agree::Prepare { block }
}

/// A trust operator that sealed a freeze so many seconds from now, by its own record.
fn frozen(chain: &Chain, ahead_s: u64) -> Bench<TrustOperator> {
    let mut records = chain.records();
    let at = later(NOW, ahead_s * 1000);
    records.insert(records.len() - 1, Record::FrozenAt { at });
    compared(chain, records)
}

#[test]
fn a_freeze_that_was_sealed_ahead_of_the_clock_was_sealed_now() {
    let chain = chain(&[Kind::Freeze]);
    let wait = |outputs: &[Output]| match refused(outputs) {
        Some(Reason::UnfreezeDelay { wait_s }) => Some(wait_s),
        _ => None,
    };
    let mut bench = frozen(&chain, 30);
    let outputs = bench.hear(NOW, BROKER, unfreeze(&chain, NOW));
    assert_eq!(wait(&outputs), Some(DELAY_S + 30));
    assert_eq!(stored(&outputs), []);
    let mut bench = frozen(&chain, 31);
    // Nobody asks for an unfreeze by the same clock: it may be this one that is wrong.
    for agree in [
        unfreeze(&chain, later(NOW, 40_000)),
        unfreeze(&chain, before(NOW, 90_000)),
        Agree::Prepare {
            block: chain.proposal(Kind::Login, 1),
        },
    ] {
        let outputs = bench.hear(NOW, BROKER, agree);
        assert_eq!((stored(&outputs), wait(&outputs)), (vec![], None));
    }
    let outputs = bench.hear(NOW, BROKER, unfreeze(&chain, NOW));
    assert_eq!(stored(&outputs), [Record::FrozenAt { at: NOW }]);
    assert_eq!(wait(&outputs), Some(DELAY_S));
    let outputs = bench.hear(NOW, BROKER, unfreeze(&chain, NOW));
    assert_eq!(stored(&outputs), [], "once");
}

/// The broker's next restrict block of this kind, another one for each number.
fn restrict(chain: &Chain, kind: Kind, number: u16) -> Agree {
    let mut nonce = [0; 16];
    nonce[..2].copy_from_slice(&number.to_le_bytes());
    let claims = Claims {
        nonce: text_b64(&nonce),
        ..chain.house.next_claims(&chain.account, kind)
    };
    let block = chain.house.block(claims);
    let signature = chain.house.broker.sign(block.input().as_bytes()).into();
    Agree::Restrict {
        block,
        signature,
        superseded: None,
        word: None,
        proposal: None,
    }
}

fn is_sealed(chain: &mut Chain, outputs: &[Output]) -> bool {
    let sealed = stored(outputs).into_iter().find_map(|record| match record {
        Record::Sealed(sealed) => Some(*sealed),
        _ => None,
    });
    if let Some(sealed) = &sealed {
        chain.account.next(sealed).unwrap();
        chain.blocks.push(sealed.clone());
    }
    sealed.is_some()
}

#[test]
fn restrict_blocks_of_a_minute_are_counted_and_a_freeze_never_waits() {
    let mut chain = chain(&[Kind::Login]);
    let mut bench = compared(&chain, chain.records());
    for number in 0..240 {
        let now = later(NOW, u64::from(number));
        let outputs = bench.hear(now, BROKER, restrict(&chain, Kind::Expire, number));
        assert!(is_sealed(&mut chain, &outputs), "block {number}");
        assert!(!bench.machine.is_idle(now));
    }
    let wait = |outputs: &[Output]| match said(outputs, BROKER)[..] {
        [Agree::NotYet { wait_s, .. }] => Some(wait_s),
        _ => None,
    };
    let kinds = [Kind::Expire, Kind::Refuse, Kind::Restored, Kind::Revoke];
    for (ms, expected) in [(239, 60), (1_000, 60), (1_001, 59), (60_000, 1)] {
        for kind in kinds {
            let outputs = bench.hear(later(NOW, ms), BROKER, restrict(&chain, kind, 300));
            assert_eq!(wait(&outputs), Some(expected), "{kind} after {ms} ms");
            assert_eq!(stored(&outputs), []);
        }
    }
    // What takes something away is sealed at once; a second one takes nothing.
    let now = later(NOW, 60_000);
    let outputs = bench.hear(now, BROKER, restrict(&chain, Kind::Freeze, 301));
    assert!(is_sealed(&mut chain, &outputs));
    let outputs = bench.hear(now, BROKER, restrict(&chain, Kind::Freeze, 302));
    assert_eq!(wait(&outputs), Some(1));
    // The freeze counted too: two of the oldest have to leave the window.
    let outputs = bench.hear(later(now, 1), BROKER, restrict(&chain, Kind::Freeze, 303));
    assert_eq!(wait(&outputs), Some(1));
    let outputs = bench.hear(later(now, 2), BROKER, restrict(&chain, Kind::Freeze, 304));
    assert!(is_sealed(&mut chain, &outputs));
    // What a clock ahead counted does not outlast its window either.
    let day = later(now, 86_400_000);
    for number in 0..240 {
        let outputs = bench.hear(day, BROKER, restrict(&chain, Kind::Expire, 400 + number));
        assert!(is_sealed(&mut chain, &outputs));
    }
    let outputs = bench.hear(later(now, 3), BROKER, restrict(&chain, Kind::Expire, 700));
    assert_eq!(wait(&outputs), Some(61));
    let outputs = bench.hear(
        later(now, 60_004),
        BROKER,
        restrict(&chain, Kind::Expire, 701),
    );
    assert!(is_sealed(&mut chain, &outputs));
    assert!(bench.machine.is_idle(later(now, 130_000)));
}

#[test]
fn nonces_that_an_endorsement_asks_for_are_counted_with_the_others() {
    let chain = chain(&[]);
    let mut bench = compared(&chain, chain.records());
    let point = |n| IdentityKey::from_seed([n; 32]).public();
    let commitment = Commitment::decode(&[point(1), point(2)].concat()).unwrap();
    let mut one = [0; 32];
    one[0] = 1;
    let endorse = |number: u8| {
        let block = chain.proposal(Kind::Login, number);
        let share = || SignedShare {
            vote: chain.house.vote(Verb::Share, DEVICE, block.hash()),
            share: SignatureShare::decode(&one).unwrap(),
        };
        Agree::Endorse {
            commitments: [commitment, commitment],
            own: (&commitment).into(),
            shares: [share(), share()],
            assent: chain.house.vote(Verb::Assent, DEVICE, block.hash()),
            endorse: chain.house.vote(Verb::Endorse, BROKER, block.hash()),
            block,
        }
    };
    let is_paced = |outputs: &[Output]| matches!(refused(outputs), Some(Reason::Pace { .. }));
    for number in 0..120 {
        let outputs = bench.hear(NOW, BROKER, endorse(number));
        assert!(
            refused(&outputs).is_some() && !is_paced(&outputs),
            "{number}"
        );
    }
    let prepare = Agree::Prepare {
        block: chain.proposal(Kind::Login, 121),
    };
    for agree in [endorse(120), prepare] {
        assert!(is_paced(&bench.hear(NOW, BROKER, agree)));
    }
    assert!(!is_paced(&bench.hear(
        later(NOW, 60_001),
        BROKER,
        endorse(120)
    )));
}

#[test]
fn a_revoked_account_is_frozen_by_nobody() {
    let mut chain = chain(&[]);
    chain.grow(Kind::Revoke);
    let mut bench = device(chain.records());
    let outputs = bench.handle(NOW, Input::FreezeByCustomer);
    let refusal = Refusal::StatusForbids {
        found: Status::Revoked,
        kind: "freeze".into(),
    };
    let from = DEVICE;
    assert_eq!(events(&outputs), [Event::Rejected { from, refusal }]);
    assert_eq!(outputs.len(), 1);
    // Nothing is told for ever.
    assert!(!bench.machine.needs_trust_operator(later(NOW, 1_000_000)));
    assert!(trust_operator(chain.records()).machine.has_no_duty());
}
