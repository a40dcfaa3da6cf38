//! Which of a device's words count, and what answers them (protocol rule 10).

use warifu_consensus::agree::{Input, Output, Record, TrustOperator};
use warifu_consensus::block::{Block, Claims, Kind};
use warifu_consensus::encoding::Hash;
use warifu_consensus::party::{Role, Sub};
use warifu_consensus::vote::{Verb, Word};
use warifu_consensus::wire::Agree;

use crate::machines::{
    Bench, Chain, NOW, before, chain, compared, later, rejected, said, shown, stored,
    trust_operator,
};

const DEVICE: Role = Role::Device;
const BROKER: Role = Role::Broker;

/// What a trust operator with this head makes of a word.
fn hear(chain: &Chain, word: Agree) -> Vec<Output> {
    compared(chain, chain.records()).hear(NOW, DEVICE, word)
}

/// The word is kept, and counts above this height.
fn stands(chain: &Chain, word: Agree) -> Option<u64> {
    match stored(&hear(chain, word)).as_slice() {
        [Record::Word(held)] => Some(held.above),
        _ => None,
    }
}

/// The word is neither kept nor refused: it was answered.
fn is_answered(chain: &Chain, word: Agree) -> bool {
    let outputs = hear(chain, word);
    stored(&outputs).is_empty() && !outputs.iter().any(|o| matches!(o, Output::Tell(_)))
}

fn login(chain: &Chain, height: u64, prev: Hash, claims: impl FnOnce(&mut Claims)) -> Block {
    let mut own = chain.house.claims(Kind::Login, height, prev);
    claims(&mut own);
    chain.house.block(own)
}

#[test]
fn a_freeze_counts_until_a_freeze_above_what_it_names() {
    let chain = chain(&[Kind::Login, Kind::Freeze, Kind::Expire]);
    assert!(is_answered(&chain, chain.freeze(0)));
    assert!(is_answered(&chain, chain.freeze(1)));
    assert_eq!(stands(&chain, chain.freeze(2)), Some(2));
    assert_eq!(stands(&chain, chain.freeze(3)), Some(3));
}

#[test]
fn a_freeze_names_a_block_at_or_after_the_last_unfreeze() {
    let chain = chain(&[Kind::Freeze, Kind::Unfreeze, Kind::Login]);
    for old in 0..2 {
        rejected(&hear(&chain, chain.freeze(old)));
    }
    assert_eq!(stands(&chain, chain.freeze(2)), Some(2));
    assert_eq!(stands(&chain, chain.freeze(3)), Some(3));
    let unknown = Agree::Word {
        word: chain.word(Verb::Freeze, Hash([1; 32])),
        proposal: None,
    };
    rejected(&hear(&chain, unknown));
}

#[test]
fn a_disown_builds_on_a_block_that_counts_at_its_height() {
    let chain = chain(&[Kind::Freeze, Kind::Unfreeze, Kind::Login]);
    let disown = |height: u64, prev| {
        let proposal = login(&chain, height, prev, |_| ());
        chain.refusal(Verb::Disown, &proposal)
    };
    let at = |height| chain.head_at(height).hash;
    assert_eq!(stands(&chain, disown(4, at(3))), Some(3));
    assert_eq!(stands(&chain, disown(3, at(2))), Some(2));
    for (height, prev) in [
        (2, at(1)),
        (1, at(0)),
        (3, at(3)),
        (5, at(3)),
        (4, Hash([1; 32])),
    ] {
        let reason = rejected(&hear(&chain, disown(height, prev)));
        assert!(reason.contains("disowned proposal"), "{reason}");
    }
    // Whether it could be sealed does not matter: what the customer says stands for a freeze.
    let frozen = crate::machines::chain(&[Kind::Freeze]);
    let proposal = frozen.proposal(Kind::Login, 1);
    let word = frozen.refusal(Verb::Disown, &proposal);
    assert_eq!(stands(&frozen, word), Some(1));
}

#[test]
fn a_deny_stands_for_what_could_be_the_next_block_and_falls_with_any() {
    let chain = chain(&[Kind::Freeze, Kind::Unfreeze]);
    let head = chain.head();
    let deny = |height: u64, prev| {
        let proposal = login(&chain, height, prev, |_| ());
        chain.refusal(Verb::Deny, &proposal)
    };
    assert_eq!(stands(&chain, deny(3, head.hash)), Some(2));
    for height in [1, 2] {
        let prev = chain.head_at(height - 1).hash;
        assert!(is_answered(&chain, deny(height, prev)), "height {height}");
        assert!(is_answered(&chain, deny(height, Hash([1; 32]))));
    }
    rejected(&hear(&chain, deny(4, head.hash)));
    rejected(&hear(&chain, deny(3, Hash([1; 32]))));
    let restrict = chain.proposal(Kind::Expire, 1);
    let reason = rejected(&hear(&chain, chain.refusal(Verb::Deny, &restrict)));
    assert!(reason.contains("no admit"), "{reason}");
    let genesis = &chain.blocks[0].block;
    for verb in [Verb::Deny, Verb::Disown] {
        let reason = rejected(&hear(&chain, chain.refusal(verb, genesis)));
        assert!(reason.contains("genesis"), "{reason}");
    }
}

#[test]
fn a_word_comes_with_the_proposal_that_it_names_and_a_freeze_with_none() {
    let chain = chain(&[]);
    let head = chain.head().hash;
    let alter: [fn(&mut Claims); 3] = [
        |c| c.sub = Sub([1; 16]),
        |c| c.iss = "https://other.example".into(),
        |_| (),
    ];
    for (at, alter) in alter.into_iter().enumerate() {
        let proposal = login(&chain, 1, head, alter);
        let named = if at == 2 {
            Hash([1; 32])
        } else {
            proposal.hash()
        };
        for verb in [Verb::Deny, Verb::Disown] {
            let word = Agree::Word {
                word: chain.word(verb, named),
                proposal: Some(proposal.clone()),
            };
            let reason = rejected(&hear(&chain, word));
            assert!(reason.contains("word names block"), "{at}: {reason}");
        }
    }
    let login = chain.proposal(Kind::Login, 1);
    for (verb, proposal) in [
        (Verb::Freeze, Some(login.clone())),
        (Verb::Deny, None),
        (Verb::Disown, None),
    ] {
        let word = chain.word(verb, head);
        let reason = rejected(&hear(&chain, Agree::Word { word, proposal }));
        assert!(reason.contains("wrong proposal"), "{reason}");
    }
    let sub = chain.house.sub();
    for word in [
        Word::sign(&chain.house.broker, Verb::Freeze, sub, head),
        Word::sign(&chain.house.device, Verb::Assent, sub, head),
        Word::sign(&chain.house.device, Verb::Freeze, Sub([1; 16]), head),
    ] {
        let proposal = None;
        rejected(&hear(&chain, Agree::Word { word, proposal }));
    }
}

#[test]
fn nothing_is_left_to_freeze_on_a_revoked_account() {
    let revoked = chain(&[Kind::Revoke]);
    assert!(is_answered(&revoked, revoked.freeze(0)));
    assert!(is_answered(&revoked, revoked.freeze(1)));
    let mut chain = chain(&[]);
    let mut bench = compared(&chain, chain.records());
    bench.hear(NOW, DEVICE, chain.freeze(0));
    let sealed = vec![chain.grow(Kind::Revoke)];
    bench.hear(NOW, Role::Broker, Agree::Blocks { sealed });
    assert!(bench.machine.has_no_duty());
}

#[test]
fn a_founding_has_nothing_to_refuse() {
    let chain = chain(&[]);
    let records = chain.records()[..1].to_vec();
    let mut bench = compared(&chain, records);
    rejected(&bench.hear(NOW, DEVICE, chain.freeze(0)));
}

/// The words that stand, in order, as a new session of the broker hears them.
fn standing(bench: &mut Bench<TrustOperator>) -> Vec<Agree> {
    let outputs = bench.handle(NOW, Input::LineUp(Role::Broker));
    said(&outputs, Role::Broker)
}

#[test]
fn a_later_wish_stands_for_the_earlier_ones_and_for_no_denial() {
    let chain = chain(&[Kind::Login]);
    let login = chain.proposal(Kind::Login, 1);
    let [deny, disown] = [Verb::Deny, Verb::Disown].map(|verb| chain.refusal(verb, &login));
    let [older, newer] = [chain.freeze(0), chain.freeze(1)];
    let after = |words: &[&Agree]| {
        let mut bench = compared(&chain, chain.records());
        for word in words {
            let outputs = bench.hear(NOW, DEVICE, (*word).clone());
            assert_eq!(stored(&outputs).len(), 1, "{word:?}");
        }
        let mut again = trust_operator(bench.records.clone());
        let words = standing(&mut again);
        assert_eq!(standing(&mut bench), words);
        words
    };
    // Deny and disown of one proposal are two words.
    assert_eq!(after(&[&deny, &disown]), [deny.clone(), disown.clone()]);
    assert_eq!(
        after(&[&deny, &older, &newer]),
        [deny.clone(), newer.clone()]
    );
    // A disown that names the same block is stood for too; one above a late, older wish is not.
    assert_eq!(after(&[&disown, &newer]), std::slice::from_ref(&newer));
    assert_eq!(after(&[&newer, &older]), [newer.clone(), older.clone()]);
    assert_eq!(after(&[&disown, &older]), [disown.clone(), older.clone()]);
    assert_eq!(after(&[&older, &disown, &deny]), [older, disown, deny]);
    // The freeze answers all, and nothing else answers a wish.
    let mut grown = crate::machines::chain(&[Kind::Login]);
    let mut bench = compared(&grown, grown.records());
    for word in [
        grown.refusal(Verb::Deny, &login),
        grown.refusal(Verb::Disown, &login),
        grown.freeze(0),
    ] {
        bench.hear(NOW, DEVICE, word);
    }
    for (kind, left) in [(Kind::Expire, 2), (Kind::Login, 2), (Kind::Freeze, 0)] {
        let sealed = vec![grown.grow(kind)];
        bench.hear(NOW, Role::Broker, Agree::Blocks { sealed });
        assert_eq!(standing(&mut bench).len(), left, "{kind}");
    }
}

#[test]
fn a_block_that_a_word_rests_on_is_looked_up_if_the_device_said_so() {
    let mut chain = chain(&[Kind::Login]);
    let old = chain.head();
    while chain.head().height < 200 {
        chain.grow(Kind::Expire);
    }
    let bench = compared(&chain, chain.records());
    let asks = |word: Word, proposal: Option<Block>| {
        let agree = Agree::Word { word, proposal };
        let from = DEVICE;
        bench
            .machine
            .base()
            .unlocated(&Input::Message { from, agree })
    };
    assert_eq!(
        asks(chain.word(Verb::Freeze, old.hash), None),
        Some(old.hash)
    );
    let head = chain.head().hash;
    assert_eq!(asks(chain.word(Verb::Freeze, head), None), None);
    let forged = Word::sign(
        &chain.house.broker,
        Verb::Freeze,
        chain.house.sub(),
        old.hash,
    );
    assert_eq!(asks(forged, None), None);
    // Of a disown its proposal's `prev`, and no other proposal's.
    let on_old = login(&chain, 2, old.hash, |_| ());
    let on_head = chain.proposal(Kind::Login, 1);
    let disown = |named: &Block| chain.word(Verb::Disown, named.hash());
    assert_eq!(asks(disown(&on_old), Some(on_old.clone())), Some(old.hash));
    assert_eq!(asks(disown(&on_head), Some(on_head.clone())), None);
    assert_eq!(asks(disown(&on_head), Some(on_old.clone())), None);
    // A deny and a freeze with a proposal rest on nothing.
    let deny = chain.word(Verb::Deny, on_old.hash());
    assert_eq!(asks(deny, Some(on_old.clone())), None);
    let freeze = chain.word(Verb::Freeze, old.hash);
    assert_eq!(asks(freeze, Some(on_old)), None);
}

#[test]
fn a_word_is_forwarded_until_it_is_answered() {
    let mut chain = chain(&[]);
    let word = chain.freeze(0);
    let mut bench = compared(&chain, chain.records());
    assert_eq!(bench.machine.deadline(), None);
    let outputs = bench.hear(NOW, DEVICE, word.clone());
    assert_eq!(stored(&outputs), [chain.held_freeze(0)]);
    assert_eq!(said(&outputs, BROKER), std::slice::from_ref(&word));
    let due = later(NOW, 5_000);
    assert_eq!(bench.machine.deadline(), Some(due));
    // Said again it is neither kept nor forwarded twice.
    assert_eq!(bench.hear(NOW, DEVICE, word.clone()), []);
    assert_eq!(bench.handle(before(due, 1), Input::Tick), []);
    let outputs = bench.handle(due, Input::Tick);
    assert_eq!(said(&outputs, BROKER), std::slice::from_ref(&word));
    assert_eq!(bench.machine.deadline(), Some(later(due, 5_000)));
    // Without a line there is nobody to tell; a new session hears it at once.
    bench.handle(due, Input::LineDown(BROKER));
    assert_eq!(bench.handle(later(due, 5_000), Input::Tick), []);
    assert_eq!(bench.machine.deadline(), None);
    let outputs = bench.handle(later(due, 9_000), Input::LineUp(BROKER));
    assert_eq!(said(&outputs, BROKER), std::slice::from_ref(&word));
    assert_eq!(bench.machine.deadline(), Some(later(due, 14_000)));
    // After a start too. The answer ends it.
    let mut again = trust_operator(bench.records.clone());
    assert!(again.machine.stands_as(&bench.machine));
    assert_eq!(
        said(&again.handle(NOW, Input::LineUp(BROKER)), BROKER),
        [word]
    );
    let sealed = vec![chain.grow(Kind::Freeze)];
    again.hear(NOW, BROKER, Agree::Blocks { sealed });
    assert!(again.machine.has_no_duty());
    assert_eq!(again.handle(later(NOW, 5_000), Input::Tick), []);
    assert_eq!(again.machine.deadline(), None);
    assert_eq!(again.handle(NOW, Input::LineUp(BROKER)), []);
}

#[test]
fn a_word_from_the_broker_is_not_sent_back() {
    let chain = chain(&[]);
    let mut bench = compared(&chain, chain.records());
    let outputs = bench.hear(NOW, BROKER, chain.freeze(0));
    assert_eq!(stored(&outputs), [chain.held_freeze(0)]);
    assert_eq!(said(&outputs, BROKER), []);
    assert_eq!(bench.machine.deadline(), Some(later(NOW, 5_000)));
}

#[test]
fn a_device_that_says_an_answered_word_is_shown_the_answer() {
    let chain = chain(&[Kind::Login, Kind::Freeze]);
    let mut records = chain.records();
    records.push(Record::Acked(chain.head()));
    let mut bench = compared(&chain, records);
    let denied = chain.house.claims(Kind::Login, 1, chain.head_at(0).hash);
    let denied = chain.house.block(Claims {
        nonce: crate::machines::OTHER_NONCE.into(),
        ..denied
    });
    let words = [
        (chain.freeze(1), 0),
        (chain.refusal(Verb::Deny, &denied), 1),
        (chain.refusal(Verb::Disown, &denied), 1),
    ];
    for (word, from) in words {
        let outputs = bench.hear(NOW, DEVICE, word.clone());
        assert_eq!(shown(&outputs), [(DEVICE, from, 2)]);
        assert_eq!(outputs.len(), 1, "{outputs:?}");
        assert_eq!(bench.hear(NOW, BROKER, word), []);
    }
}

#[test]
fn words_that_stand_are_two_denials_and_sixteen_wishes() {
    let chain = chain(&[]);
    let mut bench = compared(&chain, chain.records());
    for (verb, most) in [(Verb::Deny, 2), (Verb::Disown, 16)] {
        let say = |bench: &mut Bench<TrustOperator>, number| {
            let word = chain.refusal(verb, &chain.proposal(Kind::Login, number));
            bench.hear(NOW, DEVICE, word)
        };
        for number in 0..most {
            let outputs = say(&mut bench, number);
            assert_eq!(stored(&outputs).len(), 1, "{verb:?} {number}");
        }
        let full = rejected(&say(&mut bench, most));
        assert!(full.contains("too many words"), "{full}");
        assert_eq!(say(&mut bench, 1), [], "a repeat is no new word");
    }
    let outputs = bench.handle(NOW, Input::LineUp(BROKER));
    assert_eq!(said(&outputs, BROKER).len(), 18);
}

#[test]
fn a_word_about_an_old_block_counts_once_its_place_was_told() {
    let mut chain = chain(&[Kind::Login]);
    let old = chain.freeze(1);
    for _ in 0..130 {
        chain.grow(Kind::Expire);
    }
    let mut bench = compared(&chain, chain.records());
    let input = Input::Message {
        from: DEVICE,
        agree: old.clone(),
    };
    let place = chain.head_at(1);
    assert_eq!(bench.machine.base().unlocated(&input), Some(place.hash));
    rejected(&bench.hear(NOW, DEVICE, old.clone()));
    bench.machine.locate(place);
    assert_eq!(bench.machine.base().unlocated(&input), None);
    let outputs = bench.hear(NOW, DEVICE, old);
    assert_eq!(stored(&outputs), [chain.held_freeze(1)]);
}
