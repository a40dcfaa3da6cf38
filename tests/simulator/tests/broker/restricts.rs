//! What a broker signs by itself, and when it says what again (protocol rules 4, 7 and 10).

use super::*;

#[test]
fn a_denied_lock_ends_at_once_and_its_block_says_who_denied_it() {
    let mut lone = Lone::ready();
    let (_, block, ..) = lone.lock(Kind::Login);
    let deny = lone.word(Verb::Deny, Some(&block));
    let outputs = lone.hear(Role::Device, deny);
    assert_eq!(ended(&outputs), [refusal(Role::Device, Reason::Denied)]);
    // The device knows of its lock: what releases it is the block.
    assert!(names(&outputs, Role::Device).is_empty());
    assert_eq!(names(&outputs, Role::TrustOperator), ["word", "restrict"]);
    let sends = sent(&outputs, Role::TrustOperator);
    let Agree::Restrict {
        block: deny,
        superseded,
        word: Some(word),
        proposal,
        ..
    } = &sends[1]
    else {
        panic!("no word beside the block: {sends:?}");
    };
    assert_eq!((word.verb, word.hash), (Verb::Deny, block.hash()));
    assert_eq!(deny.claims().supersedes, Some(block.hash()));
    assert_eq!(superseded.as_ref(), Some(&block));
    assert_eq!(proposal.as_ref(), Some(&block));
    assert!(ended(&lone.seal(&outputs)).is_empty(), "told once");
}

#[test]
fn a_denial_without_the_trust_operator_ends_the_login_all_the_same() {
    let mut lone = Lone::ready();
    let (_, _, block) = lone.open(Kind::Login);
    lone.put(Input::LineDown(Role::TrustOperator));
    // A word about another block is not about this one.
    let other = lone.block(Kind::Login, 5);
    let deny = lone.word(Verb::Deny, Some(&other));
    assert!(ended(&lone.hear(Role::Device, deny)).is_empty());
    let deny = lone.word(Verb::Deny, Some(&block));
    let outputs = lone.hear(Role::Device, deny);
    assert_eq!(ended(&outputs), [refusal(Role::Device, Reason::Denied)]);
    assert_eq!(names(&outputs, Role::Device), ["refused"]);
    assert!(restrict(&outputs).is_none());
}

#[test]
fn a_freeze_ends_the_login_for_whoever_asked() {
    let mut lone = Lone::ready();
    lone.open(Kind::Login);
    let word = lone.word(Verb::Freeze, None);
    let outputs = lone.hear(Role::Device, word);
    assert_eq!(
        ended(&outputs),
        [refusal(Role::Device, Reason::FreezeWanted)]
    );
    let sends = sent(&outputs, Role::TrustOperator);
    let is_reason = |agree: &Agree| matches!(agree, Agree::Restrict { word: Some(w), .. } if w.verb == Verb::Freeze);
    assert!(sends.iter().any(is_reason), "the block says who asked");
    let mut lone = Lone::ready();
    lone.open(Kind::Login);
    let outputs = lone.put(Input::Freeze);
    assert_eq!(
        ended(&outputs),
        [refusal(Role::Broker, Reason::FreezeWanted)]
    );
    assert_eq!(kind(&outputs), Some(Kind::Freeze));
    // Over a lock.
    let mut lone = Lone::ready();
    let (_, block, ..) = lone.lock(Kind::Login);
    let outputs = lone.put(Input::Freeze);
    assert_eq!(
        ended(&outputs),
        [refusal(Role::Broker, Reason::FreezeWanted)]
    );
    let freeze = restrict(&outputs).expect("a freeze");
    assert_eq!(freeze.claims().supersedes, Some(block.hash()));
    let sealed = lone.seal(&outputs);
    assert!(ended(&sealed).is_empty(), "told once");
    assert_eq!(stored(&sealed).last(), Some(&Record::Settled));
}

#[test]
fn a_freeze_that_is_signed_answers_the_next_wish_too() {
    let mut lone = Lone::ready();
    let outputs = lone.put(Input::Freeze);
    assert_eq!(stored(&outputs).len(), 2);
    assert!(lone.put(Input::Freeze).is_empty(), "one stands already");
    let sealed = lone.seal(&outputs);
    assert!(!lone.broker.is_freeze_pending());
    assert_eq!(kind(&sealed), None);
    // After it, it is another wish.
    assert_eq!(kind(&lone.put(Input::Freeze)), Some(Kind::Freeze));
}

#[test]
fn a_freeze_that_came_before_heads_were_compared_answers_no_later_wish() {
    // A copy that signed a freeze: that one may have been sealed, and lifted, since.
    let mut lone = Lone::ready();
    let first = lone.put(Input::Freeze);
    lone.put(Input::LineDown(Role::TrustOperator));
    let outputs = lone.put(Input::Freeze);
    assert_eq!(stored(&outputs), [Record::FreezeWanted { above: 1 }]);
    lone.meet();
    let outputs = lone.seal(&first);
    assert_eq!(kind(&outputs), Some(Kind::Freeze));
    assert!(lone.broker.is_freeze_pending());
    lone.seal(&outputs);
    assert!(!lone.broker.is_freeze_pending());
}

#[test]
fn an_expire_waits_for_the_grace_to_the_millisecond() {
    let mut lone = Lone::ready();
    let (_, block, ..) = lone.lock(Kind::Login);
    let dead = Time(Time::from_seconds(block.claims().exp + 30).0 + 1);
    lone.now = Time(dead.0 - 1);
    assert_eq!(restrict(&lone.put(Input::Tick)), None);
    lone.now = dead;
    let outputs = lone.put(Input::Tick);
    assert_eq!(ended(&outputs), [Outcome::Expired]);
    let expire = restrict(&outputs).expect("an expire");
    assert_eq!(expire.claims().kind, Kind::Expire);
    assert_eq!(expire.claims().supersedes, Some(block.hash()));
    // The trust operator may be behind: it says for how long.
    let wait = |wait_s: u64| Agree::NotYet {
        hash: OTHER,
        wait_s,
    };
    for (says_s, waits_s) in [(0, 1), (1, 1), (30, 30), (31, 30), (u64::MAX, 30)] {
        lone.hear(Role::TrustOperator, wait(says_s));
        let until = Time(lone.now.0 + waits_s * 1000);
        assert_eq!(lone.broker.deadline(), Some(until), "{says_s} s");
        lone.now = Time(until.0 - 1);
        assert!(lone.put(Input::Tick).is_empty());
        lone.now = until;
        let again = lone.put(Input::Tick);
        assert_eq!(restrict(&again), Some(expire.clone()), "the same bytes");
    }
}

#[test]
fn what_is_unanswered_is_said_again_ever_more_slowly() {
    let mut lone = Lone::ready();
    let outputs = lone.put(Input::Freeze);
    let signed = restrict(&outputs);
    let mut pauses = vec![];
    for _ in 0..7 {
        let due = lone.broker.deadline().expect("a repeat");
        pauses.push(due.0 - lone.now.0);
        lone.now = Time(due.0 - 1);
        assert!(lone.put(Input::Tick).is_empty());
        lone.now = due;
        assert_eq!(restrict(&lone.put(Input::Tick)), signed);
    }
    let expected = [1_000, 2_000, 4_000, 8_000, 16_000, 16_000, 16_000];
    assert_eq!(pauses, expected);
    // A new session begins anew, with heads.
    let outputs = lone.put(Input::LineUp(Role::TrustOperator));
    assert_eq!(names(&outputs, Role::TrustOperator), ["head"]);
    assert_eq!(lone.broker.deadline(), Some(Time(lone.now.0 + 1_000)));
    lone.wait_ms(1_000);
    let outputs = lone.put(Input::Tick);
    assert_eq!(names(&outputs, Role::TrustOperator), ["head"]);
    let head = lone.head();
    let outputs = lone.says_head(Role::TrustOperator, head, false);
    assert_eq!(restrict(&outputs), signed);
    // Without the line nothing is said, and no deadline is left in the past.
    lone.put(Input::LineDown(Role::TrustOperator));
    lone.wait_ms(100_000);
    assert!(lone.put(Input::Tick).is_empty());
    assert_eq!(lone.broker.deadline(), None);
}

#[test]
fn a_login_s_steps_are_said_again_to_whom_they_concern() {
    let mut lone = Lone::ready();
    let (_, number, block) = lone.open(Kind::Login);
    let tick = |lone: &mut Lone| {
        lone.now = lone.broker.deadline().expect("a repeat");
        lone.put(Input::Tick)
    };
    let outputs = tick(&mut lone);
    assert_eq!(names(&outputs, Role::TrustOperator), ["prepare"]);
    let (_, propose) = lone.propose(&block);
    let outputs = tick(&mut lone);
    assert_eq!(sent(&outputs, Role::Device), std::slice::from_ref(&propose));
    assert!(names(&outputs, Role::TrustOperator).is_empty());
    let hash = block.hash();
    lone.hear(Role::Device, Agree::Number { hash, number });
    let assent = lone.assent(&propose, false);
    let endorse = sent(&lone.hear(Role::Device, assent), Role::TrustOperator);
    let outputs = tick(&mut lone);
    assert_eq!(sent(&outputs, Role::TrustOperator), endorse);
    // A word against it stands: it is asked for no more.
    lone.put(Input::LineDown(Role::TrustOperator));
    let word = lone.word(Verb::Deny, Some(&block));
    lone.hear(Role::Device, word);
    let outputs = lone.meet();
    assert_eq!(names(&outputs, Role::TrustOperator), ["word", "restrict"]);
}

#[test]
fn a_lock_is_prepared_again_until_its_end_and_not_at_it() {
    let mut lone = Lone::ready();
    let (_, block, ..) = lone.lock(Kind::Login);
    let exp = Time::from_seconds(block.claims().exp);
    for (now, expected) in [(Time(exp.0 - 1), vec!["prepare"]), (exp, vec![])] {
        lone.restart();
        lone.now = now;
        let outputs = lone.meet();
        assert_eq!(names(&outputs, Role::TrustOperator), expected);
    }
    // It is left alone until the grace is over.
    assert_eq!(
        lone.broker.deadline(),
        Some(Time(Time::from_seconds(block.claims().exp + 30).0 + 1))
    );
}

/// Restrict blocks that a device alone causes, as many as are heard in ten minutes; when the first was.
fn asks_thirty_times(lone: &mut Lone) -> Time {
    let first = lone.now;
    for _ in 0..30 {
        let head = lone.head();
        let outputs = lone.says_head(Role::Device, head, true);
        lone.seal(&outputs);
        lone.wait_ms(1);
    }
    first
}

#[test]
fn a_device_that_asks_too_much_is_heard_when_its_time_comes() {
    let ask: [fn(&mut Lone) -> Vec<Output>; 4] = [
        |lone| {
            let word = lone.word(Verb::Freeze, None);
            lone.hear(Role::Device, word)
        },
        |lone| {
            let block = lone.block(Kind::Login, 4);
            let word = lone.word(Verb::Deny, Some(&block));
            lone.hear(Role::Device, word)
        },
        |lone| {
            let block = lone.block(Kind::Login, 4);
            lone.hear(Role::Device, Agree::Locked { block })
        },
        |lone| {
            let head = lone.head();
            lone.says_head(Role::Device, head, true)
        },
    ];
    let expected = [Kind::Freeze, Kind::Deny, Kind::Expire, Kind::Restored];
    for (ask, expected) in ask.into_iter().zip(expected) {
        let mut lone = Lone::ready();
        let first = asks_thirty_times(&mut lone);
        assert_eq!(lone.broker.deadline(), None, "it asks for nothing");
        assert_eq!(kind(&ask(&mut lone)), None);
        let due = Time(first.0 + 600_001);
        assert_eq!(lone.broker.deadline(), Some(due));
        // Where nothing could be signed there is nothing to wait for.
        lone.put(Input::LineDown(Role::TrustOperator));
        assert_eq!(lone.broker.deadline(), None);
        lone.meet();
        lone.now = Time(due.0 - 1);
        assert_eq!(kind(&lone.put(Input::Tick)), None);
        lone.now = due;
        let outputs = lone.put(Input::Tick);
        assert_eq!(kind(&outputs), Some(expected));
        assert_eq!(lone.broker.deadline(), Some(Time(due.0 + 1_000)));
    }
    // The desk is heard at any time.
    let mut lone = Lone::ready();
    asks_thirty_times(&mut lone);
    assert_eq!(kind(&lone.put(Input::Freeze)), Some(Kind::Freeze));
}

#[test]
fn a_freeze_that_another_block_displaced_stays_wanted() {
    // Of the device's wish too, of which its word is gone with any freeze above it.
    for (kind, is_wanted) in [
        (Kind::Refuse, true),
        (Kind::Freeze, true),
        (Kind::Revoke, false),
    ] {
        let mut lone = Lone::ready();
        let word = lone.word(Verb::Freeze, None);
        let signed = lone.hear(Role::Device, word);
        assert_eq!(self::kind(&signed), Some(Kind::Freeze));
        let other = lone.next(kind, 9);
        lone.blocks(Role::TrustOperator, vec![other]);
        assert_eq!(lone.broker.is_freeze_pending(), is_wanted, "{kind}");
    }
}
