//! What a broker comes back with, what it says of itself, and a genesis that never comes.

use super::*;

/// Founded, without a genesis.
fn founded() -> Lone {
    Lone::started(journal()[..1].to_vec())
}

#[test]
fn a_genesis_is_proposed_once_and_lives_no_longer_than_any_block() {
    for (asks_s, lives_s) in [(0, 1), (1, 1), (180, 180), (181, 180)] {
        let mut lone = founded();
        lone.put(Input::LineUp(Role::TrustOperator));
        let agree = quiet();
        lone.hear(Role::TrustOperator, agree);
        assert!(lone.broker.has_compared());
        let mut chance = Chance::new(1, 1);
        let outputs = lone.broker.open_genesis(lone.now, asks_s, &mut chance);
        let sends = sent(&outputs, Role::TrustOperator);
        let [Agree::Prepare { block }] = &sends[..] else {
            panic!("not prepared: {sends:?}");
        };
        let c = block.claims();
        assert_eq!((c.kind, c.exp - c.iat), (Kind::Genesis, lives_s));
        let again = lone.broker.open_genesis(lone.now, 90, &mut chance);
        assert!(again.is_empty());
        // The first one goes on.
        lone.put(Input::LineUp(Role::Device));
        lone.propose(block);
        // A device's lock on it is the trust operator's to release.
        let block = block.clone();
        let outputs = lone.hear(Role::Device, Agree::Locked { block });
        assert!(is_rejected(&outputs));
    }
}

#[test]
fn an_overdue_genesis_is_asked_for_every_16_seconds_and_dies_for_good() {
    let mut lone = founded();
    lone.put(Input::LineUp(Role::TrustOperator));
    lone.hear(Role::TrustOperator, quiet());
    let due = standing()[0].founding.deadline;
    assert_eq!(lone.broker.deadline(), Some(due));
    for at in [due, Time(due.0 + 16_000), Time(due.0 + 32_000)] {
        assert_eq!(lone.broker.deadline(), Some(at));
        lone.now = Time(at.0 - 1);
        assert!(lone.put(Input::Tick).is_empty());
        lone.now = at;
        assert_eq!(
            sent(&lone.put(Input::Tick), Role::TrustOperator),
            [Agree::HeadIs {
                head: None,
                vote: None,
                ask: true,
                notice: false
            }]
        );
    }
    lone.put(Input::LineDown(Role::TrustOperator));
    assert_eq!(lone.broker.deadline(), None);
    // The device's word for it is none.
    assert!(is_rejected(&lone.hear(Role::Device, Agree::GenesisDead)));
    let outputs = lone.hear(Role::TrustOperator, Agree::GenesisDead);
    assert_eq!(
        outputs,
        [
            Output::Store(Record::Dead),
            Output::ForgetShare,
            Output::Tell(Event::Dead)
        ]
    );
    assert!(
        lone.hear(Role::TrustOperator, Agree::GenesisDead)
            .is_empty()
    );
    assert!(lone.broker.has_no_duty() && lone.broker.is_idle(lone.now));
}

#[test]
fn a_genesis_that_died_under_a_lock_is_owed_nothing_more() {
    // The broker had signed it and the trust operator never got it: the lock stood for ever, so that
    // the machine of a dead account was never idle, and a start took up its login again.
    let mut lone = founded();
    lone.put(Input::LineUp(Role::Device));
    lone.put(Input::LineUp(Role::TrustOperator));
    lone.hear(Role::TrustOperator, quiet());
    let mut chance = Chance::new(1, 1);
    let outputs = lone.broker.open_genesis(lone.now, 90, &mut chance);
    let sends = sent(&outputs, Role::TrustOperator);
    let [Agree::Prepare { block }] = &sends[..] else {
        panic!("not prepared: {sends:?}");
    };
    let (_, propose) = lone.propose(&block.clone());
    let assent = lone.assent(&propose, false);
    let outputs = lone.hear(Role::Device, assent);
    assert!(matches!(stored(&outputs)[..], [Record::BrokerLock(_)]));
    lone.hear(Role::TrustOperator, Agree::GenesisDead);
    let key = operators().broker.clone();
    let again = Broker::recover(lone.records.clone(), key, Some(share(Role::Broker)), None);
    let again = again.expect("a journal");
    assert!(again.stands_as(&lone.broker));
    for broker in [&lone.broker, &again] {
        assert!(broker.has_no_duty() && broker.is_settled());
        assert!(broker.is_idle(lone.now));
        assert_eq!(broker.deadline(), None);
    }
}

/// What the broker says of itself: has no duty, is settled, is idle.
fn says(lone: &Lone) -> (bool, bool, bool) {
    let broker = &lone.broker;
    let (settled, idle) = (broker.is_settled(), broker.is_idle(lone.now));
    (broker.has_no_duty(), settled, idle)
}

const CALM: (bool, bool, bool) = (true, true, true);

/// What is at hand is only in RAM.
const OPEN: (bool, bool, bool) = (true, false, false);

/// Nothing is under way, but RAM holds what a start would not know.
const REMEMBERS: (bool, bool, bool) = (true, true, false);

const OWES: (bool, bool, bool) = (false, false, false);

#[test]
fn a_broker_says_what_is_open_and_what_it_owes() {
    let mut lone = Lone::ready();
    assert_eq!(says(&lone), CALM);
    let (login, _, _) = lone.open(Kind::Login);
    assert_eq!(says(&lone), OPEN);
    lone.put(Input::Cancel { login });
    // What failed is counted, for ten minutes.
    assert_eq!(says(&lone), REMEMBERS);
    lone.wait_ms(600_000);
    assert_eq!(says(&lone), REMEMBERS);
    lone.wait_ms(1);
    assert_eq!(says(&lone), CALM);
    // One that waits for its turn.
    lone.put(Input::LineUp(Role::TrustOperator));
    let (login, _) = lone.begin(Kind::Login);
    lone.wait_ms(600_001);
    assert_eq!(says(&lone), OPEN);
    lone.put(Input::Cancel { login });
    assert_eq!(says(&lone), CALM);
    // A device locked on what was never locked here.
    let block = lone.block(Kind::Login, 1);
    lone.hear(Role::Device, Agree::Locked { block });
    assert_eq!(says(&lone), OPEN);
    let outputs = {
        let head = lone.head();
        lone.says_head(Role::TrustOperator, head, false)
    };
    assert_eq!(says(&lone), OWES);
    lone.seal(&outputs);
    assert_eq!(says(&lone), REMEMBERS);
    lone.wait_ms(600_001);
    assert_eq!(says(&lone), CALM);
    // A device that is a copy.
    lone.put(Input::LineUp(Role::TrustOperator));
    let head = lone.head();
    lone.says_head(Role::Device, head, true);
    assert_eq!(says(&lone), REMEMBERS);
    let outputs = lone.says_head(Role::TrustOperator, head, false);
    assert_eq!(says(&lone), OWES);
    lone.seal(&outputs);
    lone.wait_ms(600_001);
    assert_eq!(says(&lone), CALM);
    // A wrong number whose block is not signed yet.
    let (_, number, block) = lone.open(Kind::Login);
    lone.put(Input::LineDown(Role::TrustOperator));
    let (hash, number) = (block.hash(), (number + 1) % 100);
    lone.hear(Role::Device, Agree::Number { hash, number });
    lone.wait_ms(600_001);
    assert_eq!(says(&lone), OPEN);
    let outputs = lone.meet();
    assert_eq!(says(&lone), OWES);
    lone.seal(&outputs);
    assert_eq!(says(&lone), CALM);
}

#[test]
fn a_broker_owes_a_lock_a_word_a_freeze_and_a_wait() {
    let mut lone = Lone::ready();
    let (_, _, nonces, endorse) = lone.lock(Kind::Login);
    assert_eq!(says(&lone), OWES);
    let sealed = lone.sealed(nonces, &endorse);
    lone.blocks(Role::TrustOperator, vec![sealed]);
    assert_eq!(says(&lone), CALM, "a customer who is there clears the pace");
    lone.put(Input::LineDown(Role::TrustOperator));
    let word = lone.word(Verb::Freeze, None);
    lone.hear(Role::Device, word);
    assert_eq!(says(&lone), OWES);
    let mut lone = Lone::ready();
    lone.put(Input::LineDown(Role::TrustOperator));
    lone.put(Input::Freeze);
    assert_eq!(says(&lone), OWES);
    let outputs = lone.meet();
    assert_eq!(says(&lone), OWES);
    lone.seal(&outputs);
    assert_eq!(says(&lone), CALM);
    let lost = lone.next(Kind::Refuse, 1);
    lone.blocks(Role::TrustOperator, vec![lost]);
    assert_eq!(says(&lone), OWES);
    assert_eq!(says(&founded()), OWES);
}

#[test]
fn a_message_that_a_broker_does_not_take_changes_nothing() {
    let mut lone = Lone::ready();
    let block = lone.block(Kind::Login, 1);
    for agree in [Agree::Prepare { block }, Agree::Match { hash: OTHER }] {
        for from in Role::ALL {
            assert!(is_rejected(&lone.hear(from, agree.clone())));
        }
    }
    for input in [
        Input::FreezeByCustomer,
        Input::Deny {
            hash: OTHER,
            not_me: true,
        },
        Input::LineUp(Role::Broker),
        Input::LineDown(Role::Broker),
    ] {
        assert!(lone.put(input).is_empty());
    }
    assert_eq!(says(&lone), CALM);
}

#[test]
fn a_share_of_another_party_or_account_starts_no_machine() {
    let founded = &standing()[0];
    let other = &standing()[1].shares;
    let start = |role: Role, share: KeyShare| -> Result<(), String> {
        let key = Arc::new(IdentityKey::from_seed([4; 32]));
        let content_key = ContentKey::from_bytes(founded.content_key);
        let records = founded.journals[usize::from(role.number()) - 1].clone();
        match role {
            Role::Device => Device::recover(records, key, Some(share), content_key).map(drop),
            Role::Broker => Broker::recover(records, key, Some(share), Some(content_key)).map(drop),
            Role::TrustOperator => {
                let options = TrustOperatorOptions {
                    unfreeze_delay_s: 0,
                };
                TrustOperator::recover(records, key, Some(share), options).map(drop)
            }
        }
    };
    for (at, role) in Role::ALL.into_iter().enumerate() {
        assert_eq!(start(role, share(role)), Ok(()));
        let next = Role::ALL[(at + 1) % 3];
        let error = start(role, share(next)).expect_err("another party's");
        assert!(error.contains(&format!("expected the {role}'s")), "{error}");
        let foreign = KeyShare::decode(&other[at]).expect("a share");
        let error = start(role, foreign).expect_err("another account's");
        assert!(error.contains("account key"), "{error}");
    }
}

#[test]
fn a_freeze_that_names_a_block_of_long_ago_counts() {
    // The chain is at hand for 128 blocks; what is older is looked up.
    let mut records = journal();
    let mut head = Lone::ready().head();
    let genesis = head;
    for number in 0..140 {
        let sealed = sealed_by_operators(block_on(head, Kind::Expire, 1_800_000_000, number), None);
        (head.height, head.hash) = (head.height + 1, sealed.block.hash());
        records.push(Record::Sealed(Box::new(sealed)));
    }
    let word = |hash: Hash| {
        let sub = standing()[0].founding.sub;
        let word = Word::sign(key(Role::Device), Verb::Freeze, sub, hash);
        Input::Message {
            from: Role::Device,
            agree: Agree::Word {
                word,
                proposal: None,
            },
        }
    };
    let mut lone = Lone::started(records);
    assert_eq!(lone.broker.base().unlocated(&word(head.hash)), None);
    let input = word(genesis.hash);
    assert_eq!(lone.broker.base().unlocated(&input), Some(genesis.hash));
    assert!(is_rejected(&lone.put(input.clone())));
    lone.broker.locate(genesis);
    assert_eq!(lone.broker.base().unlocated(&input), None);
    let outputs = lone.put(input);
    assert!(matches!(stored(&outputs)[..], [Record::Word(_)]));
    // A restrict block's word is looked up too, where it is why the account is frozen.
    let mut base = Lone::started(lone.records.clone()).broker;
    base.locate(head);
    for (kind, expected) in [(Kind::Freeze, Some(genesis.hash)), (Kind::Refuse, None)] {
        let Input::Message {
            agree: Agree::Word { word, .. },
            ..
        } = word(genesis.hash)
        else {
            unreachable!()
        };
        let block = block_on(head, kind, 1_800_000_000, 9);
        let signature = key(Role::Broker).sign(block.input().as_bytes()).into();
        let agree = Agree::Restrict {
            block,
            signature,
            superseded: None,
            word: Some(word),
            proposal: None,
        };
        let from = Role::Broker;
        let input = Input::Message { from, agree };
        assert_eq!(base.base().unlocated(&input), expected);
    }
}

#[test]
fn a_machine_stands_as_another_with_the_same_records_only() {
    let mut one = Lone::ready();
    let two = Lone::ready();
    assert!(one.broker.stands_as(&two.broker));
    one.lock(Kind::Login);
    assert!(!one.broker.stands_as(&two.broker));
    let from_disk = recover(&one.records, true, true);
    assert!(one.broker.stands_as(&from_disk));
}

#[test]
fn a_checkpoint_holds_all_that_stands() {
    let mut lone = Lone::ready();
    let (_, _, nonces, endorse) = lone.lock(Kind::Login);
    let sealed = lone.sealed(nonces, &endorse);
    lone.blocks(Role::TrustOperator, vec![sealed]);
    lone.put(Input::LineUp(Role::TrustOperator));
    let word = lone.word(Verb::Freeze, None);
    lone.hear(Role::Device, word);
    let other = Head {
        hash: OTHER,
        ..lone.head()
    };
    lone.says_head(Role::TrustOperator, other, false);
    // A challenge, a word, a conflict, a wish to freeze; and with this block it is a restored copy.
    let lost = lone.next(Kind::Refuse, 1);
    lone.blocks(Role::TrustOperator, vec![lost]);
    let is_checkpoint = |r: &Record| matches!(r, Record::Checkpoint(_));
    let at = lone
        .records
        .iter()
        .rposition(is_checkpoint)
        .expect("a checkpoint");
    let whole = recover(&lone.records[..=at], true, true);
    let from_it = recover(&lone.records[at..=at], true, true);
    assert!(from_it.stands_as(&whole));
    assert!(from_it.is_freeze_pending());
    for records in [&lone.records[..], &lone.records[at..]] {
        assert!(recover(records, true, true).stands_as(&lone.broker));
    }
}
