//! Three real enrolment machines and the mail between them: once in calm, to found the account of all
//! other stories, and as a target, where any message may be lost, repeated, altered or invented.

use std::{collections::VecDeque, sync::Arc};

use warifu_consensus::{
    agree::Founding,
    enrol::{EnrolMessage, EnrolOutput, Enrolment, SixDigits, Ticket, TicketSecret},
    party::Role,
    random::SeededEntropy,
    share::KeyShare,
    signature::IdentityKey,
    time::Time,
    vote::Vote,
    wire::Message,
};

use crate::trio::{Founded, START_MS, at, ledger, operator};

/// Steps of one story.
const STEPS: usize = 120;

/// A signed ticket of the ledger, good from the beginning of every story.
pub fn ticket() -> Ticket {
    Ticket {
        ledger: ledger(),
        session: [0x11; 32],
        broker_addresses: vec!["/ip4/127.0.0.1/tcp/7100".into()],
        trust_operator_addresses: vec!["/ip4/127.0.0.1/tcp/7200".into()],
        secret: TicketSecret::from_bytes([0x22; 32]),
        exp: START_MS / 1000 + 600,
        vote: Vote::Ed25519([0; 64]),
    }
    .sign(&operator(Role::Broker))
}

struct Session {
    ticket: Ticket,
    device: Arc<IdentityKey>,
    machines: [Option<Enrolment>; 3],
    used: [bool; 3],
    shares: [Option<Vec<u8>>; 3],
    content_key: Option<[u8; 32]>,
    founded: [Option<Founding>; 3],
    digits: Option<SixDigits>,
    ready: bool,
    failed: Vec<(Role, Option<Role>)>,
    mail: VecDeque<(Role, Role, EnrolMessage)>,
    now: Time,
    entropy: SeededEntropy,
}

impl Session {
    fn begin() -> Self {
        let device = Arc::new(IdentityKey::from_seed([9; 32]));
        let mut session = Self {
            ticket: ticket(),
            device: Arc::clone(&device),
            machines: [None, None, None],
            used: [true, false, false],
            shares: [None, None, None],
            content_key: None,
            founded: [None, None, None],
            digits: None,
            ready: false,
            failed: Vec::new(),
            mail: VecDeque::new(),
            now: Time(START_MS),
            entropy: SeededEntropy::new([6; 32]),
        };
        let ticket = session.ticket.clone();
        let (machine, outputs) = Enrolment::of_device(&ticket, device, &mut session.entropy);
        session.machines[0] = Some(machine);
        session.perform(Role::Device, outputs);
        session
    }

    fn perform(&mut self, role: Role, outputs: Vec<EnrolOutput>) {
        for output in outputs {
            match output {
                EnrolOutput::Send { to, message } if self.mail.len() < 64 => {
                    if let EnrolMessage::Voted { .. } = message {
                        assert!(self.shares[at(role)].is_some(), "a vote before the share");
                    }
                    self.mail.push_back((role, to, message));
                }
                EnrolOutput::Send { .. } => {}
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
                EnrolOutput::WrongDigits { .. } => {}
                EnrolOutput::Founded(founding) => {
                    assert!(self.shares[at(role)].is_some(), "founded without a share");
                    assert!(self.founded[at(role)].is_none(), "founded twice");
                    self.founded[at(role)] = Some(*founding);
                }
                EnrolOutput::Failed { culprit, kept, .. } => {
                    assert_eq!(kept.is_some(), self.shares[at(role)].is_some());
                    self.failed.push((role, culprit));
                }
            }
        }
    }

    fn hear(&mut self, from: Role, to: Role, message: EnrolMessage) {
        let (now, entropy) = (self.now, &mut self.entropy);
        let outputs = match (&mut self.machines[at(to)], to, &message) {
            (Some(machine), _, _) => machine.handle(now, from, message, entropy),
            (none, Role::Broker, EnrolMessage::Hello(hello)) if !self.used[1] => {
                self.used[1] = true;
                let key = operator(Role::Broker);
                match Enrolment::of_broker(&self.ticket, hello, key, entropy) {
                    Ok((machine, outputs)) => {
                        *none = Some(machine);
                        outputs
                    }
                    Err(_) => return,
                }
            }
            (none, Role::TrustOperator, EnrolMessage::Announce { .. }) if !self.used[2] => {
                self.used[2] = true;
                let key = operator(Role::TrustOperator);
                let begun = Enrolment::of_trust_operator(&ledger(), &message, key, now, entropy);
                match begun {
                    Ok((machine, outputs)) => {
                        *none = Some(machine);
                        outputs
                    }
                    Err(_) => return,
                }
            }
            _ => return,
        };
        self.perform(to, outputs);
    }

    fn confirm(&mut self, digits: SixDigits) {
        if let Some(broker) = &mut self.machines[at(Role::Broker)] {
            let outputs = broker.confirm(self.now, digits);
            self.perform(Role::Broker, outputs);
        }
    }
}

/// Enrols in calm; tells every message.
pub fn calm() -> (Founded, Vec<EnrolMessage>) {
    let mut session = Session::begin();
    let mut heard = Vec::new();
    loop {
        if session.ready
            && let Some(digits) = session.digits.take()
        {
            session.confirm(digits);
        }
        let Some((from, to, message)) = session.mail.pop_front() else {
            break;
        };
        heard.push(message.clone());
        session.hear(from, to, message);
    }
    assert!(session.failed.is_empty(), "a calm enrolment failed");
    let founded = Founded {
        founding: session.founded[0].clone().expect("founded"),
        device: session.device,
        shares: session.shares.map(|share| share.expect("a share")),
        content_key: session.content_key.expect("a content key"),
    };
    (founded, heard)
}

/// The account of all other stories.
pub fn found() -> Founded {
    calm().0
}

/// Steps, by their first byte: 0–3 the oldest message arrives · 4 it is lost · 5 it arrives and stays ·
/// 6 it arrives altered (bytes: edits, each two of place and one of mask) · 7 it arrives under another
/// party's name (byte) · 8 the right digits · 9 wrong digits · 10 time passes (byte: seconds) · 11 a
/// party's process is gone (byte).
pub fn enrolment(data: &[u8]) {
    let mut session = Session::begin();
    let mut bytes = data.iter().copied();
    for _ in 0..STEPS {
        let Some(step) = bytes.next() else { break };
        let mut byte = || bytes.next().unwrap_or(0);
        match step % 12 {
            0..=3 => {
                if let Some((from, to, message)) = session.mail.pop_front() {
                    session.hear(from, to, message);
                }
            }
            4 => drop(session.mail.pop_front()),
            5 => {
                if let Some((from, to, message)) = session.mail.front().cloned() {
                    session.hear(from, to, message);
                }
            }
            6 => {
                let Some((from, to, message)) = session.mail.pop_front() else {
                    continue;
                };
                let mut frame = Message::Enrol(Box::new(message)).to_frame().unwrap();
                for _ in 0..=byte() % 4 {
                    let place = usize::from(byte()) * 256 + usize::from(byte());
                    let place = place % frame.len();
                    frame[place] ^= byte();
                }
                if let Ok(Message::Enrol(message)) = Message::from_frame(&frame) {
                    session.hear(from, to, *message);
                }
            }
            7 => {
                let from = Role::ALL[usize::from(byte()) % 3];
                if let Some((_, to, message)) = session.mail.pop_front()
                    && from != to
                {
                    session.hear(from, to, message);
                }
            }
            8 => {
                if let Some(digits) = session.digits {
                    session.confirm(digits);
                }
            }
            9 => session.confirm(SixDigits::parse("000000").unwrap()),
            10 => {
                session.now = Time(session.now.0 + u64::from(byte()) * 1000);
                for role in Role::ALL {
                    if let Some(machine) = &mut session.machines[at(role)]
                        && machine.deadline() <= session.now
                    {
                        let outputs = machine.tick(session.now);
                        session.perform(role, outputs);
                    }
                }
            }
            _ => session.machines[usize::from(byte()) % 3] = None,
        }
    }
    judge(&session);
}

/// Whoever is founded agrees with all others that are; nobody holds another's share.
fn judge(session: &Session) {
    let founded: Vec<&Founding> = session.founded.iter().flatten().collect();
    assert!(
        founded.windows(2).all(|pair| pair[0] == pair[1]),
        "two foundings"
    );
    for (role, share) in Role::ALL.into_iter().zip(&session.shares) {
        if let Some(share) = share {
            assert_eq!(KeyShare::decode(share).unwrap().role(), role);
        }
    }
}
