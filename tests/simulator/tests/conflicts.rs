//! Blocks and heads that can't stand in one chain: what is kept, who is blamed, and what the account
//! still does (protocol rule 9).

use warifu_consensus::{
    agree::{Event, Input, Outcome, Record},
    block::{Block, Claims, Kind, Proof, Sealed, Votes},
    chain::Head,
    encoding::{Hash, text_b64},
    party::Role,
    vote::{Statement, Verb, Vote, Word},
    wire::{Agree, Reason},
};
use warifu_simulator::{founded::operators, standing, world::World};

use super::stage::{begin, calm, end, has, holds, kinds, log_in, told};

/// The block at this height of the trust operator's chain.
fn block_at(world: &World, height: u64) -> Sealed {
    let mut chain = world.seat(0, Role::TrustOperator).chain();
    let block = chain.find(|s| s.block.claims().height == height);
    block.expect("a block").clone()
}

/// A restrict block in the place of `like`, signed by both operators.
fn rival(like: &Block, kind: Kind, iat: u64, supersedes: Option<Hash>) -> Sealed {
    let claims = Claims {
        aud: like.claims().iss.clone(),
        iat,
        exp: iat + warifu_consensus::time::RESTRICT_LIFETIME_S,
        nonce: text_b64(&[9; 16]),
        kind,
        body: None,
        supersedes,
        genesis: None,
        ..like.claims().clone()
    };
    let block = Block::new(claims, &standing()[0].founding.account_key).expect("a block");
    let signed = block.input().as_bytes();
    let proof = Proof::Operators {
        broker: operators().broker.sign(signed),
        trust_operator: operators().trust_operator.sign(signed),
    };
    Sealed {
        block,
        proof,
        votes: Votes::Restrict { word: None },
    }
}

fn bring(world: &mut World, from: Role, to: Role, sealed: &Sealed) {
    let agree = Agree::Blocks {
        sealed: vec![sealed.clone()],
    };
    world.feed(0, to, Input::Message { from, agree });
}

fn conflicts(world: &World, role: Role) -> usize {
    told(world, role, |e| matches!(e, Event::Conflict { .. }))
}

/// This party alone cheats.
fn only(role: Role) -> [bool; 3] {
    Role::ALL.map(|one| one == role)
}

fn kept(world: &World, role: Role) -> usize {
    let is = |r: &&Record| matches!(r, Record::Conflict(_) | Record::HeadConflict { .. });
    world.seat(0, role).records.iter().filter(is).count()
}

/// Whom this party blamed.
fn blamed(world: &World, role: Role) -> Vec<Role> {
    let events = world.places[0].told.iter();
    let faults = events.filter_map(|(r, e)| match e {
        Event::Fault(fault) if *r == role => Some(fault.culprit),
        _ => None,
    });
    faults.collect()
}

/// Nothing is admitted, then the freeze that ends it comes, and an unfreeze settles it.
fn settles(world: &mut World) {
    world.run_for(10);
    assert_eq!(world.audit.violations, Vec::<String>::new());
    assert_eq!(kinds(world, Role::Broker).last(), Some(&Kind::Freeze));
    log_in(world, Kind::Unfreeze);
    log_in(world, Kind::Login);
}

#[test]
fn trust_operator_that_sealed_a_lock_and_what_superseded_it_is_blamed_alone() {
    // "At most {A, R superseding A}": an honest broker signs that pair, so it proves the trust
    // operator's misdeed. The account stops admitting and comes back by freeze and unfreeze; it was
    // stopped for good, restrict blocks included.
    let mut world = calm();
    world.audit.cheats = only(Role::TrustOperator);
    log_in(&mut world, Kind::Login);
    world.run_for(3);
    let admit = block_at(&world, 1);
    let iat = admit.block.claims().exp + 31;
    let pair = rival(&admit.block, Kind::Expire, iat, Some(admit.block.hash()));
    bring(&mut world, Role::TrustOperator, Role::Broker, &pair);
    assert_eq!(blamed(&world, Role::Broker), [Role::TrustOperator]);
    assert_eq!(
        (conflicts(&world, Role::Broker), kept(&world, Role::Broker)),
        (1, 1)
    );
    // Once is enough.
    bring(&mut world, Role::Device, Role::Broker, &pair);
    assert_eq!(kept(&world, Role::Broker), 1);
    settles(&mut world);
    // What the unfreeze settled is not brought up again.
    bring(&mut world, Role::TrustOperator, Role::Broker, &pair);
    assert_eq!(
        (conflicts(&world, Role::Broker), kept(&world, Role::Broker)),
        (1, 1)
    );
    assert_eq!(blamed(&world, Role::Broker).len(), 1);
    holds(world);
}

#[test]
fn trust_operator_blames_a_broker_for_what_no_honest_one_signs_and_for_nothing_else() {
    // The trust operator holds its own signature on both blocks of a pair, so it is the restored one;
    // it blamed the broker all the same, whatever the pair was.
    let dead = |admit: &Block| admit.claims().exp + 30;
    type Pair = fn(&Block, u64) -> Sealed;
    let pairs: [(Pair, bool); 5] = [
        (
            |a, dead| rival(a, Kind::Expire, dead + 1, Some(a.hash())),
            false,
        ),
        (|a, dead| rival(a, Kind::Expire, dead + 1, None), true),
        (
            |a, dead| rival(a, Kind::Freeze, dead + 1, Some(Hash([5; 32]))),
            true,
        ),
        // Rule 8: a restored broker forgot what was dead when it signed its `restored` block.
        (|a, dead| rival(a, Kind::Restored, dead + 1, None), false),
        (|a, dead| rival(a, Kind::Restored, dead, None), true),
    ];
    for (number, (pair, is_guilty)) in pairs.into_iter().enumerate() {
        let mut world = calm();
        log_in(&mut world, Kind::Login);
        world.run_for(3);
        // Its callers hear what it likes from here on.
        world.audit.cheats = only(Role::Broker);
        let admit = block_at(&world, 1).block;
        let pair = pair(&admit, dead(&admit));
        bring(&mut world, Role::Broker, Role::TrustOperator, &pair);
        let expected = if is_guilty {
            vec![Role::Broker]
        } else {
            vec![]
        };
        assert_eq!(
            blamed(&world, Role::TrustOperator),
            expected,
            "pair {number}"
        );
        assert_eq!(conflicts(&world, Role::TrustOperator), 1, "pair {number}");
    }
}

#[test]
fn trust_operator_in_conflict_admits_nothing_until_a_freeze_and_survives_a_restart() {
    let mut world = calm();
    log_in(&mut world, Kind::Login);
    log_in(&mut world, Kind::Login);
    world.run_for(3);
    world.audit.cheats = only(Role::TrustOperator);
    // A rival of an older block; it was taken for known and ignored.
    let old = block_at(&world, 1).block;
    let pair = rival(&old, Kind::Expire, old.claims().iat, None);
    bring(&mut world, Role::Broker, Role::TrustOperator, &pair);
    assert_eq!(conflicts(&world, Role::TrustOperator), 1);
    // The own block of that height is not at hand in full: what is not proven blames nobody.
    assert!(blamed(&world, Role::TrustOperator).is_empty());
    world.stop(1, 1_000);
    world.run_for(20);
    let login = world.begin(0, Kind::Login, 90);
    let refused = Outcome::Refused {
        by: Role::TrustOperator,
        reason: Reason::Conflict,
    };
    assert_eq!(end(&mut world, login), refused);
    settles(&mut world);
    holds(world);
}

#[test]
fn block_on_another_head_is_a_conflict() {
    // Every later block of another chain was refused without a word, for ever.
    let mut world = calm();
    world.audit.cheats = only(Role::TrustOperator);
    log_in(&mut world, Kind::Login);
    world.run_for(3);
    let mut like = block_at(&world, 1).block.claims().clone();
    like.height = 2;
    like.prev = Hash([7; 32]);
    let like = Block::new(like, &standing()[0].founding.account_key).expect("a block");
    let other = rival(&like, Kind::Freeze, like.claims().iat, None);
    for (from, to) in [
        (Role::TrustOperator, Role::Broker),
        (Role::TrustOperator, Role::Device),
        (Role::Broker, Role::TrustOperator),
    ] {
        bring(&mut world, from, to, &other);
        assert_eq!((conflicts(&world, to), kept(&world, to)), (1, 1), "{to}");
    }
    // The device alone can't be the culprit's victim twice: it asks for a freeze itself.
    assert_eq!(blamed(&world, Role::Device), [Role::TrustOperator]);
    let is_freeze = |r: &Record| matches!(r, Record::Word(w) if w.word.verb == Verb::Freeze);
    assert!(has(&world, Role::Device, is_freeze));
    settles(&mut world);
    holds(world);
}

#[test]
fn evidence_without_its_votes_is_none() {
    // A proof was enough: whoever stripped or spoiled a block's votes stopped the account with
    // something that names nobody.
    let mut world = calm();
    log_in(&mut world, Kind::Login);
    let admit = block_at(&world, 1).block;
    let mut pair = rival(&admit, Kind::Freeze, admit.claims().iat, None);
    let stranger = warifu_consensus::signature::IdentityKey::from_seed([77; 32]);
    let word = Word::sign(&stranger, Verb::Freeze, admit.claims().sub, admit.hash());
    pair.votes = Votes::Restrict { word: Some(word) };
    for (from, to) in [
        (Role::TrustOperator, Role::Broker),
        (Role::Broker, Role::Device),
        (Role::Broker, Role::TrustOperator),
    ] {
        bring(&mut world, from, to, &pair);
        assert_eq!((conflicts(&world, to), kept(&world, to)), (0, 0), "{to}");
    }
    log_in(&mut world, Kind::Login);
    holds(world);
}

#[test]
fn heads_that_differ_at_one_height_are_told_kept_and_stop_admits() {
    // Operators with different heads at one height stayed uncompared, and nothing said so but a line
    // in the log whenever they met.
    for (liar, other) in [
        (Role::Broker, Role::TrustOperator),
        (Role::TrustOperator, Role::Broker),
    ] {
        let mut world = calm();
        log_in(&mut world, Kind::Login);
        world.run_for(3);
        world.audit.cheats = only(liar);
        let own = block_at(&world, 1).block;
        let key = match liar {
            Role::Broker => &operators().broker,
            _ => &operators().trust_operator,
        };
        let hash = Hash([8; 32]);
        let statement = Statement {
            verb: Verb::Head,
            role: liar,
            sub: own.claims().sub,
            hash,
        };
        let said = |height: u64, hash: Hash, vote: Vote| Input::Message {
            from: liar,
            agree: Agree::HeadIs {
                head: Some(Head { height, hash }),
                vote: Some(vote),
                ask: false,
                notice: false,
            },
        };
        // A block of this chain under a wrong number is no other chain.
        let vote = Vote::sign(
            key,
            &Statement {
                hash: own.hash(),
                ..statement
            },
        );
        world.feed(0, other, said(0, own.hash(), vote));
        assert_eq!(kept(&world, other), 0);
        world.heard = Some(vec![]);
        for _ in 0..3 {
            let vote = Vote::sign(key, &statement);
            world.feed(0, other, said(1, hash, vote));
        }
        assert_eq!((conflicts(&world, other), kept(&world, other)), (1, 1));
        assert!(blamed(&world, other).is_empty());
        // It asks for the block behind that head: evidence that says who signed.
        let heard = world.heard.take().expect("listening");
        let asks = |(_, to, agree): &(Role, Role, Agree)| {
            *to == liar && matches!(agree, Agree::BlocksFrom { height: 1 })
        };
        assert!(heard.iter().any(asks));
        // What follows it does honestly.
        world.audit.cheats = [false; 3];
        if other == Role::TrustOperator {
            let (login, _) = (world.begin(0, Kind::Login, 90), ());
            assert!(matches!(end(&mut world, login), Outcome::Refused { .. }));
        }
        settles(&mut world);
        holds(world);
    }
}

#[test]
fn device_in_conflict_assents_to_nothing_until_it_is_settled() {
    let mut world = calm();
    world.audit.cheats = only(Role::TrustOperator);
    log_in(&mut world, Kind::Login);
    world.run_for(3);
    let admit = block_at(&world, 1).block;
    let (login, hash) = begin(&mut world, Kind::Login);
    // An honest broker may have signed both.
    let iat = admit.claims().exp + 31;
    let pair = rival(&admit, Kind::Expire, iat, Some(admit.hash()));
    bring(&mut world, Role::TrustOperator, Role::Device, &pair);
    assert_eq!(blamed(&world, Role::Device), [Role::TrustOperator]);
    assert!(matches!(end(&mut world, login), Outcome::Refused { .. }));
    assert!(!has(&world, Role::Device, |r| {
        matches!(r, Record::DeviceLock(b) if b.hash() == hash)
    }));
    settles(&mut world);
}

#[test]
fn rival_of_before_the_last_checkpoint_is_noticed_after_a_start() {
    // An account that was read back from a checkpoint knew none of the blocks before it: 32 logins, a
    // restart, and a sealed rival of the 31st was taken for a block that is known.
    for role in [Role::Broker, Role::Device] {
        let mut world = calm();
        world.audit.cheats = only(Role::TrustOperator);
        for _ in 0..32 {
            log_in(&mut world, Kind::Login);
            world.run_for(2);
        }
        let old = block_at(&world, 31).block;
        world.stop(World::node_of(0, role), 1_000);
        world.run_for(10);
        let iat = old.claims().exp + 31;
        let pair = rival(&old, Kind::Expire, iat, Some(old.hash()));
        bring(&mut world, Role::TrustOperator, role, &pair);
        assert_eq!((conflicts(&world, role), kept(&world, role)), (1, 1));
        settles(&mut world);
        holds(world);
    }
}

#[test]
fn trust_operator_knows_after_a_start_what_it_sealed_before_its_checkpoint() {
    let mut world = calm();
    world.audit.cheats = only(Role::Broker);
    for _ in 0..32 {
        log_in(&mut world, Kind::Login);
        world.run_for(2);
    }
    let old = block_at(&world, 31).block;
    world.stop(1, 1_000);
    world.run_for(10);
    let pair = rival(&old, Kind::Refuse, old.claims().iat, None);
    bring(&mut world, Role::Broker, Role::TrustOperator, &pair);
    assert_eq!(kept(&world, Role::TrustOperator), 1);
}
