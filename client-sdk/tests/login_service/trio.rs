//! Three honest parties in one process: real key generation, real machines, a perfect network.
//! What a login service's tests need to have real blocks.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "shared by the tests of two crates, which use different parts"
)]

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use warifu_client_sdk::login_service::Pin;
use warifu_consensus::agree::{
    Begin, Broker, Device, Event, Founding, Input, LoginId, Outcome, Output, Record, Refusal,
    TrustOperator, TrustOperatorOptions,
};
use warifu_consensus::block::{Kind, Sealed};
use warifu_consensus::body::{Body, ContentKey};
use warifu_consensus::encoding::Hash;
use warifu_consensus::enrol::{
    EnrolMessage, EnrolOutput, Enrolment, SixDigits, Ticket, TicketSecret,
};
use warifu_consensus::party::{Ledger, Role, Sub};
use warifu_consensus::random::{Entropy, SeededEntropy};
use warifu_consensus::share::KeyShare;
use warifu_consensus::signature::IdentityKey;
use warifu_consensus::time::Time;
use warifu_consensus::vote::{Statement, Verb, Vote};
use warifu_consensus::wire::Agree;

pub const ISS: &str = "https://ledger.example";

/// Both operators, their keys, and a clock that moves only by hand.
pub struct Operators {
    pub ledger: Ledger,
    pub broker_key: Arc<IdentityKey>,
    pub trust_operator_key: Arc<IdentityKey>,
    pub entropy: SeededEntropy,
    pub now: Time,
}

impl Operators {
    pub fn new(seed: u8, now: Time) -> Operators {
        let key = |n: u8| Arc::new(IdentityKey::from_seed([n; 32]));
        let (broker_key, trust_operator_key) = (key(seed), key(seed.wrapping_add(1)));
        Operators {
            ledger: Ledger {
                iss: ISS.to_owned(),
                broker: broker_key.public(),
                trust_operator: trust_operator_key.public(),
            },
            broker_key,
            trust_operator_key,
            entropy: SeededEntropy::new([seed.wrapping_add(2); 32]),
            now,
        }
    }

    pub fn ticket(&mut self) -> Ticket {
        let mut session = [0; 32];
        let mut secret = [0; 32];
        self.entropy.fill(&mut session);
        self.entropy.fill(&mut secret);
        let placeholder = Statement {
            verb: Verb::Ticket,
            role: Role::Broker,
            sub: Sub::ZERO,
            hash: Hash::ZERO,
        };
        Ticket {
            ledger: self.ledger.clone(),
            session,
            broker_addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned()],
            trust_operator_addresses: vec!["/ip4/127.0.0.1/tcp/2".to_owned()],
            secret: TicketSecret::from_bytes(secret),
            exp: self.now.seconds() + 600,
            vote: Vote::sign(&self.broker_key, &placeholder),
        }
        .sign(&self.broker_key)
    }

    /// A whole enrolment and its genesis.
    pub fn found(&mut self) -> Trio {
        let ticket = self.ticket();
        let mut session = Session::scan(self, &ticket);
        let digits = session.digits.unwrap();
        session.confirm(self, digits).ok().unwrap()
    }
}

/// An enrolment at the moment when the device shows its digits.
pub struct Session {
    machines: [Option<Enrolment>; 3],
    device_key: Arc<IdentityKey>,
    shares: [Option<KeyShare>; 3],
    content_key: Option<ContentKey>,
    founded: [Option<Box<Founding>>; 3],
    pub digits: Option<SixDigits>,
}

impl Session {
    /// A device scans the ticket; everything runs until the broker waits for the digits.
    pub fn scan(operators: &mut Operators, ticket: &Ticket) -> Session {
        let mut seed = [0; 32];
        operators.entropy.fill(&mut seed);
        let device_key = Arc::new(IdentityKey::from_seed(seed));
        ticket.check(&operators.ledger, operators.now).unwrap();
        let (device, out) =
            Enrolment::of_device(ticket, Arc::clone(&device_key), &mut operators.entropy);
        let mut session = Session {
            machines: [Some(device), None, None],
            device_key,
            shares: [None, None, None],
            content_key: None,
            founded: [None, None, None],
            digits: None,
        };
        session.run(operators, ticket, vec![(Role::Device, out)]);
        session
    }

    fn run(
        &mut self,
        operators: &mut Operators,
        ticket: &Ticket,
        outputs: Vec<(Role, Vec<EnrolOutput>)>,
    ) {
        let mut queue = VecDeque::new();
        for (from, out) in outputs {
            self.perform(from, out, &mut queue);
        }
        while let Some((from, to, message)) = queue.pop_front() {
            let out = self.deliver(operators, ticket, from, to, message);
            self.perform(to, out, &mut queue);
        }
    }

    fn deliver(
        &mut self,
        operators: &mut Operators,
        ticket: &Ticket,
        from: Role,
        to: Role,
        message: EnrolMessage,
    ) -> Vec<EnrolOutput> {
        let entropy = &mut operators.entropy;
        let place = usize::from(to.number()) - 1;
        match (&message, &mut self.machines[place]) {
            (EnrolMessage::Hello(hello), place @ None) => {
                let key = Arc::clone(&operators.broker_key);
                let (machine, out) = Enrolment::of_broker(ticket, hello, key, entropy).unwrap();
                *place = Some(machine);
                out
            }
            (EnrolMessage::Announce { .. }, place @ None) => {
                let key = Arc::clone(&operators.trust_operator_key);
                let ledger = &operators.ledger;
                let (machine, out) =
                    Enrolment::of_trust_operator(ledger, &message, key, operators.now, entropy)
                        .unwrap();
                *place = Some(machine);
                out
            }
            (_, Some(machine)) => machine.handle(operators.now, from, message, entropy),
            (_, None) => panic!("{} to a party without a session", message.name()),
        }
    }

    fn perform(
        &mut self,
        role: Role,
        outputs: Vec<EnrolOutput>,
        queue: &mut VecDeque<(Role, Role, EnrolMessage)>,
    ) {
        let place = usize::from(role.number()) - 1;
        for output in outputs {
            match output {
                EnrolOutput::Send { to, message } => queue.push_back((role, to, message)),
                EnrolOutput::KeepShare {
                    share, content_key, ..
                } => {
                    self.shares[place] = Some(*share);
                    self.content_key = content_key.or(self.content_key.take());
                }
                EnrolOutput::Digits(digits) => self.digits = Some(digits),
                EnrolOutput::Founded(founding) => self.founded[place] = Some(founding),
                EnrolOutput::Ready | EnrolOutput::WrongDigits { .. } => {}
                EnrolOutput::Failed { reason, .. } => panic!("enrolment failed: {reason}"),
            }
        }
    }

    /// The customer types digits: the account with its sealed genesis, or the tries left.
    pub fn confirm(&mut self, operators: &mut Operators, digits: SixDigits) -> Result<Trio, u8> {
        let now = operators.now;
        let out = self.machines[1].as_mut().unwrap().confirm(now, digits);
        if let Some(EnrolOutput::WrongDigits { left }) = out.first() {
            return Err(*left);
        }
        let ticket = operators.ticket();
        self.run(operators, &ticket, vec![(Role::Broker, out)]);
        Ok(self.found(operators))
    }

    fn found(&mut self, operators: &mut Operators) -> Trio {
        let [device, broker, trust_operator] =
            [0, 1, 2].map(|place| vec![Record::Founding(self.founded[place].take().unwrap())]);
        let [share_d, share_b, share_t] = [0, 1, 2].map(|place| self.shares[place].take());
        let content_key = self.content_key.take().unwrap();
        let options = TrustOperatorOptions {
            unfreeze_delay_s: 0,
        };
        let broker_key = Arc::clone(&operators.broker_key);
        let trust_key = Arc::clone(&operators.trust_operator_key);
        let device_key = Arc::clone(&self.device_key);
        let mut trio = Trio {
            device: Device::recover(device, device_key, share_d, content_key.clone()).unwrap(),
            broker: Broker::recover(broker, broker_key, share_b, Some(content_key)).unwrap(),
            trust_operator: TrustOperator::recover(trust_operator, trust_key, share_t, options)
                .unwrap(),
            device_key: Arc::clone(&self.device_key),
            chains: Default::default(),
            bodies: HashMap::new(),
            open_body: None,
            ended: HashMap::new(),
            prompt: None,
        };
        trio.line_up(operators);
        let out = trio
            .broker
            .open_genesis(operators.now, 90, &mut operators.entropy);
        trio.run(operators, Role::Broker, out);
        assert_eq!(trio.chain().len(), 1, "the genesis is sealed");
        trio
    }
}

/// One account at its three parties.
pub struct Trio {
    device: Device,
    broker: Broker,
    trust_operator: TrustOperator,
    pub device_key: Arc<IdentityKey>,
    chains: [Vec<Sealed>; 3],
    bodies: HashMap<Hash, Body>,
    open_body: Option<Body>,
    pub ended: HashMap<LoginId, Outcome>,
    /// The proposal in front of the customer.
    pub prompt: Option<Hash>,
}

impl Trio {
    /// The broker's chain.
    pub fn chain(&self) -> &[Sealed] {
        &self.chains[1]
    }

    pub fn sub(&self) -> Sub {
        self.broker.base().sub()
    }

    pub fn account_key(&self) -> [u8; 32] {
        *self.broker.base().account_key()
    }

    /// What a login service pins.
    pub fn pin(&self, operators: &Operators) -> Pin {
        Pin::of_genesis(&operators.ledger, &self.chain()[0]).unwrap()
    }

    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    pub fn body_of(&self, hash: &Hash) -> Option<Body> {
        self.bodies.get(hash).cloned()
    }

    fn line_up(&mut self, operators: &mut Operators) {
        for (role, peer) in [
            (Role::TrustOperator, Role::Broker),
            (Role::Broker, Role::TrustOperator),
            (Role::Broker, Role::Device),
            (Role::Device, Role::Broker),
        ] {
            self.give(operators, role, Input::LineUp(peer));
        }
    }

    pub fn cut_trust_operator(&mut self, operators: &mut Operators) {
        self.give(
            operators,
            Role::Broker,
            Input::LineDown(Role::TrustOperator),
        );
    }

    /// Begins; the number, or the refusal.
    pub fn begin(&mut self, operators: &mut Operators, begin: Begin) -> Result<u8, Refusal> {
        let login = begin.login;
        self.open_body = Some(begin.body.clone());
        let told = self.give(operators, Role::Broker, Input::Begin(Box::new(begin)));
        told.into_iter()
            .find_map(|event| match event {
                Event::Began {
                    login: of, number, ..
                } if of == login => Some(Ok(number)),
                Event::NotBegun { login: of, refusal } if of == login => Some(Err(refusal)),
                _ => None,
            })
            .unwrap()
    }

    pub fn cancel(&mut self, operators: &mut Operators, login: LoginId) -> Result<(), Refusal> {
        let told = self.give(operators, Role::Broker, Input::Cancel { login });
        let refusal = told.into_iter().find_map(|event| match event {
            Event::NotCancelled { refusal, .. } => Some(refusal),
            _ => None,
        });
        refusal.map_or(Ok(()), Err)
    }

    pub fn approve(&mut self, operators: &mut Operators, number: u8) {
        let hash = self.prompt.unwrap();
        self.give(operators, Role::Device, Input::Approve { hash, number });
    }

    pub fn deny(&mut self, operators: &mut Operators) {
        let hash = self.prompt.unwrap();
        let not_me = false;
        self.give(operators, Role::Device, Input::Deny { hash, not_me });
    }

    pub fn freeze(&mut self, operators: &mut Operators) {
        self.give(operators, Role::Broker, Input::Freeze);
    }

    pub fn tick(&mut self, operators: &mut Operators) {
        for role in Role::ALL {
            self.give(operators, role, Input::Tick);
        }
    }

    /// A whole admitted proposal.
    pub fn admit(
        &mut self,
        operators: &mut Operators,
        kind: Kind,
        aud: &str,
        nonce: &str,
        body: Body,
    ) -> Sealed {
        let mut id = [0; 16];
        operators.entropy.fill(&mut id);
        let login = LoginId(id);
        let number = self
            .begin(
                operators,
                Begin {
                    login,
                    caller: "shop".to_owned(),
                    aud: aud.to_owned(),
                    nonce: nonce.to_owned(),
                    kind,
                    body,
                    lifetime_s: 90,
                },
            )
            .unwrap();
        self.approve(operators, number);
        match &self.ended[&login] {
            Outcome::Admitted(sealed) => (**sealed).clone(),
            other => panic!("login ended with {other:?}"),
        }
    }

    fn give(&mut self, operators: &mut Operators, to: Role, input: Input) -> Vec<Event> {
        let out = self.handle(operators, to, input);
        self.run(operators, to, out)
    }

    fn handle(&mut self, operators: &mut Operators, to: Role, input: Input) -> Vec<Output> {
        let (now, entropy) = (operators.now, &mut operators.entropy);
        match to {
            Role::Device => self.device.handle(now, input, entropy),
            Role::Broker => self.broker.handle(now, input, entropy),
            Role::TrustOperator => self.trust_operator.handle(now, input, entropy),
        }
    }

    /// Delivers until nothing is under way.
    fn run(&mut self, operators: &mut Operators, by: Role, outputs: Vec<Output>) -> Vec<Event> {
        let mut told = Vec::new();
        let mut queue = VecDeque::new();
        self.perform(by, outputs, &mut queue, &mut told);
        while let Some((from, to, agree)) = queue.pop_front() {
            let out = self.handle(operators, to, Input::Message { from, agree });
            self.perform(to, out, &mut queue, &mut told);
        }
        told
    }

    fn perform(
        &mut self,
        role: Role,
        outputs: Vec<Output>,
        queue: &mut VecDeque<(Role, Role, Agree)>,
        told: &mut Vec<Event>,
    ) {
        let place = usize::from(role.number()) - 1;
        for output in outputs {
            match output {
                Output::Send { to, agree } => queue.push_back((role, to, agree)),
                Output::Store(Record::Sealed(sealed)) => {
                    if let (Some(_), Role::Broker) = (sealed.block.claims().body, role) {
                        let body = self.open_body.clone().unwrap();
                        self.bodies.insert(sealed.block.hash(), body);
                    }
                    self.chains[place].push(*sealed);
                }
                Output::SendBlocks { to, from, until } => {
                    let chain = &self.chains[place];
                    let blocks = chain
                        .iter()
                        .filter(|sealed| (from..=until).contains(&sealed.block.claims().height))
                        .cloned()
                        .collect();
                    queue.push_back((role, to, Agree::Blocks { sealed: blocks }));
                }
                Output::Tell(event) => {
                    match &event {
                        Event::Prompt(prompt) => self.prompt = Some(prompt.hash),
                        Event::Ended { login, outcome } => {
                            self.ended.insert(*login, outcome.clone());
                        }
                        Event::Fault(fault) => panic!("{fault}"),
                        _ => {}
                    }
                    told.push(event);
                }
                Output::Store(_) | Output::KeepSalt { .. } | Output::ForgetShare => {}
            }
        }
    }
}

/// A body for a channel.
pub fn body(channel: &str) -> Body {
    Body {
        channel: channel.to_owned(),
        address: "203.0.113.7".to_owned(),
        details: Vec::new(),
        reference: None,
    }
}
