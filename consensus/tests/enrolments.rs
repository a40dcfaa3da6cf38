//! Enrolments with one party that cheats: nothing is founded, and nobody honest is blamed.

use std::{collections::VecDeque, sync::Arc};

use warifu_consensus::{
    encoding::{Context, Fields, Hash},
    enrol::{EnrolMessage, EnrolOutput, Enrolment, SessionKey, SixDigits, Ticket, TicketSecret},
    party::{Ledger, Role, Sub},
    signature::IdentityKey,
    time::Time,
    vote::{Statement, Verb, Vote},
};

use crate::support::{Counter, ISS, house};

pub(crate) const NOW: Time = Time::from_seconds(1_790_000_000);

/// A message on its way, which the cheat may change, drop (empty) or multiply.
pub(crate) type Tamper<'a> = &'a mut dyn FnMut(Role, Role, EnrolMessage) -> Vec<EnrolMessage>;

/// What a party ended with.
#[derive(Debug, Default)]
pub(crate) struct End {
    pub(crate) founded: Option<Sub>,
    kept: bool,
    pub(crate) failed: Option<(Option<Role>, String)>,
    pub(crate) digits: Option<SixDigits>,
    pub(crate) ready: bool,
}

pub(crate) struct Session {
    pub(crate) ticket: Ticket,
    machines: [Option<Enrolment>; 3],
    pub(crate) ends: [End; 3],
    pub(crate) entropy: Counter,
    pub(crate) on_the_way: VecDeque<(Role, Role, EnrolMessage)>,
}

pub(crate) fn at(role: Role) -> usize {
    usize::from(role.number()) - 1
}

pub(crate) fn ledger() -> Ledger {
    let house = house();
    Ledger {
        iss: ISS.to_owned(),
        broker: house.broker.public(),
        trust_operator: house.trust_operator.public(),
    }
}

pub(crate) fn key(role: Role) -> Arc<IdentityKey> {
    let house = house();
    Arc::new(match role {
        Role::Device => house.device,
        Role::Broker => house.broker,
        Role::TrustOperator => house.trust_operator,
    })
}

impl Session {
    /// The device has scanned the ticket of session `number`.
    pub(crate) fn begin(number: u8) -> Self {
        let ticket = Ticket {
            ledger: ledger(),
            session: [number; 32],
            broker_addresses: vec!["/ip4/192.0.2.1/tcp/7101".to_owned()],
            trust_operator_addresses: vec!["/ip4/192.0.2.2/tcp/7102".to_owned()],
            secret: TicketSecret::from_bytes([number ^ 0xff; 32]),
            exp: NOW.seconds() + 600,
            vote: Vote::Ed25519([0; 64]),
        }
        .sign(&key(Role::Broker));
        let mut entropy = Counter(u64::from(number));
        let (device, outputs) = Enrolment::of_device(&ticket, key(Role::Device), &mut entropy);
        let mut session = Self {
            ticket,
            machines: [Some(device), None, None],
            ends: Default::default(),
            entropy,
            on_the_way: VecDeque::new(),
        };
        session.perform(Role::Device, outputs);
        session
    }

    fn perform(&mut self, role: Role, outputs: Vec<EnrolOutput>) {
        let end = &mut self.ends[at(role)];
        for output in outputs {
            match output {
                EnrolOutput::Send { to, message } => {
                    self.on_the_way.push_back((role, to, message));
                }
                EnrolOutput::KeepShare { .. } => end.kept = true,
                EnrolOutput::Digits(digits) => end.digits = Some(digits),
                EnrolOutput::Ready => end.ready = true,
                EnrolOutput::WrongDigits { .. } => {}
                EnrolOutput::Founded(founding) => end.founded = Some(founding.sub),
                EnrolOutput::Failed {
                    culprit, reason, ..
                } => {
                    end.kept = false;
                    end.failed = Some((culprit, reason));
                }
            }
        }
    }

    pub(crate) fn deliver(&mut self, from: Role, to: Role, message: EnrolMessage) {
        let entropy = &mut self.entropy;
        let machine = &mut self.machines[at(to)];
        let outputs = match (machine, to, &message) {
            (Some(machine), ..) => machine.handle(NOW, from, message, entropy),
            (none, Role::Broker, EnrolMessage::Hello(hello)) => {
                let begun = Enrolment::of_broker(&self.ticket, hello, key(to), entropy);
                let Ok((machine, outputs)) = begun else {
                    return;
                };
                *none = Some(machine);
                outputs
            }
            (none, Role::TrustOperator, EnrolMessage::Announce { .. }) => {
                let (ledger, own) = (ledger(), key(to));
                let begun = Enrolment::of_trust_operator(&ledger, &message, own, NOW, entropy);
                let Ok((machine, outputs)) = begun else {
                    return;
                };
                *none = Some(machine);
                outputs
            }
            _ => return,
        };
        self.perform(to, outputs);
    }

    pub(crate) fn machine(&mut self, role: Role) -> &mut Enrolment {
        self.machines[at(role)].as_mut().unwrap()
    }

    /// Carries messages until none is left.
    pub(crate) fn carry(&mut self, tamper: Tamper<'_>) {
        while let Some((from, to, message)) = self.on_the_way.pop_front() {
            for message in tamper(from, to, message) {
                self.deliver(from, to, message);
            }
        }
    }

    /// Carries messages until none is left; the customer types the digits as soon as they can.
    pub(crate) fn play(mut self, tamper: Tamper<'_>) -> [End; 3] {
        loop {
            self.carry(tamper);
            let (ready, digits) = (&mut self.ends[at(Role::Broker)].ready, Role::Device);
            let ready = std::mem::take(ready);
            match (ready, self.ends[at(digits)].digits, &mut self.machines[1]) {
                (true, Some(digits), Some(broker)) => {
                    let outputs = broker.confirm(NOW, digits);
                    self.perform(Role::Broker, outputs);
                }
                _ => return self.ends,
            }
        }
    }
}

pub(crate) fn honest(_: Role, _: Role, message: EnrolMessage) -> Vec<EnrolMessage> {
    vec![message]
}

/// Nobody founded anything and nobody keeps a share, but for those who were never told.
pub(crate) fn nothing_founded(ends: &[End; 3]) {
    for end in ends {
        assert_eq!(end.founded, None, "{ends:?}");
    }
}

pub(crate) fn blamed(ends: &[End; 3], by: Role) -> Option<Role> {
    let failed = ends[at(by)].failed.as_ref();
    failed.unwrap_or_else(|| panic!("{ends:?}")).0
}

/// A session key that somebody signed in somebody else's name.
pub(crate) fn foreign_key(session: [u8; 32], role: Role, signer: &IdentityKey) -> SessionKey {
    let public = [0x2a; 32];
    let hash = Fields::new(Context::SessionKey)
        .fixed(&session)
        .fixed(&[role.number()])
        .fixed(&public)
        .finish();
    let statement = Statement {
        verb: Verb::SessionKey,
        role,
        sub: Sub::ZERO,
        hash,
    };
    SessionKey {
        public,
        vote: Vote::sign(signer, &statement),
    }
}

#[test]
fn three_honest_parties_found_one_account() {
    let ends = Session::begin(1).play(&mut honest);
    let sub = ends[0].founded.unwrap();
    assert!(ends.iter().all(|end| end.founded == Some(sub) && end.kept));
}

#[test]
fn a_relaying_broker_cannot_be_the_trust_operator() {
    let mut relay = |from, to, message| match (from, to, message) {
        (
            Role::Broker,
            Role::Device,
            EnrolMessage::Welcome {
                session,
                broker_key,
                ..
            },
        ) => {
            let trust_operator_key = foreign_key(session, Role::TrustOperator, &house().broker);
            vec![EnrolMessage::Welcome {
                session,
                broker_key,
                trust_operator_key,
            }]
        }
        (_, _, message) => vec![message],
    };
    let ends = Session::begin(2).play(&mut relay);
    nothing_founded(&ends);
    // The trust operator never said that: who passed it on is to blame.
    assert_eq!(blamed(&ends, Role::Device), Some(Role::Broker));
    assert!(!ends[0].kept && ends[0].digits.is_none());
}

#[test]
fn a_broker_cannot_announce_another_device_than_the_one_that_signed() {
    let other = IdentityKey::from_seed([77; 32]);
    let mut swap = |_, _, message| match message {
        EnrolMessage::Announce {
            session,
            exp,
            device_key,
            broker_key,
            ..
        } => vec![EnrolMessage::Announce {
            session,
            exp,
            device: other.public(),
            device_key,
            broker_key,
        }],
        message => vec![message],
    };
    let ends = Session::begin(3).play(&mut swap);
    nothing_founded(&ends);
    assert!(ends.iter().all(|end| !end.kept), "{ends:?}");
}

#[test]
fn a_device_that_tells_the_operators_different_things_blames_nobody_honest() {
    let mut equivocate = |from, to, message| match (from, to, message) {
        (
            Role::Device,
            Role::TrustOperator,
            EnrolMessage::Round1 {
                session, package, ..
            },
        ) => vec![EnrolMessage::Round1 {
            session,
            package,
            content_key: Some(Hash([0x66; 32])),
        }],
        (_, _, message) => vec![message],
    };
    let ends = Session::begin(4).play(&mut equivocate);
    nothing_founded(&ends);
    // The trust operator voted for what it had been told; its vote fits no other transcript.
    let (culprit, reason) = ends[at(Role::Broker)].failed.as_ref().unwrap();
    assert_eq!(*culprit, None, "{reason}");
    assert!(ends.iter().all(|end| !end.kept), "{ends:?}");
}

#[test]
fn equivocation_in_round_1_founds_nothing() {
    // Each party in turn tells the two others packages of two different key generations.
    for cheat in Role::ALL {
        let mut other = None;
        let mut record = |from, to, message: EnrolMessage| {
            if from == cheat && matches!(message, EnrolMessage::Round1 { .. }) {
                other.get_or_insert((to, message.clone()));
            }
            vec![message]
        };
        Session::begin(5).play(&mut record);
        let (told, of_other_session) = other.unwrap();
        let EnrolMessage::Round1 { package, .. } = of_other_session else {
            unreachable!()
        };
        let mut equivocate = |from, to, message: EnrolMessage| match message {
            EnrolMessage::Round1 {
                session,
                content_key,
                ..
            } if from == cheat && to == told => vec![EnrolMessage::Round1 {
                session,
                package: package.clone(),
                content_key,
            }],
            message => vec![message],
        };
        let ends = Session::begin(6).play(&mut equivocate);
        nothing_founded(&ends);
        for (role, end) in Role::ALL.into_iter().zip(&ends) {
            if let Some((Some(culprit), reason)) = &end.failed {
                assert_eq!(*culprit, cheat, "{role}: {reason}");
            }
        }
    }
}

#[test]
fn a_second_package_and_a_raised_threshold_name_their_sender() {
    for cheat in Role::ALL {
        let mut twice = |from, _, message: EnrolMessage| match &message {
            EnrolMessage::Round1 {
                session,
                package,
                content_key,
            } if from == cheat => {
                // One coefficient more: a polynomial of another degree.
                let mut longer = package.clone();
                longer.extend_from_slice(&package[..32]);
                let longer = EnrolMessage::Round1 {
                    session: *session,
                    package: longer,
                    content_key: *content_key,
                };
                vec![message, longer]
            }
            _ => vec![message],
        };
        let ends = Session::begin(7).play(&mut twice);
        nothing_founded(&ends);
        let first = ends.iter().find_map(|end| end.failed.as_ref()?.0);
        assert_eq!(first, Some(cheat), "{ends:?}");
    }
}

#[test]
fn what_was_said_in_another_session_is_worth_nothing_here() {
    let mut old = Vec::new();
    let mut record = |from, to, message: EnrolMessage| {
        old.push((from, to, message.clone()));
        vec![message]
    };
    let ends = Session::begin(8).play(&mut record);
    assert!(ends.iter().all(|end| end.founded.is_some()));
    // As it was: another session's name, which nobody here answers to.
    let mut as_it_was = |from, to, message: EnrolMessage| {
        // Hello and announce begin a session: the nodes hold, durably, which were used.
        let begins = ["hello", "announce"];
        let before = old
            .iter()
            .filter(|(f, t, m)| (*f, *t) == (from, to) && !begins.contains(&m.name()));
        let mut all: Vec<_> = before.map(|(_, _, message)| message.clone()).collect();
        all.push(message);
        all
    };
    let ends = Session::begin(9).play(&mut as_it_was);
    assert!(ends.iter().all(|end| end.founded.is_some()), "{ends:?}");
    // Under this session's name: seals, votes and key votes are bound to the other one.
    for name in ["accept", "welcome", "round-2", "voted", "votes"] {
        let mut renamed = |from, to, message: EnrolMessage| {
            let same = |(f, t, m): &&(Role, Role, EnrolMessage)| {
                (*f, *t, m.name()) == (from, to, message.name())
            };
            let Some((_, _, other)) = old.iter().find(same).filter(|_| message.name() == name)
            else {
                return vec![message];
            };
            let mut other = other.clone();
            match &mut other {
                EnrolMessage::Accept { session, .. }
                | EnrolMessage::Welcome { session, .. }
                | EnrolMessage::Round2 { session, .. }
                | EnrolMessage::Voted { session, .. }
                | EnrolMessage::Votes { session, .. } => *session = *message.session(),
                _ => unreachable!(),
            }
            vec![other]
        };
        let ends = Session::begin(10).play(&mut renamed);
        let all = ends.iter().filter(|end| end.founded.is_some()).count();
        // The broker founds before it says so; its word, swapped on the way, founds nobody else.
        assert_eq!(all, usize::from(name == "votes"), "{name}: {ends:?}");
    }
}

#[test]
fn a_word_out_of_turn_or_of_the_wrong_party_changes_nothing() {
    // What is said once only is said twice.
    let mut shuffle = |_, _, message: EnrolMessage| {
        let is_said_once = matches!(
            message,
            EnrolMessage::Accept { .. }
                | EnrolMessage::Welcome { .. }
                | EnrolMessage::Votes { .. }
                | EnrolMessage::Announce { .. }
        );
        let mut all = vec![message.clone()];
        if is_said_once {
            all.push(message);
        }
        all
    };
    let ends = Session::begin(11).play(&mut shuffle);
    assert!(ends.iter().all(|end| end.founded.is_some()), "{ends:?}");
    let mut entropy = Counter(12);
    let ticket = Session::begin(12).ticket;
    let (mut device, _) = Enrolment::of_device(&ticket, key(Role::Device), &mut entropy);
    let session = ticket.session;
    let own = foreign_key(session, Role::Broker, &house().broker);
    let trust_operator_key = foreign_key(session, Role::TrustOperator, &house().trust_operator);
    let votes = [Vote::Ed25519([1; 64]); 3];
    for (from, message) in [
        (
            Role::TrustOperator,
            EnrolMessage::Welcome {
                session,
                broker_key: own.clone(),
                trust_operator_key,
            },
        ),
        (Role::TrustOperator, EnrolMessage::Votes { session, votes }),
        (
            Role::Broker,
            EnrolMessage::Accept {
                session,
                key: own.clone(),
            },
        ),
        (
            Role::Broker,
            EnrolMessage::Voted {
                session,
                vote: votes[0],
            },
        ),
        (
            Role::Broker,
            EnrolMessage::Announce {
                session,
                exp: ticket.exp,
                device: key(Role::Device).public(),
                device_key: own.clone(),
                broker_key: own,
            },
        ),
    ] {
        let name = message.name();
        let outputs = device.handle(NOW, from, message, &mut entropy);
        assert!(outputs.is_empty(), "{name} from the {from}: {outputs:?}");
    }
}
