//! Accounts that the real enrolment machines founded, made once per process: a key generation
//! takes longer than a login, and a seed is about logins.

use std::sync::{Arc, OnceLock};

use warifu_consensus::{
    agree::{Founding, Record},
    enrol::{EnrolMessage, EnrolOutput, Enrolment, Ticket, TicketSecret},
    party::{Ledger, Role},
    signature::IdentityKey,
    time::Time,
    vote::Vote,
};

use super::{chance::Chance, party::at};

/// When the world begins, in milliseconds since the Unix epoch.
pub const START_MS: u64 = 1_800_000_000_000;

/// The two operators of every scenario, and what everyone pins.
pub struct Operators {
    /// The broker's identity key.
    pub broker: Arc<IdentityKey>,
    /// The trust operator's identity key.
    pub trust_operator: Arc<IdentityKey>,
    /// Origin and both keys.
    pub ledger: Ledger,
}

/// The operators.
pub fn operators() -> &'static Operators {
    static OPERATORS: OnceLock<Operators> = OnceLock::new();
    OPERATORS.get_or_init(|| {
        let broker = Arc::new(IdentityKey::from_seed([2; 32]));
        let trust_operator = Arc::new(IdentityKey::from_seed([3; 32]));
        let ledger = Ledger {
            iss: "https://ledger.example".into(),
            broker: broker.public(),
            trust_operator: trust_operator.public(),
        };
        Operators {
            broker,
            trust_operator,
            ledger,
        }
    })
}

/// A signed ticket for a session that ends 600 s after `now`.
#[must_use]
pub fn ticket(session: [u8; 32], secret: [u8; 32], now: Time) -> Ticket {
    let operators = operators();
    let empty = Vote::Ed25519([0; 64]);
    Ticket {
        ledger: operators.ledger.clone(),
        session,
        broker_addresses: vec!["/ip4/127.0.0.1/tcp/7100".into()],
        trust_operator_addresses: vec!["/ip4/127.0.0.1/tcp/7200".into()],
        secret: TicketSecret::from_bytes(secret),
        exp: now.seconds() + 600,
        vote: empty,
    }
    .sign(&operators.broker)
}

/// One account as its enrolment left it.
#[derive(Clone)]
pub struct Founded {
    /// What all three voted for.
    pub founding: Founding,
    /// The device's identity key.
    pub device: Arc<IdentityKey>,
    /// Its seed.
    pub device_seed: [u8; 32],
    /// The key shares, encoded, in role order.
    pub shares: [Vec<u8>; 3],
    /// The content key of device and broker.
    pub content_key: [u8; 32],
    /// The journals after the genesis, in role order; only the founding before.
    pub journals: [Vec<Record>; 3],
}

struct Session {
    machines: [Option<Enrolment>; 3],
    shares: [Option<Vec<u8>>; 3],
    content_key: Option<[u8; 32]>,
    founding: Option<Founding>,
    digits: Option<warifu_consensus::enrol::SixDigits>,
    ready: bool,
    mail: std::collections::VecDeque<(Role, Role, EnrolMessage)>,
}

impl Session {
    fn perform(&mut self, role: Role, outputs: Vec<EnrolOutput>) {
        for output in outputs {
            match output {
                EnrolOutput::Send { to, message } => self.mail.push_back((role, to, message)),
                EnrolOutput::KeepShare {
                    share, content_key, ..
                } => {
                    self.shares[at(role)] = Some(share.encode().to_vec());
                    if let Some(key) = content_key {
                        self.content_key = Some(*key.expose());
                    }
                }
                EnrolOutput::Digits(digits) => self.digits = Some(digits),
                EnrolOutput::Ready => self.ready = true,
                EnrolOutput::Founded(founding) => self.founding = Some(*founding),
                EnrolOutput::WrongDigits { .. } => panic!("wrong digits in a calm enrolment"),
                EnrolOutput::Failed { reason, .. } => panic!("calm enrolment failed: {reason}"),
            }
        }
    }
}

/// Enrols one account by the real machines over a perfect line.
#[must_use]
pub fn found(number: u64) -> Founded {
    let (operators, mut chance) = (operators(), Chance::new(number, 0xF0));
    let device_seed = chance.bytes();
    let device = Arc::new(IdentityKey::from_seed(device_seed));
    let now = Time(START_MS);
    let ticket = ticket(chance.bytes(), chance.bytes(), now);
    ticket.check(&operators.ledger, now).expect("a good ticket");
    let (machine, outputs) = Enrolment::of_device(&ticket, device.clone(), &mut chance);
    let mut s = Session {
        machines: [Some(machine), None, None],
        shares: [None, None, None],
        content_key: None,
        founding: None,
        digits: None,
        ready: false,
        mail: std::collections::VecDeque::new(),
    };
    s.perform(Role::Device, outputs);
    loop {
        if s.ready
            && let Some(digits) = s.digits.take()
            && let Some(broker) = &mut s.machines[at(Role::Broker)]
        {
            let outputs = broker.confirm(now, digits);
            s.perform(Role::Broker, outputs);
        }
        let Some((from, to, message)) = s.mail.pop_front() else {
            break;
        };
        let outputs = match (&mut s.machines[at(to)], to, &message) {
            (Some(machine), _, _) => machine.handle(now, from, message, &mut chance),
            (none, Role::Broker, EnrolMessage::Hello(hello)) => {
                let key = operators.broker.clone();
                let (machine, outputs) =
                    Enrolment::of_broker(&ticket, hello, key, &mut chance).expect("a good hello");
                *none = Some(machine);
                outputs
            }
            (none, Role::TrustOperator, announce) => {
                let key = operators.trust_operator.clone();
                let (machine, outputs) = Enrolment::of_trust_operator(
                    &operators.ledger,
                    announce,
                    key,
                    now,
                    &mut chance,
                )
                .expect("a good announcement");
                *none = Some(machine);
                outputs
            }
            (_, to, message) => panic!("{} came early to the {to}", message.name()),
        };
        s.perform(to, outputs);
    }
    let founding = s.founding.expect("founded");
    let record = || vec![Record::Founding(Box::new(founding.clone()))];
    Founded {
        journals: [record(), record(), record()],
        founding,
        device,
        device_seed,
        shares: s.shares.map(|share| share.expect("a share")),
        content_key: s.content_key.expect("a content key"),
    }
}
