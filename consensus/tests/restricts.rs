//! Which restrict blocks a trust operator completes, and from when on (protocol rule 4).

use warifu_consensus::agree::{Input, Output, Record};
use warifu_consensus::block::{Block, Claims, Kind};
use warifu_consensus::encoding::Hash;
use warifu_consensus::party::{Role, Sub};
use warifu_consensus::time::Time;
use warifu_consensus::vote::{Verb, Word};
use warifu_consensus::wire::Agree;

use crate::machines::{
    Chain, NOW, OTHER_NONCE, before, chain, compared, later, rejected, said, stored,
};
use crate::support::{AUD, IAT};

/// When an `expire` of a login of `IAT` is in time: one step after this.
const GRACE: Time = Time::from_seconds(IAT + 90 + 30);

struct Asked {
    block: Block,
    superseded: Option<Block>,
    word: Option<Word>,
    proposal: Option<Block>,
}

fn asked(block: Block) -> Asked {
    Asked {
        block,
        superseded: None,
        word: None,
        proposal: None,
    }
}

/// What a fresh trust operator with this head says at this moment.
fn answer(chain: &Chain, now: Time, asked: &Asked) -> Vec<Output> {
    let mut bench = compared(chain, chain.records());
    let signature = chain.house.broker.sign(asked.block.input().as_bytes());
    let agree = Agree::Restrict {
        block: asked.block.clone(),
        signature: signature.into(),
        superseded: asked.superseded.clone(),
        word: asked.word,
        proposal: asked.proposal.clone(),
    };
    let from = Role::Broker;
    bench.handle(now, Input::Message { from, agree })
}

fn is_sealed(outputs: &[Output]) -> bool {
    stored(outputs)
        .iter()
        .any(|r| matches!(r, Record::Sealed(_)))
}

fn not_yet(outputs: &[Output]) -> Option<u64> {
    match said(outputs, Role::Broker).as_slice() {
        [Agree::NotYet { wait_s, .. }] => Some(*wait_s),
        _ => None,
    }
}

fn restrict(chain: &Chain, kind: Kind, claims: impl FnOnce(&mut Claims)) -> Block {
    let mut own = chain.house.next_claims(&chain.account, kind);
    claims(&mut own);
    chain.house.block(own)
}

/// A restrict block that supersedes a login.
fn superseding(chain: &Chain, kind: Kind, login: &Block) -> Asked {
    let block = restrict(chain, kind, |c| c.supersedes = Some(login.hash()));
    Asked {
        superseded: Some(login.clone()),
        ..asked(block)
    }
}

#[test]
fn an_expire_is_in_time_only_after_the_grace() {
    let chain = chain(&[Kind::Login]);
    let login = chain.proposal(Kind::Login, 1);
    for kind in [Kind::Expire, Kind::Refuse] {
        let asked = superseding(&chain, kind, &login);
        for (now, wait_s) in [
            (before(GRACE, 10_000), 10),
            (before(GRACE, 9_001), 10),
            (before(GRACE, 1), 1),
            (GRACE, 1),
        ] {
            let outputs = answer(&chain, now, &asked);
            assert_eq!(not_yet(&outputs), Some(wait_s), "{kind} at {now}");
            assert_eq!(stored(&outputs), []);
        }
        assert!(is_sealed(&answer(&chain, later(GRACE, 1), &asked)));
    }
    // Nothing is superseded: nothing to wait for. And a freeze waits for nothing.
    for kind in [Kind::Expire, Kind::Refuse, Kind::Freeze, Kind::Revoke] {
        let block = restrict(&chain, kind, |_| ());
        assert!(is_sealed(&answer(&chain, NOW, &asked(block))), "{kind}");
    }
    let freeze = superseding(&chain, Kind::Freeze, &login);
    assert!(is_sealed(&answer(&chain, NOW, &freeze)));
}

#[test]
fn a_restored_block_is_in_time_thirty_seconds_ahead() {
    let chain = chain(&[]);
    let block = restrict(&chain, Kind::Restored, |_| ());
    let from = Time::from_seconds(IAT - 30);
    let asked = asked(block);
    assert_eq!(not_yet(&answer(&chain, before(from, 1), &asked)), Some(1));
    assert_eq!(
        not_yet(&answer(&chain, before(from, 2_001), &asked)),
        Some(3)
    );
    assert!(is_sealed(&answer(&chain, from, &asked)));
    assert!(is_sealed(&answer(&chain, later(from, 1), &asked)));
}

#[test]
fn what_is_superseded_is_shown_and_a_rival() {
    let chain = chain(&[Kind::Login]);
    let login = chain.proposal(Kind::Login, 1);
    let good = superseding(&chain, Kind::Freeze, &login);
    let mut missing = superseding(&chain, Kind::Freeze, &login);
    missing.superseded = None;
    let mut other = superseding(&chain, Kind::Freeze, &login);
    other.superseded = Some(chain.proposal(Kind::Login, 2));
    let mut unnamed = asked(restrict(&chain, Kind::Freeze, |_| ()));
    unnamed.superseded = Some(login.clone());
    let unfit = [
        (missing, "is missing"),
        (other, "expected"),
        (unnamed, "`supersedes` is null"),
    ];
    for (asked, what) in unfit {
        let reason = rejected(&answer(&chain, NOW, &asked));
        assert!(reason.contains(what), "{reason}");
    }
    let alter: [fn(&mut Claims); 3] = [
        |c| c.height += 1,
        |c| c.prev = Hash([1; 32]),
        |c| c.sub = Sub([1; 16]),
    ];
    for alter in alter {
        let mut claims = login.claims().clone();
        alter(&mut claims);
        let foreign = chain.house.block(claims);
        let asked = superseding(&chain, Kind::Freeze, &foreign);
        let reason = rejected(&answer(&chain, NOW, &asked));
        assert!(reason.contains("no rival"), "{reason}");
    }
    assert!(is_sealed(&answer(&chain, NOW, &good)));
}

#[test]
fn only_the_broker_asks_and_only_for_what_takes_away() {
    let chain = chain(&[]);
    let login = chain.proposal(Kind::Login, 1);
    let reason = rejected(&answer(&chain, NOW, &asked(login)));
    assert!(reason.contains("no restrict"), "{reason}");
    let mut bench = compared(&chain, chain.records());
    let block = restrict(&chain, Kind::Freeze, |_| ());
    let signature = chain.house.device.sign(block.input().as_bytes()).into();
    let agree = Agree::Restrict {
        block,
        signature,
        superseded: None,
        word: None,
        proposal: None,
    };
    let from = Role::Broker;
    let outputs = bench.handle(NOW, Input::Message { from, agree });
    assert!(rejected(&outputs).contains("restrict proof"));
}

/// A `deny` of this proposal, superseding it or not.
fn deny(chain: &Chain, verb: Verb, proposal: &Block, supersedes: bool) -> Asked {
    let block = restrict(chain, Kind::Deny, |c| {
        c.aud = AUD.into();
        c.nonce = proposal.claims().nonce.clone();
        c.supersedes = supersedes.then(|| proposal.hash());
    });
    Asked {
        superseded: supersedes.then(|| proposal.clone()),
        word: Some(chain.word(verb, proposal.hash())),
        proposal: Some(proposal.clone()),
        ..asked(block)
    }
}

#[test]
fn a_deny_needs_the_word_about_that_very_proposal() {
    let chain = chain(&[Kind::Login]);
    let login = chain.proposal(Kind::Login, 1);
    for verb in [Verb::Deny, Verb::Disown] {
        for supersedes in [false, true] {
            let asked = deny(&chain, verb, &login, supersedes);
            assert!(is_sealed(&answer(&chain, NOW, &asked)), "{verb:?}");
        }
    }
    let alter: [fn(&mut Claims); 5] = [
        |c| c.sub = Sub([1; 16]),
        |c| c.height += 1,
        |c| c.prev = Hash([1; 32]),
        |c| c.aud = "https://shop.example".into(),
        |c| c.nonce = OTHER_NONCE.into(),
    ];
    for (at, alter) in alter.into_iter().enumerate() {
        let mut claims = login.claims().clone();
        alter(&mut claims);
        let other = chain.house.block(claims);
        let mut asked = deny(&chain, Verb::Deny, &login, false);
        asked.word = Some(chain.word(Verb::Deny, other.hash()));
        asked.proposal = Some(other);
        let reason = rejected(&answer(&chain, NOW, &asked));
        assert!(reason.contains("another proposal"), "{at}: {reason}");
    }
    // A word about another hash, a freeze for a word, no word, no proposal.
    let mut asked = deny(&chain, Verb::Deny, &login, false);
    asked.word = Some(chain.word(Verb::Deny, Hash([1; 32])));
    assert!(rejected(&answer(&chain, NOW, &asked)).contains("another proposal"));
    let asked = deny(&chain, Verb::Freeze, &login, false);
    assert!(rejected(&answer(&chain, NOW, &asked)).contains("another proposal"));
    let mut asked = deny(&chain, Verb::Deny, &login, false);
    asked.word = None;
    assert!(rejected(&answer(&chain, NOW, &asked)).contains("without the device's word"));
    let mut asked = deny(&chain, Verb::Deny, &login, false);
    asked.proposal = None;
    assert!(rejected(&answer(&chain, NOW, &asked)).contains("without the device's word"));
    let mut asked = deny(&chain, Verb::Deny, &login, false);
    let forged = Word::sign(
        &chain.house.broker,
        Verb::Deny,
        chain.house.sub(),
        login.hash(),
    );
    asked.word = Some(forged);
    rejected(&answer(&chain, NOW, &asked));
}

#[test]
fn a_word_about_another_block_supersedes_nothing_early() {
    let chain = chain(&[Kind::Login]);
    let (login, other) = (
        chain.proposal(Kind::Login, 1),
        chain.proposal(Kind::Login, 2),
    );
    let mut asked = deny(&chain, Verb::Deny, &login, true);
    asked.word = Some(chain.word(Verb::Deny, other.hash()));
    assert!(not_yet(&answer(&chain, NOW, &asked)).is_some());
    let asked = deny(&chain, Verb::Freeze, &login, true);
    assert!(not_yet(&answer(&chain, NOW, &asked)).is_some());
}

#[test]
fn a_freeze_carries_a_wish_that_stands_and_no_denial() {
    let chain = chain(&[Kind::Freeze]);
    let login = chain.house.next_claims(&chain.account, Kind::Unfreeze);
    let proposal = chain.house.block(login);
    let freeze = |word: Word, proposal: Option<Block>| Asked {
        word: Some(word),
        proposal,
        ..asked(restrict(&chain, Kind::Freeze, |_| ()))
    };
    let wish = chain.word(Verb::Freeze, chain.head().hash);
    assert!(is_sealed(&answer(&chain, NOW, &freeze(wish, None))));
    let disown = chain.word(Verb::Disown, proposal.hash());
    let asked = freeze(disown, Some(proposal.clone()));
    assert!(is_sealed(&answer(&chain, NOW, &asked)));
    let deny = chain.word(Verb::Deny, proposal.hash());
    let reason = rejected(&answer(&chain, NOW, &freeze(deny, Some(proposal))));
    assert!(reason.contains("does not ask for a freeze"), "{reason}");
    let old = chain.word(Verb::Freeze, chain.head_at(0).hash);
    let reason = rejected(&answer(&chain, NOW, &freeze(old, None)));
    assert!(reason.contains("earlier freeze"), "{reason}");
    for kind in [Kind::Expire, Kind::Refuse, Kind::Restored, Kind::Revoke] {
        let mut asked = freeze(wish, None);
        asked.block = restrict(&chain, kind, |_| ());
        let reason = rejected(&answer(&chain, NOW, &asked));
        assert!(reason.contains("carries a word"), "{reason}");
    }
}
