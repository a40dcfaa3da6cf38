//! Heads, words and blocks that come in: what a broker catches up with (protocol rules 3, 8, 9, 10).

use super::*;

fn is_compared(event: &Event) -> bool {
    matches!(event, Event::Compared { .. })
}

#[test]
fn a_word_goes_on_to_the_trust_operator_once_and_an_answered_one_is_shown_its_block() {
    let mut lone = Lone::ready();
    let word = lone.word(Verb::Freeze, None);
    // From the trust operator it is not sent back.
    let outputs = lone.hear(Role::TrustOperator, word.clone());
    assert_eq!(names(&outputs, Role::TrustOperator), ["restrict"]);
    let sealed = lone.seal(&outputs);
    assert_eq!(shown(&sealed, Role::Device), None);
    let outputs = lone.hear(Role::TrustOperator, word.clone());
    assert!(outputs.is_empty(), "{outputs:?}");
    let outputs = lone.hear(Role::Device, word);
    assert_eq!(names(&outputs, Role::Device), ["head"]);
    assert_eq!(shown(&outputs, Role::Device), Some((0, 1)));
    // From the device it goes on, with what stands before a session said again in it.
    let mut lone = Lone::ready();
    lone.put(Input::LineUp(Role::TrustOperator));
    let word = lone.word(Verb::Freeze, None);
    let outputs = lone.hear(Role::Device, word.clone());
    assert_eq!(names(&outputs, Role::TrustOperator), ["word"]);
    assert!(lone.hear(Role::Device, word).is_empty());
    let head = lone.head();
    let outputs = lone.says_head(Role::TrustOperator, head, false);
    assert_eq!(names(&outputs, Role::TrustOperator), ["word", "restrict"]);
    assert!(is_told(&outputs, is_compared));
    // In one session once.
    let outputs = lone.says_head(Role::TrustOperator, head, false);
    assert!(outputs.is_empty(), "{outputs:?}");
}

#[test]
fn a_head_ahead_is_caught_up_with_and_one_behind_is_shown_the_rest() {
    let mut lone = Lone::ready();
    let freeze = lone.put(Input::Freeze);
    lone.seal(&freeze);
    assert_eq!(lone.head().height, 1);
    let ahead = Head {
        height: 5,
        hash: OTHER,
    };
    let genesis = standing()[0].journals[1].iter().find_map(|r| match r {
        Record::Sealed(s) => Some(s.block.hash()),
        _ => None,
    });
    let behind = Head {
        height: 0,
        hash: genesis.expect("a genesis"),
    };
    for from in [Role::TrustOperator, Role::Device] {
        lone.put(Input::LineUp(Role::TrustOperator));
        let outputs = lone.says_head(from, ahead, false);
        assert_eq!(sent(&outputs, from), [Agree::BlocksFrom { height: 2 }]);
        assert!(!lone.broker.has_compared());
        let outputs = lone.says_head(from, behind, false);
        assert_eq!(shown(&outputs, from), Some((1, 1)));
        assert!(!lone.broker.has_compared());
        let head = lone.head();
        let outputs = lone.says_head(from, head, false);
        assert_eq!(shown(&outputs, from), None);
        assert_eq!(lone.broker.has_compared(), from == Role::TrustOperator);
    }
    // Whoever asks is answered.
    lone.meet();
    let head = Some(lone.head());
    let ask = |ask: bool| Agree::HeadIs {
        head: None,
        vote: None,
        ask,
        notice: false,
    };
    for from in [Role::TrustOperator, Role::Device] {
        let outputs = lone.hear(from, ask(true));
        let [Agree::HeadIs { head: of, ask, .. }] = sent(&outputs, from)[..] else {
            panic!("no head: {outputs:?}");
        };
        assert_eq!((of, ask), (head, false));
        assert_eq!(shown(&outputs, from), Some((0, 1)));
        let outputs = lone.hear(from, quiet());
        assert!(sent(&outputs, from).is_empty());
    }
    // From a height on, and nothing past the head.
    for (from, expected) in [(0, Some((0, 1))), (1, Some((1, 1))), (2, None)] {
        let outputs = lone.hear(Role::Device, Agree::BlocksFrom { height: from });
        assert_eq!(shown(&outputs, Role::Device), expected);
    }
}

#[test]
fn a_head_without_its_vote_moves_nothing() {
    let mut lone = Lone::started(journal());
    lone.put(Input::LineUp(Role::TrustOperator));
    let agree = Agree::HeadIs {
        head: Some(lone.head()),
        vote: None,
        ask: true,
        notice: false,
    };
    assert!(is_rejected(&lone.hear(Role::TrustOperator, agree)));
    assert!(!lone.broker.has_compared());
}

#[test]
fn blocks_that_a_broker_catches_up_with_make_it_ask_for_the_head_again() {
    let mut lone = Lone::ready();
    lone.put(Input::LineUp(Role::TrustOperator));
    let freeze = lone.next(Kind::Freeze, 1);
    let outputs = lone.blocks(Role::TrustOperator, vec![freeze.clone()]);
    assert_eq!(names(&outputs, Role::TrustOperator), ["ack", "head"]);
    // Known already: its head is acknowledged, nothing more.
    let outputs = lone.blocks(Role::TrustOperator, vec![freeze.clone()]);
    assert_eq!(names(&outputs, Role::TrustOperator), ["ack"]);
    assert!(stored(&outputs).is_empty());
    // The device's news are news too. In a session with compared heads there is none to ask for.
    let next = lone.next(Kind::Refuse, 2);
    let outputs = lone.blocks(Role::Device, vec![next]);
    assert_eq!(names(&outputs, Role::TrustOperator), ["ack", "head"]);
    let head = lone.head();
    lone.says_head(Role::TrustOperator, head, false);
    let next = lone.next(Kind::Refuse, 3);
    let outputs = lone.blocks(Role::TrustOperator, vec![next]);
    assert_eq!(names(&outputs, Role::TrustOperator), ["ack"]);
    // One that leaves a gap is asked for from where this chain ends.
    let gap = Head {
        height: lone.head().height + 1,
        hash: OTHER,
    };
    let gap = sealed_by_operators(block_on(gap, Kind::Refuse, lone.now.seconds(), 4), None);
    let next = lone.head().height + 1;
    let outputs = lone.blocks(Role::Device, vec![gap]);
    assert_eq!(
        sent(&outputs, Role::TrustOperator),
        [Agree::BlocksFrom { height: next }]
    );
    assert_eq!(lone.head().height + 1, next);
}

#[test]
fn a_copy_waits_for_what_it_may_have_forgotten_and_for_nothing_else() {
    // Rule 8: 180 s of a proposal's life, and 30 s of grace and of clocks each.
    let mut lone = Lone::ready();
    let lost = lone.next(Kind::Refuse, 1);
    let outputs = lone.blocks(Role::TrustOperator, vec![lost]);
    let until = Time(lone.now.0 + 240_000);
    assert_eq!(stored(&outputs)[0], Record::BrokerRestored { until });
    assert!(is_told(
        &outputs,
        |e| matches!(e, Event::Restored { until: of } if *of == until)
    ));
    assert_eq!(lone.broker.deadline(), Some(until));
    lone.put(Input::LineDown(Role::TrustOperator));
    assert_eq!(lone.broker.deadline(), None, "it could not act then");
    lone.meet();
    lone.now = Time(until.0 - 1);
    assert_eq!(kind(&lone.put(Input::Tick)), None);
    lone.now = until;
    let outputs = lone.put(Input::Tick);
    assert_eq!(kind(&outputs), Some(Kind::Restored));
    // A copy once more, made while that was on its way: the `restored` of then is another's.
    let other = lone.next(Kind::Restored, 9);
    lone.blocks(Role::TrustOperator, vec![other]);
    lone.wait_ms(1_000);
    assert_eq!(kind(&lone.put(Input::Tick)), None, "it waits anew");
    lone.wait_ms(240_000);
    let outputs = lone.put(Input::Tick);
    assert_eq!(kind(&outputs), Some(Kind::Restored));
    lone.seal(&outputs);
    lone.open(Kind::Login);
}

#[test]
fn an_own_block_that_is_built_upon_shows_a_copy() {
    let mut lone = Lone::ready();
    let freeze = lone.put(Input::Freeze);
    let own = sealed_by_operators(restrict(&freeze).expect("a freeze"), None);
    let head = Head {
        height: 1,
        hash: own.block.hash(),
    };
    let upon = sealed_by_operators(block_on(head, Kind::Refuse, lone.now.seconds(), 3), None);
    let outputs = lone.blocks(Role::TrustOperator, vec![own, upon]);
    let restored = |r: &&Record| matches!(r, Record::BrokerRestored { .. });
    assert_eq!(stored(&outputs).iter().filter(restored).count(), 2);
    assert!(is_told(&outputs, |e| matches!(e, Event::Restored { .. })));
}

#[test]
fn what_only_comes_behind_an_own_block_shows_no_copy() {
    // Nor does anybody make this broker wait by what is not built upon it, or by nobody's signature.
    let mut lone = Lone::ready();
    let freeze = lone.put(Input::Freeze);
    let own = sealed_by_operators(restrict(&freeze).expect("a freeze"), None);
    let now = lone.now.seconds();
    let on = |hash: Hash| {
        sealed_by_operators(
            block_on(Head { height: 1, hash }, Kind::Refuse, now, 3),
            None,
        )
    };
    let mut forged = on(own.block.hash());
    forged.proof = Proof::Operators {
        broker: [1; 64],
        trust_operator: [1; 64],
    };
    for behind in [on(OTHER), forged] {
        let mut lone = Lone::started(lone.records.clone());
        lone.meet();
        let outputs = lone.blocks(Role::Device, vec![own.clone(), behind]);
        let restored = |r: &Record| matches!(r, Record::BrokerRestored { .. });
        assert!(!stored(&outputs).iter().any(restored));
        assert_eq!(lone.head().hash, own.block.hash());
    }
}

#[test]
fn a_device_that_says_it_is_a_copy_gets_a_restored_block() {
    let mut lone = Lone::ready();
    lone.open(Kind::Login);
    let head = lone.head();
    assert!(lone.says_head(Role::Device, head, false).is_empty());
    let outputs = lone.says_head(Role::Device, head, true);
    assert_eq!(kind(&outputs), Some(Kind::Restored));
    assert!(ended(&outputs).is_empty(), "the login moves one height up");
    let outputs = lone.seal(&outputs);
    assert!(names(&outputs, Role::TrustOperator).contains(&"prepare"));
    // A trust operator can be no such device.
    let head = lone.head();
    assert!(lone.says_head(Role::TrustOperator, head, true).is_empty());
}

#[test]
fn a_head_of_another_chain_is_asked_for_until_its_block_is_here() {
    let mut lone = Lone::ready();
    let other = Head {
        hash: OTHER,
        ..lone.head()
    };
    let asks = |outputs: &[Output]| {
        let sends = sent(outputs, Role::TrustOperator);
        sends.contains(&Agree::BlocksFrom { height: 0 })
    };
    for _ in 0..2 {
        let outputs = lone.says_head(Role::TrustOperator, other, false);
        assert!(asks(&outputs));
        let says = format!("head {OTHER} at height 0 is not this broker's");
        let named = |e: &Event| matches!(e, Event::Rejected { refusal, .. } if refusal.to_string().contains(&says));
        assert!(is_told(&outputs, named));
        assert_eq!(shown(&outputs, Role::TrustOperator), Some((0, 0)));
    }
    let mut lone = Lone::ready();
    let freeze = lone.put(Input::Freeze);
    lone.seal(&freeze);
    let genesis = Head {
        height: 0,
        hash: lone
            .broker
            .base()
            .account()
            .expect("a chain")
            .hash_at(0)
            .expect("a genesis"),
    };
    let rival = sealed_by_operators(block_on(genesis, Kind::Refuse, lone.now.seconds(), 8), None);
    let head = Head {
        height: 1,
        hash: rival.block.hash(),
    };
    let outputs = lone.blocks(Role::TrustOperator, vec![rival]);
    assert!(matches!(stored(&outputs)[0], Record::Conflict(_)));
    let outputs = lone.says_head(Role::TrustOperator, head, false);
    let sends = sent(&outputs, Role::TrustOperator);
    assert!(!sends.contains(&Agree::BlocksFrom { height: 1 }));
}

#[test]
fn a_genesis_that_a_copy_catches_up_with_makes_it_wait_for_nothing() {
    // A founding alone forgot no proposal but that genesis.
    let genesis = journal().into_iter().find_map(|r| match r {
        Record::Sealed(sealed) => Some(*sealed),
        _ => None,
    });
    let mut lone = Lone::started(journal()[..1].to_vec());
    lone.put(Input::LineUp(Role::TrustOperator));
    lone.blocks(Role::TrustOperator, genesis.into_iter().collect());
    let head = lone.head();
    lone.says_head(Role::TrustOperator, head, false);
    lone.open(Kind::Login);
}
