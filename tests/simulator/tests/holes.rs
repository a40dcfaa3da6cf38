//! Holes that a reading of the rules found, each with its story (docs/decisions/015).

use warifu_consensus::{
    agree::{Event, HeldWord, Input, LoginId, Outcome, Output, Record},
    block::{Block, Claims, Kind, Votes},
    encoding::{Hash, text_b64},
    party::Role,
    vote::{Verb, Word},
    wire::{Agree, Reason},
};
use warifu_simulator::{founded::operators, standing, world::World};

use super::stage::{approve, begin, calm, end, has, holds, kinds, log_in, set_back, told};

/// Sets a party back to the copy that holds its genesis and nothing after, as from a backup.
fn set_back_to_genesis(world: &mut World, role: Role) {
    let is_block = |r: &Record| matches!(r, Record::Sealed(_));
    let records = &world.seat(0, role).records;
    let genesis = records.iter().position(is_block).expect("a genesis");
    set_back(world, role, genesis + 1);
}

/// Frozen by the desk and thawed again, a login after.
fn thawed() -> World {
    let mut world = calm();
    world.feed(0, Role::Broker, Input::Freeze);
    world.run_for(5);
    log_in(&mut world, Kind::Unfreeze);
    log_in(&mut world, Kind::Login);
    world.run_for(3);
    world
}

#[test]
fn freeze_asked_of_a_restored_broker_is_not_answered_by_an_older_one() {
    // A broker starts from an old backup and the desk asks it to freeze before it compared heads.
    // It caught up with a freeze of long ago, took that for the answer, caught up with the unfreeze
    // after it too, and the account stood open.
    let mut world = thawed();
    set_back_to_genesis(&mut world, Role::Broker);
    world.start(0);
    world.feed(0, Role::Broker, Input::Freeze);
    world.run_for(400);
    for role in [Role::Broker, Role::TrustOperator] {
        assert_eq!(kinds(&world, role).last(), Some(&Kind::Freeze));
    }
    log_in(&mut world, Kind::Unfreeze);
    log_in(&mut world, Kind::Login);
    holds(world);
}

#[test]
fn freeze_asked_of_a_copy_that_signed_one_is_not_answered_by_that() {
    // The backup was made while a freeze of the broker's own was on its way. What it signed then
    // answers nothing that is asked for now.
    let mut world = calm();
    world.feed(0, Role::Broker, Input::Freeze);
    let signed = |r: &Record| matches!(r, Record::RestrictLock(_));
    let records = world.seat(0, Role::Broker).records.clone();
    let at = records.iter().position(signed).expect("a freeze signed");
    let backup = at + 1;
    world.run_for(5);
    log_in(&mut world, Kind::Unfreeze);
    log_in(&mut world, Kind::Login);
    world.run_for(3);
    set_back(&mut world, Role::Broker, backup);
    world.start(0);
    world.feed(0, Role::Broker, Input::Freeze);
    world.run_for(400);
    for role in [Role::Broker, Role::TrustOperator] {
        assert_eq!(kinds(&world, role).last(), Some(&Kind::Freeze));
    }
    holds(world);
}

#[test]
fn freeze_on_a_restored_device_is_not_answered_by_an_older_one() {
    // The customer's phone came back from a backup and the customer froze at once. The phone then
    // caught up with an older freeze, which it took for the answer, and with the unfreeze after it.
    let mut world = thawed();
    set_back_to_genesis(&mut world, Role::Device);
    world.start(2);
    world.feed(0, Role::Device, Input::FreezeByCustomer);
    world.run_for(120);
    for role in Role::ALL {
        assert!(
            kinds(&world, role)[3..].contains(&Kind::Freeze),
            "the {role} has {:?}",
            kinds(&world, role)
        );
    }
    holds(world);
}

#[test]
fn denial_of_what_can_not_be_the_next_block_is_not_kept() {
    // A device that a malicious program drives denied proposals at far heights and on blocks that
    // never were. No block could answer them: they stood for ever, and every later block of the
    // account carried them along in a checkpoint of tens of kilobytes.
    let mut world = calm();
    // Its words are spoken here, by its key.
    world.audit.cheats[0] = true;
    let key = standing()[0].device.clone();
    let genesis = world.seat(0, Role::Broker).chain().next().cloned();
    let genesis = genesis.expect("a genesis").block;
    let deny = |height: u64, prev: Hash, kind: Kind, number: u8| {
        let mut claims = genesis.claims().clone();
        (claims.kind, claims.genesis) = (kind, None);
        (claims.height, claims.prev) = (height, prev);
        claims.body = (kind != Kind::Expire).then_some(Hash([number; 32]));
        if kind == Kind::Expire {
            claims.exp = claims.iat + warifu_consensus::time::RESTRICT_LIFETIME_S;
        }
        let proposal = Block::new(claims, &standing()[0].founding.account_key);
        let proposal = proposal.expect("a block");
        let word = Word::sign(&key, Verb::Deny, genesis.claims().sub, proposal.hash());
        Agree::Word {
            word,
            proposal: Some(proposal),
        }
    };
    let here = genesis.hash();
    let mut impossible = vec![
        deny(1, Hash([1; 32]), Kind::Login, 1),
        deny(1, here, Kind::Unfreeze, 2),
        deny(1, here, Kind::Expire, 3),
    ];
    impossible.extend((0..16).map(|n| deny(2 + u64::from(n), here, Kind::Login, 10 + n)));
    for agree in impossible {
        for to in [Role::Broker, Role::TrustOperator] {
            let agree = agree.clone();
            let from = Role::Device;
            world.feed(0, to, Input::Message { from, agree });
        }
    }
    let words = |w: &World, role| {
        let is_word = |r: &&Record| matches!(r, Record::Word(_));
        w.seat(0, role).records.iter().filter(is_word).count()
    };
    for role in [Role::Broker, Role::TrustOperator] {
        assert_eq!(words(&world, role), 0);
    }
    // What could be the next block is taken, and the block that answers it ends it.
    let agree = deny(1, here, Kind::Login, 4);
    let from = Role::Device;
    world.feed(0, Role::TrustOperator, Input::Message { from, agree });
    world.run_for(10);
    assert_eq!(kinds(&world, Role::Broker), [Kind::Genesis, Kind::Deny]);
    log_in(&mut world, Kind::Login);
    for role in [Role::Broker, Role::TrustOperator] {
        assert_eq!(words(&world, role), 1);
        let last = world.seat(0, role).records.iter();
        let behind = last.rev().find(|r| r.is_behind_sealed());
        assert_eq!(behind, Some(&Record::Settled));
    }
    holds(world);
}

/// A restrict block of this kind at the trust operator's next height, signed by the broker's key.
fn restrict(world: &World, kind: Kind, ahead_s: u64, word: Option<Word>) -> (Hash, Input) {
    let head = world.seat(0, Role::TrustOperator).chain().last().cloned();
    let head = head.expect("a genesis").block;
    let iat = world.clock(0, Role::TrustOperator).seconds() + ahead_s;
    let claims = Claims {
        aud: head.claims().iss.clone(),
        iat,
        exp: iat + warifu_consensus::time::RESTRICT_LIFETIME_S,
        nonce: text_b64(&[9; 16]),
        kind,
        height: head.claims().height + 1,
        prev: head.hash(),
        body: None,
        supersedes: None,
        genesis: None,
        ..head.claims().clone()
    };
    let block = Block::new(claims, &standing()[0].founding.account_key).expect("a block");
    let hash = block.hash();
    let signature = operators().broker.sign(block.input().as_bytes()).into();
    let agree = Agree::Restrict {
        block,
        signature,
        superseded: None,
        word,
        proposal: None,
    };
    let from = Role::Broker;
    (hash, Input::Message { from, agree })
}

#[test]
fn old_word_of_the_device_is_no_reason_for_a_new_freeze() {
    // A cheating broker froze an account and gave the freeze that the customer had said, and lifted,
    // long before as the reason: the block in the customer's chain said that the customer asked.
    let mut world = calm();
    world.feed(0, Role::Device, Input::FreezeByCustomer);
    world.run_for(5);
    log_in(&mut world, Kind::Unfreeze);
    let said = world.seat(0, Role::Device).records.iter();
    let said = said.clone().find_map(|r| match r {
        Record::Word(held) => Some(held.word),
        _ => None,
    });
    assert!(said.is_some());
    let sealed = |w: &World, hash| {
        let mut chain = w.seat(0, Role::TrustOperator).chain();
        chain.any(|s| s.block.hash() == hash)
    };
    let (hash, input) = restrict(&world, Kind::Freeze, 0, said);
    world.feed(0, Role::TrustOperator, input);
    assert!(
        !sealed(&world, hash),
        "sealed with a word that counts no more"
    );
    // Without the word it is the broker's own, which needs no reason.
    let (hash, input) = restrict(&world, Kind::Freeze, 0, None);
    world.feed(0, Role::TrustOperator, input);
    assert!(sealed(&world, hash));
}

#[test]
fn freeze_that_an_unfreeze_overtook_is_sealed_without_the_old_word() {
    // The customer's freeze reached the broker alone while the unfreeze was sealed and its block was
    // lost on the way back. The broker keeps the wish, but the word counts no more: a freeze that
    // named it as its reason would be refused for ever, and the account would be stuck.
    let mut world = calm();
    world.feed(0, Role::Broker, Input::Freeze);
    world.run_for(5);
    let (_, hash) = begin(&mut world, Kind::Unfreeze);
    world.lose = Some((Role::TrustOperator, "blocks"));
    approve(&mut world, hash);
    assert!(world.run_to(10, |w| kinds(w, Role::TrustOperator).len() == 3));
    world.feed(0, Role::Broker, Input::LineDown(Role::TrustOperator));
    let line = world.line_between(2, 1);
    world.drop_line(line);
    world.feed(0, Role::Device, Input::FreezeByCustomer);
    let word = |r: &Record| matches!(r, Record::Word(_));
    assert!(world.run_to(5, |w| has(w, Role::Broker, word)));
    assert_eq!(kinds(&world, Role::Broker).len(), 2);
    // The device stays away, so that it can't say its freeze again.
    world.stop(2, 60_000);
    world.run_for(40);
    let expected = [Kind::Genesis, Kind::Freeze, Kind::Unfreeze, Kind::Freeze];
    assert_eq!(kinds(&world, Role::TrustOperator), expected);
    let last = world.seat(0, Role::TrustOperator).chain().last().cloned();
    let votes = last.expect("a freeze").votes;
    assert_eq!(votes, Votes::Restrict { word: None });
    world.run_for(120);
    log_in(&mut world, Kind::Unfreeze);
    log_in(&mut world, Kind::Login);
    holds(world);
}

#[test]
fn restored_block_of_a_time_to_come_waits_for_it() {
    // What a `restored` block excuses and whom it releases rests on its time (rule 8); a broker
    // dated it ahead and the trust operator sealed it at once.
    let mut world = calm();
    world.heard = Some(vec![]);
    let (hash, input) = restrict(&world, Kind::Restored, 90, None);
    world.feed(0, Role::TrustOperator, input.clone());
    let answer = |w: &World| {
        let heard = w.heard.as_ref().expect("listening");
        heard.iter().rev().find_map(|(_, _, agree)| match agree {
            Agree::NotYet { hash: of, wait_s } => Some((*of, *wait_s)),
            _ => None,
        })
    };
    assert_eq!(answer(&world), Some((hash, 60)));
    assert_eq!(kinds(&world, Role::TrustOperator).len(), 1);
    world.now += 60_000;
    world.feed(0, Role::TrustOperator, input);
    assert_eq!(kinds(&world, Role::TrustOperator).len(), 2);
    // Other restrict blocks rest on no time: a broker whose clock jumped is not stuck for as long.
    let (hash, input) = restrict(&world, Kind::Freeze, 1_000_000, None);
    world.feed(0, Role::TrustOperator, input);
    let last = world.seat(0, Role::TrustOperator).chain().last().cloned();
    assert_eq!(last.expect("a freeze").block.hash(), hash);
}

#[test]
fn freeze_dated_ahead_does_not_put_off_the_unfreeze() {
    // The unfreeze delay counted from the freeze's own time if that was later: a broker that dated
    // it ahead, or whose clock had jumped, put the unfreeze off for as long as it liked.
    let mut world = calm();
    world.options.unfreeze_delay_s = 60;
    world.stop(1, 1_000);
    world.run_for(20);
    world.nodes[0].skew_ms = 50_000_000;
    world.feed(0, Role::Broker, Input::Freeze);
    world.run_for(5);
    world.nodes[0].skew_ms = 0;
    assert_eq!(kinds(&world, Role::Broker).last(), Some(&Kind::Freeze));
    world.run_for(61);
    log_in(&mut world, Kind::Unfreeze);
    holds(world);
}

#[test]
fn device_that_froze_does_not_say_its_assent_again() {
    // The assent was lost with its line and the customer froze. A broker that proposed the same
    // package again got the cached assent, after the freeze.
    let mut world = calm();
    world.heard = Some(vec![]);
    let (_, hash) = begin(&mut world, Kind::Login);
    let proposes = |(_, _, agree): &(Role, Role, Agree)| match agree {
        Agree::Propose { .. } => Some(agree.clone()),
        _ => None,
    };
    let propose = world.heard.as_ref().expect("listening");
    let propose = propose.iter().rev().find_map(proposes).expect("a proposal");
    world.lose = Some((Role::Device, "assent"));
    approve(&mut world, hash);
    let locked = |r: &Record| matches!(r, Record::DeviceLock(b) if b.hash() == hash);
    assert!(world.run_to(10, |w| has(w, Role::Device, locked)));
    assert!(world.run_to(5, |w| w.lose.is_none()));
    let assents = |w: &World| {
        let heard = w.heard.as_ref().expect("listening").iter();
        heard
            .filter(|(_, _, agree)| matches!(agree, Agree::Assent { .. }))
            .count()
    };
    let again = |world: &mut World| {
        let (from, agree) = (Role::Broker, propose.clone());
        world.feed(0, Role::Device, Input::Message { from, agree });
    };
    let before = assents(&world);
    again(&mut world);
    assert_eq!(assents(&world), before + 1, "rule 7: the cached one again");
    world.feed(0, Role::Device, Input::FreezeByCustomer);
    again(&mut world);
    assert_eq!(assents(&world), before + 1, "said again after the freeze");
    holds(world);
}

/// How often the broker told this login admitted.
fn admitted(world: &World, login: LoginId) -> usize {
    let is = |e: &Event| matches!(e, Event::Ended { login: of, outcome: Outcome::Admitted(_) } if *of == login);
    told(world, Role::Broker, is)
}

#[test]
fn restored_copy_with_a_lock_does_not_admit_under_a_later_freeze() {
    // The backup was made while a login was locked. Since then it was sealed and told, and the
    // account frozen. The copy caught up with the login first and told "admitted" again, under the
    // freeze that it had yet to read.
    let mut world = calm();
    let (login, hash) = begin(&mut world, Kind::Login);
    approve(&mut world, hash);
    let locked = |r: &Record| matches!(r, Record::BrokerLock(l) if l.block.hash() == hash);
    assert!(world.run_to(10, |w| has(w, Role::Broker, locked)));
    let backup = world.seat(0, Role::Broker).records.len();
    super::stage::admitted(&mut world, login);
    world.feed(0, Role::Broker, Input::Freeze);
    world.run_for(3);
    set_back(&mut world, Role::Broker, backup);
    world.start(0);
    world.run_for(20);
    assert_eq!(
        kinds(&world, Role::Broker),
        [Kind::Genesis, Kind::Login, Kind::Freeze]
    );
    assert_eq!(admitted(&world, login), 1);
    holds(world);
}

#[test]
fn login_that_was_told_refused_is_not_admitted_after_a_restart() {
    // The trust operator refused what the broker had locked, and the caller heard so. The broker
    // restarted, forgot what it had told, tried its lock again, and told "admitted".
    let mut world = calm();
    let (login, hash) = begin(&mut world, Kind::Login);
    world.lose = Some((Role::Broker, "endorse"));
    approve(&mut world, hash);
    let locked = |r: &Record| matches!(r, Record::BrokerLock(l) if l.block.hash() == hash);
    assert!(world.run_to(10, |w| has(w, Role::Broker, locked)));
    let reason = Reason::Rule("not now".into());
    let agree = Agree::Refused { hash, reason };
    let from = Role::TrustOperator;
    world.feed(0, Role::Broker, Input::Message { from, agree });
    assert!(matches!(end(&mut world, login), Outcome::Refused { .. }));
    world.stop(0, 2_000);
    world.run_for(200);
    assert_eq!(admitted(&world, login), 0);
    assert_eq!(kinds(&world, Role::Broker), [Kind::Genesis, Kind::Expire]);
    log_in(&mut world, Kind::Login);
    holds(world);
}

#[test]
fn wrong_number_signs_nothing_before_heads_are_compared() {
    // The line to the trust operator broke while the prompt stood. A wrong number made the broker
    // sign its `refuse` at once; rule 8 has it compare heads first.
    let mut world = calm();
    let (_, hash) = begin(&mut world, Kind::Login);
    let nonce = world.places[0].prompts[0].1.clone();
    let number = (world.page_number(0, &nonce).expect("a number") + 1) % 100;
    world.feed(0, Role::Broker, Input::LineDown(Role::TrustOperator));
    let agree = Agree::Number { hash, number };
    let from = Role::Device;
    world.feed(0, Role::Broker, Input::Message { from, agree });
    let signed = |r: &Record| matches!(r, Record::RestrictLock(_));
    assert!(!has(&world, Role::Broker, signed));
    world.feed(0, Role::Broker, Input::LineUp(Role::TrustOperator));
    world.run_for(5);
    assert_eq!(kinds(&world, Role::Broker), [Kind::Genesis, Kind::Refuse]);
    log_in(&mut world, Kind::Login);
    holds(world);
}

#[test]
fn refusal_is_told_whatever_output_the_broker_stops_after() {
    // What a broker tells is in RAM, what it rests on is durable: a stop between the two is made good
    // by what the journal makes it do again.
    for not_me in [Some(true), Some(false), None] {
        for done in 0.. {
            let mut world = calm();
            let (login, hash) = begin(&mut world, Kind::Login);
            world.lose = Some((Role::Broker, "endorse"));
            approve(&mut world, hash);
            let locked = |r: &Record| matches!(r, Record::BrokerLock(l) if l.block.hash() == hash);
            assert!(world.run_to(10, |w| has(w, Role::Broker, locked)));
            world.feed(0, Role::Broker, Input::LineUp(Role::TrustOperator));
            world.run_for(1);
            let input = refusal(&mut world, hash, not_me);
            let clock = world.clock(0, Role::Broker);
            let machine = world.places[0].seats[1].machine.as_mut().expect("up");
            let mut outputs = machine.handle(clock, input, &mut world.entropy);
            let count = outputs.len();
            outputs.truncate(done);
            world.perform(0, Role::Broker, outputs);
            world.stop(0, 1_000);
            let wish = not_me.is_none() && done == 0;
            if wish {
                // Nothing was durable: the desk heard nothing, and asks again.
                world.run_for(3);
                world.feed(0, Role::Broker, Input::Freeze);
            }
            let case = format!("{not_me:?}, stopped after {done} of {count}");
            let is_admitted = matches!(end(&mut world, login), Outcome::Admitted(_));
            // Before it is said again it may be: nothing was durable, nobody was told.
            assert!(done == 0 || !is_admitted, "{case}");
            world.run_for(30);
            let last = kinds(&world, Role::Broker);
            let expected = match not_me {
                Some(false) if is_admitted => Kind::Login,
                Some(false) => Kind::Deny,
                _ => Kind::Freeze,
            };
            assert_eq!(last.last(), Some(&expected), "{case}");
            holds(world);
            if done >= count {
                break;
            }
        }
    }
}

/// The device's word about its own lock, which it also keeps and repeats; else the desk's freeze.
fn refusal(world: &mut World, hash: Hash, not_me: Option<bool>) -> Input {
    let Some(not_me) = not_me else {
        return Input::Freeze;
    };
    let verb = if not_me { Verb::Disown } else { Verb::Deny };
    let lock = world.seat(0, Role::Device).records.iter().rev();
    let proposal = lock.clone().find_map(|r| match r {
        Record::DeviceLock(block) if block.hash() == hash => Some(block.clone()),
        _ => None,
    });
    let proposal = proposal.expect("a lock");
    let word = Word::sign(&standing()[0].device, verb, proposal.claims().sub, hash);
    let held = HeldWord {
        word,
        above: proposal.claims().height - 1,
        proposal: Some(proposal.clone()),
    };
    // A device program whose customer may refuse what it locked: said durably, told later.
    let kept = Output::Store(Record::Word(Box::new(held)));
    world.perform(0, Role::Device, vec![kept]);
    world.stop(2, 3_000);
    let agree = Agree::Word {
        word,
        proposal: Some(proposal),
    };
    Input::Message {
        from: Role::Device,
        agree,
    }
}

#[test]
fn block_is_tried_in_three_packages_by_whoever_loses_nonces() {
    // The broker took part in a fourth (rule 7). Each line that is lost takes the trust operator's
    // nonce with it, and a fresh one asks for another package of everybody.
    let mut world = calm();
    world.heard = Some(vec![]);
    let (login, hash) = begin(&mut world, Kind::Login);
    approve(&mut world, hash);
    let packages = |w: &World, name: &str| {
        let heard = w.heard.as_ref().expect("listening").iter();
        let mut seen = std::collections::BTreeSet::new();
        for (_, _, agree) in heard.filter(|(_, _, agree)| agree.name() == name) {
            match agree {
                Agree::Propose { commitments, .. } => {
                    seen.insert(commitments.broker.as_bytes().to_vec());
                }
                Agree::Assent { commitment, .. } => {
                    seen.insert(commitment.as_bytes().to_vec());
                }
                _ => {}
            }
        }
        seen.len()
    };
    let line = world.line_between(0, 1);
    let ended = |w: &World| w.places[0].logins[&login].ended.is_some();
    while !ended(&world) && world.audit.violations.is_empty() {
        world.lose = Some((Role::Broker, "endorse"));
        world.run_for(1);
        world.connect(line);
    }
    assert_eq!(world.audit.violations, Vec::<String>::new());
    assert_eq!(packages(&world, "propose"), 3);
    assert_eq!(packages(&world, "assent"), 3);
    world.lose = None;
    assert_eq!(end(&mut world, login), Outcome::Expired);
    world.run_for(60);
    log_in(&mut world, Kind::Login);
    holds(world);
}
