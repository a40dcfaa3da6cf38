//! Enrolment sessions: who may begin one, what is said in it, and how it is confirmed.

use warifu_consensus::{
    body::ContentKey,
    enrol::{EnrolMessage, EnrolOutput, Enrolment, Hello, SixDigits, Ticket, TicketSecret},
    party::Role,
    session::SessionSecret,
    signature::IdentityKey,
    time::Time,
};

use crate::enrolments::{
    NOW, Session, at, blamed, foreign_key, honest, key, ledger, nothing_founded,
};
use crate::support::{Counter, house};

/// Docs: `info` of what round 2 seals.
const ROUND2_INFO: &[u8] = b"warifu-enrol/1 round 2";

/// The hello on its way from the device that scanned the ticket.
fn hello(session: &mut Session) -> Hello {
    match session.on_the_way.pop_front() {
        Some((Role::Device, Role::Broker, EnrolMessage::Hello(hello))) => hello,
        other => panic!("{other:?}"),
    }
}

fn begins(ticket: &Ticket, hello: &Hello) -> bool {
    Enrolment::of_broker(ticket, hello, key(Role::Broker), &mut Counter(9)).is_ok()
}

#[test]
fn only_a_device_that_saw_the_ticket_begins_its_session() {
    let mut session = Session::begin(31);
    let (good, ticket) = (hello(&mut session), session.ticket);
    assert!(begins(&ticket, &good));
    for at in [0, 31] {
        let mut guessed = good.clone();
        guessed.mac[at] ^= 1;
        assert!(!begins(&ticket, &guessed), "{at}");
    }
    // Who reads the hello, but no ticket, puts its own keys, well signed, beside the MAC.
    let thief = IdentityKey::from_seed([66; 32]);
    let stolen = Hello {
        device: thief.public(),
        key: foreign_key(ticket.session, Role::Device, &thief),
        ..good.clone()
    };
    assert!(!begins(&ticket, &stolen));
    // Or only its session key, so as to read what is sealed to the device.
    let own = foreign_key(ticket.session, Role::Device, &house().device);
    let between = Hello {
        key: own,
        ..good.clone()
    };
    assert!(!begins(&ticket, &between));
    // Or a vote of its own on the device's session key.
    let mut unsigned = good.clone();
    unsigned.key.vote = foreign_key(ticket.session, Role::Device, &thief).vote;
    assert!(!begins(&ticket, &unsigned));
    let other_secret = Ticket {
        secret: TicketSecret::from_bytes([8; 32]),
        ..ticket.clone()
    };
    assert!(!begins(&other_secret, &good));
    // The hello of another session, even if both had one secret.
    let other_session = Ticket {
        session: [32; 32],
        ..ticket
    };
    assert!(!begins(&other_session, &good));
}

#[test]
fn a_trust_operator_serves_whom_its_broker_announced_in_time() {
    let mut session = Session::begin(33);
    let first = hello(&mut session);
    session.deliver(Role::Device, Role::Broker, EnrolMessage::Hello(first));
    let Some((Role::Broker, Role::TrustOperator, good)) = session.on_the_way.pop_front() else {
        panic!("{:?}", session.on_the_way)
    };
    let serves = |message: &EnrolMessage, now_s| {
        let now = Time::from_seconds(now_s);
        let own = key(Role::TrustOperator);
        Enrolment::of_trust_operator(&ledger(), message, own, now, &mut Counter(9)).is_ok()
    };
    let exp = session.ticket.exp;
    // A ticket lives 600 s; clocks may be 30 s apart.
    for (left_s, may) in [(0, false), (1, true), (630, true), (631, false)] {
        assert_eq!(serves(&good, exp - left_s), may, "{left_s}");
    }
    assert!(!serves(&good, exp + 1));
    let EnrolMessage::Announce {
        device_key,
        broker_key,
        ..
    } = &good
    else {
        panic!("{good:?}")
    };
    let session_of = *good.session();
    let announce = |device, device_key: &_, broker_key: &_| EnrolMessage::Announce {
        session: session_of,
        exp,
        device,
        device_key: Clone::clone(device_key),
        broker_key: Clone::clone(broker_key),
    };
    let (device, thief) = (house().device.public(), IdentityKey::from_seed([66; 32]));
    let now_s = NOW.seconds();
    assert!(serves(&announce(device, device_key, broker_key), now_s));
    for (name, other) in [
        ("device", announce(thief.public(), device_key, broker_key)),
        (
            "device's key",
            announce(
                device,
                &foreign_key(session_of, Role::Device, &thief),
                broker_key,
            ),
        ),
        (
            "broker's key",
            announce(
                device,
                device_key,
                &foreign_key(session_of, Role::Broker, &thief),
            ),
        ),
        (
            "another session's key",
            announce(
                device,
                device_key,
                &foreign_key([1; 32], Role::Broker, &house().broker),
            ),
        ),
    ] {
        assert!(!serves(&other, now_s), "{name}");
    }
    let reason = "no".to_owned();
    let ended = EnrolMessage::Ended {
        session: session_of,
        reason,
    };
    assert!(!serves(&ended, now_s));
}

#[test]
fn each_word_is_said_once_and_to_a_device_only_on_the_line_that_it_opened() {
    let mut said = Vec::new();
    let mut listen = |from, to, message: EnrolMessage| {
        said.push((from, to, message.name()));
        vec![message]
    };
    let ends = Session::begin(34).play(&mut listen);
    assert!(ends.iter().all(|end| end.founded.is_some()), "{ends:?}");
    for (index, word) in said.iter().enumerate() {
        assert!(!said[..index].contains(word), "twice: {word:?}");
    }
    // A device that does not find the trust operator is told nothing by it: there is no line.
    let mut lost = |from, to, message: EnrolMessage| {
        let line = (from, to);
        assert_ne!(line, (Role::TrustOperator, Role::Device), "{message:?}");
        let is_lost = line == (Role::Device, Role::TrustOperator);
        Vec::from_iter((!is_lost).then_some(message))
    };
    nothing_founded(&Session::begin(34).play(&mut lost));
}

#[test]
fn a_package_said_again_changes_nothing_and_another_one_names_its_sender() {
    let mut again = |_, _, message: EnrolMessage| {
        let is_package = matches!(
            message,
            EnrolMessage::Round1 { .. } | EnrolMessage::Round2 { .. }
        );
        vec![message; if is_package { 2 } else { 1 }]
    };
    let ends = Session::begin(35).play(&mut again);
    assert!(ends.iter().all(|end| end.founded.is_some()), "{ends:?}");
    for cheat in Role::ALL {
        let mut other = None;
        let mut record = |from, _, message: EnrolMessage| {
            if let EnrolMessage::Round1 { package, .. } = &message
                && from == cheat
            {
                other = Some(package.clone());
            }
            vec![message]
        };
        Session::begin(36).play(&mut record);
        let other = other.unwrap();
        // Well made, but of another key generation.
        let mut both = |from, _, message: EnrolMessage| match &message {
            EnrolMessage::Round1 {
                session,
                content_key,
                ..
            } if from == cheat => {
                let second = EnrolMessage::Round1 {
                    session: *session,
                    package: other.clone(),
                    content_key: *content_key,
                };
                vec![message, second]
            }
            _ => vec![message],
        };
        let ends = Session::begin(37).play(&mut both);
        nothing_founded(&ends);
        let first = ends.iter().find_map(|end| end.failed.as_ref()?.0);
        assert_eq!(first, Some(cheat), "{ends:?}");
    }
}

/// The parties' secret session keys of session `number`, drawn as the harness draws them.
fn session_secrets(number: u8) -> [SessionSecret; 3] {
    let mut entropy = Counter(u64::from(number));
    // The device draws its content key first.
    let _ = ContentKey::generate(&mut entropy);
    Role::ALL.map(|_| SessionSecret::generate(&mut entropy))
}

fn round2_aad(session: &[u8; 32], from: Role, to: Role) -> Vec<u8> {
    [&session[..], &[from.number(), to.number()]].concat()
}

#[test]
fn round_2_is_sealed_for_its_session_sender_and_receiver_and_opens_for_no_other() {
    const NUMBER: u8 = 38;
    let secrets = session_secrets(NUMBER);
    let open = |from: Role, to: Role, aad: &[u8], sealed: &[u8]| {
        let sender = secrets[at(from)].public();
        secrets[at(to)].open(&sender, ROUND2_INFO, aad, sealed)
    };
    // What the parties seal is what the docs say.
    let mut sealed_words = 0;
    let mut read = |from, to, message: EnrolMessage| {
        if let EnrolMessage::Round2 { session, sealed } = &message {
            let opened = open(from, to, &round2_aad(session, from, to), sealed).unwrap();
            let content_key = (from, to) == (Role::Device, Role::Broker);
            assert_eq!(opened.len(), if content_key { 64 } else { 32 });
            sealed_words += 1;
        }
        vec![message]
    };
    let ends = Session::begin(NUMBER).play(&mut read);
    assert!(ends.iter().all(|end| end.founded.is_some()), "{ends:?}");
    assert_eq!(sealed_words, 6);
    // And nothing else opens: the right secret, from the right party, for something else.
    type Aad = fn(&[u8; 32], Role, Role) -> Vec<u8>;
    let others: [(&str, Aad); 4] = [
        ("session", |_, from, to| round2_aad(&[0; 32], from, to)),
        ("sender", |session, _, to| round2_aad(session, to, to)),
        ("receiver", |session, from, _| {
            round2_aad(session, from, from)
        }),
        ("nothing", |_, _, _| Vec::new()),
    ];
    for (name, other) in others {
        for (cheat, victim) in [
            (Role::Device, Role::Broker),
            (Role::Broker, Role::TrustOperator),
            (Role::TrustOperator, Role::Device),
        ] {
            let mut reseal = |from, to, message: EnrolMessage| match message {
                EnrolMessage::Round2 { session, sealed } if (from, to) == (cheat, victim) => {
                    let plaintext =
                        open(from, to, &round2_aad(&session, from, to), &sealed).unwrap();
                    let sealed = secrets[at(from)]
                        .seal(
                            &secrets[at(to)].public(),
                            ROUND2_INFO,
                            &other(&session, from, to),
                            &plaintext,
                            &mut Counter(77),
                        )
                        .unwrap();
                    vec![EnrolMessage::Round2 { session, sealed }]
                }
                message => vec![message],
            };
            let ends = Session::begin(NUMBER).play(&mut reseal);
            nothing_founded(&ends);
            assert_eq!(blamed(&ends, victim), Some(cheat), "{name}");
        }
    }
}

#[test]
fn a_party_that_hears_its_own_words_does_not_believe_them() {
    let mut session = Session::begin(39);
    while let Some((from, to, message)) = session.on_the_way.pop_front() {
        let waiting = session.on_the_way.len();
        session.deliver(from, from, message.clone());
        assert_eq!(session.on_the_way.len(), waiting, "{}", message.name());
        session.deliver(from, to, message);
    }
    for role in Role::ALL {
        let ended = EnrolMessage::Ended {
            session: session.ticket.session,
            reason: "I say so".to_owned(),
        };
        session.deliver(role, role, ended);
    }
    let digits = session.ends[0].digits.unwrap();
    let outputs = session.machine(Role::Broker).confirm(NOW, digits);
    let founded = outputs.iter().any(|o| matches!(o, EnrolOutput::Founded(_)));
    assert!(founded, "{outputs:?}");
}

/// The digits that the device shows, and others.
fn digits(session: &Session) -> (SixDigits, SixDigits) {
    let right = session.ends[at(Role::Device)].digits.unwrap();
    let others = ["000000", "000001"].map(|text| SixDigits::parse(text).unwrap());
    let wrong = others.into_iter().find(|other| !other.is(right)).unwrap();
    (right, wrong)
}

fn tries_left(outputs: &[EnrolOutput]) -> Option<u8> {
    match outputs {
        [EnrolOutput::WrongDigits { left }, ..] => Some(*left),
        _ => None,
    }
}

#[test]
fn two_slips_are_forgiven_and_the_third_ends_the_session() {
    for slips in 0..=3 {
        let mut session = Session::begin(40);
        session.carry(&mut honest);
        let (right, wrong) = digits(&session);
        let broker = session.machine(Role::Broker);
        for slip in 1..=slips {
            let outputs = broker.confirm(NOW, wrong);
            assert_eq!(tries_left(&outputs), Some(3 - slip), "{outputs:?}");
            assert_eq!(broker.is_over(), slip == 3, "{outputs:?}");
            assert_eq!(outputs.len() > 1, slip == 3, "{outputs:?}");
        }
        let outputs = broker.confirm(NOW, right);
        let founded = outputs.iter().any(|o| matches!(o, EnrolOutput::Founded(_)));
        assert_eq!(founded, slips < 3, "{slips}: {outputs:?}");
    }
}

#[test]
fn digits_typed_before_all_voted_confirm_nothing_and_cost_no_try() {
    let mut session = Session::begin(41);
    let mut held = None;
    let mut hold = |from, to, message: EnrolMessage| {
        if (from, message.name()) == (Role::TrustOperator, "voted") {
            held = Some((to, message));
            return Vec::new();
        }
        vec![message]
    };
    session.carry(&mut hold);
    let (right, wrong) = digits(&session);
    for early in [wrong, right] {
        let outputs = session.machine(Role::Broker).confirm(NOW, early);
        assert!(outputs.is_empty(), "{outputs:?}");
    }
    let (to, voted) = held.unwrap();
    assert!(!session.ends[at(to)].ready);
    session.deliver(Role::TrustOperator, to, voted.clone());
    assert!(session.ends[at(to)].ready);
    // A vote said again asks the page for nothing a second time.
    let entropy = &mut Counter(9);
    let broker = session.machine(Role::Broker);
    let outputs = broker.handle(NOW, Role::TrustOperator, voted, entropy);
    assert!(outputs.is_empty(), "{outputs:?}");
    assert_eq!(tries_left(&broker.confirm(NOW, wrong)), Some(2));
    // Nor do device and trust operator confirm: the page is the broker's.
    for role in [Role::Device, Role::TrustOperator] {
        let outputs = session.machine(role).confirm(NOW, right);
        assert!(outputs.is_empty(), "{role}: {outputs:?}");
    }
    let outputs = session.machine(Role::Broker).confirm(NOW, right);
    let founded = outputs.iter().any(|o| matches!(o, EnrolOutput::Founded(_)));
    assert!(founded, "{outputs:?}");
}

#[test]
fn a_session_says_whose_it_is() {
    let mut session = Session::begin(42);
    let (ticket, device) = (session.ticket.clone(), house().device.public());
    assert_eq!(session.machine(Role::Device).sub(), None);
    session.carry(&mut honest);
    let subs = Role::ALL.map(|role| {
        let machine = session.machine(role);
        assert_eq!(machine.session(), &ticket.session);
        assert_eq!(machine.device(), &device);
        assert_eq!(machine.deadline(), Time::from_seconds(ticket.exp));
        assert!(!machine.is_over());
        machine.sub().unwrap()
    });
    let (right, _) = digits(&session);
    let outputs = session.machine(Role::Broker).confirm(NOW, right);
    let founded = outputs.into_iter().find_map(|output| match output {
        EnrolOutput::Founded(founding) => Some(founding.sub),
        _ => None,
    });
    assert_eq!(subs.map(Some), [founded; 3]);
    assert!(session.machine(Role::Broker).is_over());
}

#[test]
fn a_trust_operator_answers_a_device_when_that_speaks_and_not_before() {
    // It can't dial a device: what it said earlier would be said to nobody, and the session would wait for ever.
    let mut session = Session::begin(47);
    let mut heard = Vec::new();
    while let Some((from, to, message)) = session.on_the_way.pop_front() {
        let is_first_round = matches!(message, EnrolMessage::Round1 { .. });
        let before = session.on_the_way.len();
        session.deliver(from, to, message);
        if to == Role::TrustOperator && is_first_round {
            let answers = session.on_the_way.iter().skip(before);
            let answered = answers.filter(|(from, to, message)| {
                (*from, *to) == (Role::TrustOperator, Role::Device)
                    && matches!(message, EnrolMessage::Round1 { .. })
            });
            heard.push((from, answered.count()));
        }
    }
    heard.sort_by_key(|(from, _)| from.number());
    assert_eq!(heard, [(Role::Device, 1), (Role::Broker, 0)]);
}
