//! What is begun and what is refused, at the bounds (protocol rules 6 and 10).

use super::*;

/// Why the broker began nothing.
fn refused(outputs: &[Output]) -> Option<Refusal> {
    events(outputs).into_iter().find_map(|event| match event {
        Event::NotBegun { refusal, .. } => Some(refusal),
        _ => None,
    })
}

#[test]
fn a_login_lives_from_1_to_180_seconds() {
    let mut lone = Lone::ready();
    for (lifetime_s, is_good) in [(0, false), (1, true), (180, true), (181, false)] {
        let mut begin = lone.request(Kind::Login);
        begin.lifetime_s = lifetime_s;
        let login = begin.login;
        let outputs = lone.put(Input::Begin(Box::new(begin)));
        if is_good {
            let exp = lone.now.seconds() + lifetime_s;
            let began = |e: &Event| matches!(e, Event::Began { exp: of, .. } if *of == exp);
            assert!(events(&outputs).iter().any(began), "{lifetime_s} s");
            cancel(&mut lone, login);
        } else {
            let refusal = refused(&outputs);
            assert!(matches!(refusal, Some(Refusal::Rule(_))), "{refusal:?}");
        }
    }
}

#[test]
fn nothing_is_begun_without_all_three_parties() {
    let mut lone = Lone::started(journal());
    let (_, outputs) = lone.begin(Kind::Login);
    assert_eq!(refused(&outputs), Some(Refusal::TrustOperatorDown));
    lone.put(Input::LineUp(Role::Device));
    let (_, outputs) = lone.begin(Kind::Login);
    assert_eq!(refused(&outputs), Some(Refusal::TrustOperatorDown));
    lone.meet();
    lone.put(Input::LineDown(Role::TrustOperator));
    let (_, outputs) = lone.begin(Kind::Login);
    assert_eq!(refused(&outputs), Some(Refusal::TrustOperatorDown));
    // A broker whose share, or whose content key, is gone says so.
    for (with_share, with_content) in [(false, true), (true, false)] {
        let mut lone = Lone::ready();
        lone.broker = recover(&lone.records, with_share, with_content);
        lone.meet();
        let (_, outputs) = lone.begin(Kind::Login);
        assert_eq!(refused(&outputs), Some(Refusal::NoShare));
        assert!(stored(&outputs).is_empty());
    }
}

#[test]
fn nothing_is_begun_that_the_status_does_not_allow() {
    let mut lone = Lone::ready();
    let found = Status::Active;
    for kind in [Kind::Unfreeze, Kind::Genesis, Kind::Deny, Kind::Freeze] {
        let (_, outputs) = lone.begin(kind);
        let kind = kind.name().into();
        let refusal = Some(Refusal::StatusForbids { found, kind });
        assert_eq!(refused(&outputs), refusal);
    }
    let freeze = lone.put(Input::Freeze);
    lone.seal(&freeze);
    let (_, outputs) = lone.begin(Kind::Login);
    let (found, kind) = (Status::Frozen, "login".into());
    assert_eq!(
        refused(&outputs),
        Some(Refusal::StatusForbids { found, kind })
    );
    lone.open(Kind::Unfreeze);
}

#[test]
fn one_login_at_a_time_and_the_other_hears_until_when() {
    let mut lone = Lone::ready();
    // Before heads are compared it waits for its turn.
    lone.put(Input::LineUp(Role::TrustOperator));
    let busy = |lone: &mut Lone, until: u64| {
        let (_, outputs) = lone.begin(Kind::Login);
        assert_eq!(refused(&outputs), Some(Refusal::Busy { until }));
    };
    let (first, outputs) = lone.begin(Kind::Login);
    assert_eq!(refused(&outputs), None);
    let exp = lone.now.seconds() + 90;
    busy(&mut lone, exp);
    // Another login is none of its caller's.
    let other = LoginId([99; 16]);
    let outputs = lone.put(Input::Cancel { login: other });
    let refusal = Refusal::NoLogin;
    let expected = Event::NotCancelled {
        login: other,
        refusal,
    };
    assert_eq!(events(&outputs), [expected]);
    let head = lone.head();
    let outputs = lone.says_head(Role::TrustOperator, head, false);
    assert_eq!(names(&outputs, Role::TrustOperator), ["prepare"]);
    busy(&mut lone, exp);
    let outputs = lone.put(Input::Cancel { login: other });
    assert!(ends(&outputs).is_empty());
    cancel(&mut lone, first);
    // One that waits is taken back without a word to the device.
    lone.put(Input::LineUp(Role::TrustOperator));
    let (waiting, _) = lone.begin(Kind::Login);
    let outputs = lone.put(Input::Cancel { login: waiting });
    assert_eq!(ends(&outputs).len(), 1);
    assert!(names(&outputs, Role::Device).is_empty());
    let head = lone.head();
    lone.says_head(Role::TrustOperator, head, false);
    // What is locked is over only after the grace.
    let (locked, block, ..) = lone.lock(Kind::Login);
    busy(&mut lone, block.claims().exp + 30);
    let outputs = lone.put(Input::Cancel { login: locked });
    let refusal = Refusal::Locked;
    let login = locked;
    assert_eq!(events(&outputs), [Event::NotCancelled { login, refusal }]);
}

#[test]
fn what_waits_for_its_turn_ends_at_its_time_or_with_a_freeze() {
    let mut lone = Lone::ready();
    lone.put(Input::LineUp(Role::TrustOperator));
    let (login, _) = lone.begin(Kind::Login);
    let exp = Time::from_seconds(lone.now.seconds() + 90);
    lone.now = Time(exp.0 - 1);
    assert!(ends(&lone.put(Input::Tick)).is_empty());
    lone.now = exp;
    assert_eq!(ends(&lone.put(Input::Tick)), [(login, Outcome::Expired)]);
    let (login, _) = lone.begin(Kind::Login);
    let outputs = lone.put(Input::Freeze);
    let expected = refusal(Role::Broker, Reason::FreezeWanted);
    assert_eq!(ends(&outputs), [(login, expected)]);
    // Durable before it is told (rule 6).
    assert!(matches!(
        outputs.first(),
        Some(Output::Store(Record::FreezeWanted { above: 0 }))
    ));
}

#[test]
fn a_login_waits_for_the_freeze_and_for_restored() {
    let first = |kind: Kind| {
        let first = kind.name().into();
        Some(Refusal::Pending { first })
    };
    // Wanted by the desk, or by the device.
    let mut lone = Lone::started(journal());
    lone.put(Input::Freeze);
    let (_, outputs) = lone.begin(Kind::Login);
    assert_eq!(refused(&outputs), first(Kind::Freeze));
    assert!(lone.broker.is_freeze_pending());
    let mut lone = Lone::started(journal());
    assert!(!lone.broker.is_freeze_pending());
    let word = lone.word(Verb::Freeze, None);
    lone.hear(Role::Device, word);
    let (_, outputs) = lone.begin(Kind::Login);
    assert_eq!(refused(&outputs), first(Kind::Freeze));
    assert!(lone.broker.is_freeze_pending());
    let mut lone = Lone::ready();
    let forgotten = lone.next(Kind::Restored, 1);
    lone.blocks(Role::TrustOperator, vec![forgotten]);
    let (_, outputs) = lone.begin(Kind::Login);
    assert_eq!(refused(&outputs), first(Kind::Restored));
    // Conflicting heads come before all else: only a freeze ends that.
    let mut lone = Lone::ready();
    let head = Head {
        hash: OTHER,
        ..lone.head()
    };
    lone.says_head(Role::TrustOperator, head, false);
    let (_, outputs) = lone.begin(Kind::Login);
    assert_eq!(refused(&outputs), Some(Refusal::Conflict));
}

#[test]
fn twenty_unsuccessful_logins_in_ten_minutes_are_enough() {
    let mut lone = Lone::ready();
    let began = lone.now;
    for number in 0..20 {
        let (login, _, _) = lone.open(Kind::Login);
        cancel(&mut lone, login);
        lone.wait_ms(1_000 + number);
    }
    let (_, outputs) = lone.begin(Kind::Login);
    let pace = Refusal::Pace {
        found: 20,
        limit: 20,
        window_s: 600,
    };
    assert_eq!(refused(&outputs), Some(pace.clone()));
    lone.now = Time(began.0 + 600_000);
    let (_, outputs) = lone.begin(Kind::Login);
    assert_eq!(refused(&outputs), Some(pace));
    lone.wait_ms(1);
    let (login, number, block) = lone.open(Kind::Login);
    // A successful one shows that the customer is there: all is forgotten.
    let (nonces, propose) = lone.propose(&block);
    let hash = block.hash();
    lone.hear(Role::Device, Agree::Number { hash, number });
    let assent = lone.assent(&propose, false);
    let endorse = sent(&lone.hear(Role::Device, assent), Role::TrustOperator).remove(0);
    let sealed = lone.sealed(nonces, &endorse);
    let outputs = lone.blocks(Role::TrustOperator, vec![sealed.clone()]);
    assert_eq!(
        ends(&outputs),
        [(login, Outcome::Admitted(Box::new(sealed)))]
    );
    for _ in 0..20 {
        let (login, _, _) = lone.open(Kind::Login);
        cancel(&mut lone, login);
    }
    let (_, outputs) = lone.begin(Kind::Login);
    assert!(matches!(refused(&outputs), Some(Refusal::Pace { .. })));
}

/// Randomness that begins with these bytes.
struct Given(Vec<u8>);

impl Entropy for Given {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = if self.0.is_empty() {
                9
            } else {
                self.0.remove(0)
            };
        }
    }
}

#[test]
fn a_page_s_number_is_any_of_a_hundred_none_likelier() {
    for (bytes, expected) in [
        (vec![0], 0),
        (vec![57], 57),
        (vec![100], 0),
        (vec![199], 99),
        (vec![200, 255, 142], 42),
    ] {
        let mut lone = Lone::ready();
        let begin = lone.request(Kind::Login);
        let outputs = lone.put_with(Input::Begin(Box::new(begin)), &mut Given(bytes));
        let number = events(&outputs).into_iter().find_map(|e| match e {
            Event::Began { number, .. } => Some(number),
            _ => None,
        });
        assert_eq!(number, Some(expected));
    }
}

#[test]
fn the_newest_256_challenges_are_good_for_nothing_more() {
    // A start believes its own journal, so that these logins need no signature.
    let empty = Vote::Ed25519([0; 64]);
    let admitted = |head: Head, number: u16| {
        let mut claims = block_on(head, Kind::Login, 1_800_000_000, 1)
            .claims()
            .clone();
        claims.nonce = text_b64(&[number.to_be_bytes(), [0; 2]].concat().repeat(4));
        claims.aud = "https://shop.example".into();
        let key = standing()[0].founding.account_key;
        Sealed {
            block: Block::new(claims, &key).expect("a block"),
            proof: Proof::Account([0; 64]),
            votes: Votes::Admit {
                assent: empty,
                endorse: empty,
                seal: empty,
            },
        }
    };
    let mut records = journal();
    let mut head = Lone::ready().head();
    let mut challenges = vec![];
    for number in 0..257 {
        let sealed = admitted(head, number);
        (head.height, head.hash) = (head.height + 1, sealed.block.hash());
        challenges.push(sealed.block.claims().nonce.clone());
        records.push(Record::Sealed(Box::new(sealed)));
    }
    let taken = |blocks: usize, challenge: usize, kind: Kind| {
        let kept = journal().len() + blocks;
        let mut lone = Lone::started(records[..kept].to_vec());
        lone.meet();
        let mut begin = lone.request(kind);
        begin.nonce.clone_from(&challenges[challenge]);
        refused(&lone.put(Input::Begin(Box::new(begin))))
    };
    let replayed = |height: u64| Some(Refusal::Replayed { height });
    assert_eq!(taken(256, 0, Kind::Login), replayed(1));
    assert_eq!(taken(256, 255, Kind::Login), replayed(256));
    assert_eq!(taken(257, 0, Kind::Login), None);
    assert_eq!(taken(257, 1, Kind::Login), replayed(2));
    assert_eq!(taken(257, 256, Kind::Login), replayed(257));
    // Of another kind it is another challenge.
    assert_eq!(taken(257, 1, Kind::Approve), None);
}
