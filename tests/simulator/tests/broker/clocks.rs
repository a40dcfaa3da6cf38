//! What a clock that stood ahead left behind: durable times and signatures, repeats, paces, at the bound and
//! one step past it (protocol rules 1 and 8).

use super::*;

const DAY_MS: u64 = 86_400_000;

/// A copy that opens at this time, by its own record, heads compared.
fn copy(until: Time) -> Lone {
    let mut records = journal();
    records.push(Record::BrokerRestored { until });
    let mut lone = Lone::started(records);
    lone.put(Input::LineUp(Role::Device));
    lone.meet();
    lone
}

fn tick(lone: &mut Lone, at: u64) -> Option<Kind> {
    lone.now = Time(at);
    kind(&lone.put(Input::Tick))
}

#[test]
fn a_wait_longer_than_any_honest_one_lasts_four_minutes_by_the_clock_as_it_stands() {
    let now = START_MS + 1_000_000;
    // The longest honest one is waited for.
    let mut lone = copy(Time(now + 240_000));
    assert_eq!(lone.broker.deadline(), Some(Time(now + 240_000)));
    assert_eq!(tick(&mut lone, now + 239_999), None);
    assert_eq!(tick(&mut lone, now + 240_000), Some(Kind::Restored));
    // One step longer: this clock is not believed before that lasted as long.
    let mut lone = copy(Time(now + DAY_MS));
    assert_eq!(lone.broker.deadline(), Some(Time(now + 240_000)));
    assert_eq!(tick(&mut lone, now + 239_999), None);
    assert_eq!(lone.broker.deadline(), Some(Time(now + 240_000)));
    assert_eq!(tick(&mut lone, now + 240_000), Some(Kind::Restored));
    // One that goes back meanwhile waits from there.
    let mut lone = copy(Time(now + DAY_MS));
    assert_eq!(tick(&mut lone, now - 50_000), None);
    assert_eq!(tick(&mut lone, now + 189_999), None);
    assert_eq!(tick(&mut lone, now + 190_000), Some(Kind::Restored));
    // And one that stood behind for a moment waits for what it wrote down, no less.
    let mut lone = copy(Time(now + 200_000));
    assert_eq!(tick(&mut lone, now - DAY_MS), None);
    assert_eq!(tick(&mut lone, now + 199_999), None);
    assert_eq!(lone.broker.deadline(), Some(Time(now + 200_000)));
    assert_eq!(tick(&mut lone, now + 200_000), Some(Kind::Restored));
    // One millisecond beyond the longest is waited for the longest.
    let lone = copy(Time(now + 240_001));
    assert_eq!(lone.broker.deadline(), Some(Time(now + 240_000)));
}

#[test]
fn a_restored_block_is_signed_anew_when_it_lies_ahead_for_four_minutes() {
    let signed = || {
        let mut lone = Lone::ready();
        let head = lone.head();
        let outputs = lone.says_head(Role::Device, head, true);
        let block = restrict(&outputs).expect("a restored block");
        // The start of a second: `iat` is exactly then.
        (lone, block.clone(), block.claims().iat * 1000)
    };
    let again = |lone: &mut Lone, at: u64| {
        lone.now = Time(at);
        lone.put(Input::LineUp(Role::TrustOperator));
        let head = lone.head();
        restrict(&lone.says_head(Role::TrustOperator, head, false)).expect("it is said again")
    };
    // Thirty seconds ahead: the trust operator may complete it, so it stays for ever.
    let (mut lone, block, iat) = signed();
    assert_eq!(again(&mut lone, iat - 30_000), block);
    assert_eq!(again(&mut lone, iat + 240_000), block);
    // One millisecond further: four minutes later, if that clock still says so, another one.
    let (mut lone, block, iat) = signed();
    let from = iat - DAY_MS;
    for at in [from, from + 239_999] {
        assert_eq!(again(&mut lone, at), block);
    }
    let other = again(&mut lone, from + 240_000);
    let c = other.claims();
    assert_eq!((c.kind, c.height), (Kind::Restored, 1));
    assert_eq!(c.iat, (from + 240_000) / 1000);
    let locks = lone.records.iter();
    let locks = locks.filter(|r| matches!(r, Record::RestrictLock(_)));
    assert_eq!(locks.count(), 2);
    // It is durable, and the only one from then on.
    lone.restart();
    lone.put(Input::LineUp(Role::Device));
    assert_eq!(restrict(&lone.meet()), Some(other.clone()));
    assert_eq!(again(&mut lone, from + 500_000), other);
    // Exactly at the bound.
    let (mut lone, block, iat) = signed();
    let from = iat - 30_001;
    assert_eq!(again(&mut lone, from), block);
    lone.now = Time(from);
    assert_eq!(again(&mut lone, from + 1), block, "it lies in time again");
    assert_eq!(again(&mut lone, from + 240_001), block);
}

#[test]
fn no_other_restrict_block_is_signed_anew() {
    let mut lone = Lone::ready();
    lone.wait_ms(DAY_MS);
    let freeze = restrict(&lone.put(Input::Freeze)).expect("a freeze");
    lone.now = Time(lone.now.0 - DAY_MS);
    for _ in 0..3 {
        lone.put(Input::LineUp(Role::TrustOperator));
        let head = lone.head();
        let outputs = lone.says_head(Role::TrustOperator, head, false);
        assert_eq!(restrict(&outputs), Some(freeze.clone()));
        lone.wait_ms(200_000);
    }
}

#[test]
fn repeats_are_no_further_off_than_the_longest_pause() {
    let mut lone = Lone::ready();
    let now = lone.now.0;
    lone.wait_ms(DAY_MS);
    lone.put(Input::Freeze);
    assert_eq!(lone.broker.deadline(), Some(Time(now + DAY_MS + 1_000)));
    // The trust operator may have asked for thirty seconds.
    lone.now = Time(now);
    lone.put(Input::LineDown(Role::Device));
    assert_eq!(lone.broker.deadline(), Some(Time(now + 30_000)));
    lone.now = Time(now + 1);
    lone.put(Input::LineDown(Role::Device));
    assert_eq!(lone.broker.deadline(), Some(Time(now + 30_000)));

    let mut records = journal();
    records.truncate(1);
    let mut lone = Lone::started(records);
    let due = standing()[0].founding.deadline.0;
    lone.put(Input::LineUp(Role::TrustOperator));
    lone.hear(Role::TrustOperator, quiet());
    lone.now = Time(due + DAY_MS);
    assert_eq!(sent(&lone.put(Input::Tick), Role::TrustOperator).len(), 1);
    assert_eq!(lone.broker.deadline(), Some(Time(due + DAY_MS + 16_000)));
    lone.now = Time(due);
    lone.put(Input::LineDown(Role::Device));
    assert_eq!(lone.broker.deadline(), Some(Time(due + 16_000)));
    lone.now = Time(due + 1);
    lone.put(Input::LineDown(Role::Device));
    assert_eq!(lone.broker.deadline(), Some(Time(due + 16_000)));
}

#[test]
fn paces_of_a_clock_ahead_count_from_when_it_is_right_again() {
    // Of proposals.
    let mut lone = Lone::ready();
    let now = lone.now.0;
    lone.wait_ms(DAY_MS);
    for _ in 0..20 {
        let (login, ..) = lone.open(Kind::Login);
        cancel(&mut lone, login);
    }
    let is_paced = |lone: &mut Lone, at: u64| {
        lone.now = Time(at);
        let (login, outputs) = lone.begin(Kind::Login);
        let paced = is_told(&outputs, |e| {
            matches!(
                e,
                Event::NotBegun {
                    refusal: Refusal::Pace { .. },
                    ..
                }
            )
        });
        if !paced {
            cancel(lone, login);
        }
        paced
    };
    assert!(is_paced(&mut lone, now));
    assert!(is_paced(&mut lone, now + 600_000));
    assert!(!is_paced(&mut lone, now + 600_001));
    // Of what the device asks for: a freeze of the customer's waited for a year.
    let mut lone = Lone::ready();
    let now = lone.now.0;
    lone.wait_ms(DAY_MS);
    for number in 0..30 {
        let denied = lone.block(Kind::Login, number);
        let word = lone.word(Verb::Deny, Some(&denied));
        let outputs = lone.hear(Role::Device, word);
        lone.seal(&outputs);
    }
    lone.now = Time(now);
    let word = lone.word(Verb::Freeze, None);
    assert_eq!(kind(&lone.hear(Role::Device, word)), None);
    assert_eq!(lone.broker.deadline(), Some(Time(now + 600_001)));
    assert_eq!(tick(&mut lone, now + 600_000), None);
    assert_eq!(tick(&mut lone, now + 600_001), Some(Kind::Freeze));
}

#[test]
fn a_revoked_account_is_frozen_by_nobody() {
    let mut lone = Lone::ready();
    let revoke = lone.next(Kind::Revoke, 1);
    lone.blocks(Role::TrustOperator, vec![revoke]);
    let outputs = lone.put(Input::Freeze);
    let refusal = Refusal::StatusForbids {
        found: Status::Revoked,
        kind: "freeze".into(),
    };
    let from = Role::Broker;
    let rejected = Event::Rejected { from, refusal };
    assert!(events(&outputs).contains(&rejected));
    let wanted = |r: &Record| matches!(r, Record::FreezeWanted { .. });
    assert!(!stored(&outputs).iter().any(wanted));
    assert!(!lone.broker.is_freeze_pending());
}

#[test]
fn a_denial_beyond_two_ends_its_proposal_and_is_not_kept() {
    let mut lone = Lone::ready();
    let (login, _, open) = lone.open(Kind::Login);
    let denials: Vec<Block> = (50..52).map(|n| lone.block(Kind::Login, n)).collect();
    lone.put(Input::LineDown(Role::TrustOperator));
    for denied in &denials {
        let word = lone.word(Verb::Deny, Some(denied));
        let outputs = lone.hear(Role::Device, word);
        assert_eq!(stored(&outputs).len(), 1);
    }
    let word = lone.word(Verb::Deny, Some(&open));
    let outputs = lone.hear(Role::Device, word.clone());
    assert_eq!(stored(&outputs), []);
    let denied = refusal(Role::Device, Reason::Denied);
    assert_eq!(ends(&outputs), [(login, denied)]);
    assert!(is_told(&outputs, |e| matches!(e, Event::Rejected { .. })));
    assert!(is_rejected(&lone.hear(Role::Device, word)), "once");
    // One `deny` answers what stands.
    lone.now = Time(lone.now.0 + 1);
    let outputs = lone.meet();
    assert_eq!(kind(&outputs), Some(Kind::Deny));
    lone.seal(&outputs);
    assert!(lone.broker.has_no_duty());
}
