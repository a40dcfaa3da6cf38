//! Three real machines of one account, their records, and the mail between them; no clock, no
//! network and no chance of its own.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, OnceLock},
};

use warifu_consensus::{
    agree::{
        Begin, Broker, Device, Event, Founding, Input, LoginId, Outcome, Output, Record,
        TrustOperator, TrustOperatorOptions,
    },
    block::{Class, Kind, Sealed},
    body::{Body, ContentKey, Detail},
    encoding::{Hash, text_b64},
    party::{Ledger, Role, Sub},
    random::SeededEntropy,
    share::KeyShare,
    signature::IdentityKey,
    time::Time,
    wire::{Agree, Message},
};

use crate::enrolling;

/// When every story begins, in milliseconds since the Unix epoch.
pub const START_MS: u64 = 1_800_000_000_000;

/// The ledger of every story.
pub fn ledger() -> Ledger {
    Ledger {
        iss: "https://ledger.example".into(),
        broker: operator(Role::Broker).public(),
        trust_operator: operator(Role::TrustOperator).public(),
    }
}

/// An operator's key.
pub fn operator(role: Role) -> Arc<IdentityKey> {
    Arc::new(IdentityKey::from_seed([role.number(); 32]))
}

/// A role's place in arrays of three.
pub fn at(role: Role) -> usize {
    usize::from(role.number()) - 1
}

/// What an enrolment leaves.
#[derive(Clone)]
pub struct Founded {
    /// What all three voted for.
    pub founding: Founding,
    /// The device's identity key.
    pub device: Arc<IdentityKey>,
    /// The key shares, encoded, in role order.
    pub shares: [Vec<u8>; 3],
    /// The content key of device and broker.
    pub content_key: [u8; 32],
}

/// An account with a genesis and a login, made once.
pub struct Standing {
    /// The enrolment.
    pub founded: Founded,
    /// Every record of each party, in role order.
    pub records: [Vec<Record>; 3],
    /// The frames that were sent.
    pub frames: Vec<(Role, Role, Agree)>,
    /// The account's public key.
    pub account_key: [u8; 32],
    /// The sealed login.
    pub login: Sealed,
}

/// The account that every story begins with.
pub fn standing() -> &'static Standing {
    static STANDING: OnceLock<Standing> = OnceLock::new();
    STANDING.get_or_init(|| {
        let founded = enrolling::found();
        let record = || vec![Record::Founding(Box::new(founded.founding.clone()))];
        let mut trio = Trio::new(&founded, [record(), record(), record()]);
        let mut frames = Vec::new();
        trio.lines(true);
        trio.open_genesis();
        trio.settle(&mut frames);
        trio.begin(Kind::Login);
        trio.settle(&mut frames);
        let (hash, number) = (trio.prompts[0], trio.number.unwrap());
        trio.feed(Role::Device, Input::Approve { hash, number });
        trio.settle(&mut frames);
        trio.begin(Kind::Login);
        trio.settle(&mut frames);
        let hash = *trio.prompts.last().unwrap();
        trio.feed(Role::Device, Input::Deny { hash, not_me: true });
        trio.settle(&mut frames);
        let sealed = |record: &Record| match record {
            Record::Sealed(sealed) if sealed.block.claims().kind == Kind::Login => {
                Some(Sealed::clone(sealed))
            }
            _ => None,
        };
        let login = trio.records[1].iter().find_map(sealed).expect("a login");
        Standing {
            account_key: *KeyShare::decode(&founded.shares[0])
                .unwrap()
                .public_keys()
                .group(),
            founded,
            frames,
            login,
            records: trio.records,
        }
    })
}

enum Machine {
    Device(Box<Device>),
    Broker(Box<Broker>),
    TrustOperator(Box<TrustOperator>),
}

/// Signatures of one party, by height: what a lock forbids to be two.
#[derive(Default)]
struct Signed {
    admits: BTreeMap<u64, Hash>,
    restricts: BTreeMap<u64, Hash>,
    sealed: BTreeMap<u64, Hash>,
    superseded: BTreeMap<Hash, Hash>,
}

/// See the module.
pub struct Trio {
    founded: Founded,
    machines: [Option<Machine>; 3],
    /// Durable: what each party keeps, in role order.
    pub records: [Vec<Record>; 3],
    signed: [Signed; 3],
    /// Messages on their way.
    pub mail: VecDeque<(Role, Role, Agree)>,
    /// Each party's clock, in role order.
    pub clocks: [u64; 3],
    /// What the device asked for, newest last.
    pub prompts: Vec<Hash>,
    /// The number on the page.
    pub number: Option<u8>,
    /// The login that was begun last.
    pub login: LoginId,
    entropy: SeededEntropy,
    begun: u64,
}

/// Most messages on their way: a story is no flood.
const MAIL: usize = 256;

impl Trio {
    /// Three machines that come back from these records.
    pub fn new(founded: &Founded, records: [Vec<Record>; 3]) -> Self {
        let mut trio = Self {
            founded: founded.clone(),
            machines: [None, None, None],
            records,
            signed: Default::default(),
            mail: VecDeque::new(),
            clocks: [START_MS; 3],
            prompts: Vec::new(),
            number: None,
            login: LoginId([0; 16]),
            entropy: SeededEntropy::new([5; 32]),
            begun: 0,
        };
        for role in Role::ALL {
            for record in trio.records[at(role)].clone() {
                trio.signed[at(role)].kept(role, &record);
            }
            trio.restart(role);
        }
        trio
    }

    /// RAM is gone; the party starts from its records.
    pub fn restart(&mut self, role: Role) {
        let number = at(role);
        let is_checkpoint = |record: &Record| matches!(record, Record::Checkpoint(_));
        let last = self.records[number].iter().rposition(is_checkpoint);
        let records = self.records[number][last.unwrap_or(0)..].to_vec();
        let key = match role {
            Role::Device => Arc::clone(&self.founded.device),
            operator_role => operator(operator_role),
        };
        let share = Some(KeyShare::decode(&self.founded.shares[number]).unwrap());
        let content_key = ContentKey::from_bytes(self.founded.content_key);
        let machine = match role {
            Role::Device => Device::recover(records, key, share, content_key)
                .map(|machine| Machine::Device(Box::new(machine))),
            Role::Broker => Broker::recover(records, key, share, Some(content_key))
                .map(|machine| Machine::Broker(Box::new(machine))),
            Role::TrustOperator => {
                let options = TrustOperatorOptions {
                    unfreeze_delay_s: 0,
                };
                TrustOperator::recover(records, key, share, options)
                    .map(|machine| Machine::TrustOperator(Box::new(machine)))
            }
        };
        let machine = machine.unwrap_or_else(|error| panic!("the {role} does not start: {error}"));
        self.machines[number] = Some(machine);
    }

    /// All lines come up, or go down.
    pub fn lines(&mut self, up: bool) {
        for role in Role::ALL {
            for peer in Role::ALL.into_iter().filter(|peer| *peer != role) {
                self.line(role, peer, up);
            }
        }
    }

    /// A party learns of one line.
    pub fn line(&mut self, role: Role, peer: Role, up: bool) {
        let input = if up {
            Input::LineUp(peer)
        } else {
            Input::LineDown(peer)
        };
        self.feed(role, input);
    }

    /// The broker's node proposes the genesis.
    pub fn open_genesis(&mut self) {
        let now = Time(self.clocks[at(Role::Broker)]);
        if let Some(Machine::Broker(broker)) = &mut self.machines[at(Role::Broker)] {
            let outputs = broker.open_genesis(now, 90, &mut self.entropy);
            self.perform(Role::Broker, outputs, usize::MAX);
        }
    }

    /// A login service asks for something of this kind.
    pub fn begin(&mut self, kind: Kind) {
        self.begun += 1;
        let mut name = [0; 16];
        name[..8].copy_from_slice(&self.begun.to_le_bytes());
        self.login = LoginId(name);
        let begin = Begin {
            login: self.login,
            caller: "shop".into(),
            aud: "https://shop.example".into(),
            nonce: text_b64(&name),
            kind,
            body: Body {
                channel: "web".into(),
                address: "192.0.2.7".into(),
                details: vec![Detail {
                    label: "amount".into(),
                    value: "12.00 EUR".into(),
                }],
                reference: (kind == Kind::Unfreeze).then(|| "desk 4711".to_owned()),
            },
            lifetime_s: 90,
        };
        self.feed(Role::Broker, Input::Begin(Box::new(begin)));
    }

    /// Moves a party's machine.
    pub fn feed(&mut self, role: Role, input: Input) {
        self.feed_until(role, input, usize::MAX);
    }

    /// Moves a party's machine; it stops after so many of the outputs, and starts again.
    pub fn feed_until(&mut self, role: Role, input: Input, outputs: usize) {
        let now = Time(self.clocks[at(role)]);
        let Some(machine) = &mut self.machines[at(role)] else {
            return;
        };
        let entropy = &mut self.entropy;
        let asked = match machine {
            Machine::Device(machine) => machine.handle(now, input, entropy),
            Machine::Broker(machine) => machine.handle(now, input, entropy),
            Machine::TrustOperator(machine) => machine.handle(now, input, entropy),
        };
        self.perform(role, asked, outputs);
    }

    /// When the party wants to be called.
    pub fn deadline(&self, role: Role) -> Option<u64> {
        let deadline = match self.machines[at(role)].as_ref()? {
            Machine::Device(machine) => machine.deadline(),
            Machine::Broker(machine) => machine.deadline(),
            Machine::TrustOperator(machine) => machine.deadline(),
        };
        deadline.map(|time| time.0)
    }

    fn perform(&mut self, role: Role, outputs: Vec<Output>, until: usize) {
        let stops = until < outputs.len();
        for output in outputs.into_iter().take(until) {
            match output {
                Output::Store(record) => {
                    self.signed[at(role)].kept(role, &record);
                    self.records[at(role)].push(record);
                }
                Output::Send { to, agree } => self.send(role, to, agree),
                Output::SendBlocks { to, from, until } => {
                    let heights = from..=until;
                    let sealed = self.records[at(role)]
                        .iter()
                        .filter_map(|record| match record {
                            Record::Sealed(sealed) => Some(Sealed::clone(sealed)),
                            _ => None,
                        });
                    let sealed = sealed
                        .filter(|sealed| heights.contains(&sealed.block.claims().height))
                        .take(8)
                        .collect();
                    self.send(role, to, Agree::Blocks { sealed });
                }
                Output::Tell(event) => self.told(role, &event),
                Output::KeepSalt { .. } | Output::ForgetShare => {}
            }
        }
        if stops {
            self.restart(role);
        }
    }

    fn send(&mut self, from: Role, to: Role, agree: Agree) {
        self.signed[at(from)].sent(from, &agree);
        if self.mail.len() < MAIL {
            self.mail.push_back((from, to, agree));
        }
    }

    fn told(&mut self, role: Role, event: &Event) {
        match event {
            Event::Prompt(prompt) if role == Role::Device => self.prompts.push(prompt.hash),
            Event::Began { number, .. } => self.number = Some(*number),
            Event::Ended {
                outcome: Outcome::Admitted(sealed),
                ..
            } => {
                let hash = sealed.block.hash();
                let broker = &self.signed[at(Role::Broker)];
                assert!(
                    !broker.superseded.contains_key(&hash),
                    "admitted after it was superseded"
                );
            }
            _ => {}
        }
        let _ = format!("{event:?}");
    }

    /// Delivers all mail, oldest first, and keeps a copy.
    pub fn settle(&mut self, frames: &mut Vec<(Role, Role, Agree)>) {
        for _ in 0..2000 {
            let Some((from, to, agree)) = self.mail.pop_front() else {
                return;
            };
            frames.push((from, to, agree.clone()));
            self.feed(to, Input::Message { from, agree });
        }
        panic!("the machines never fall silent");
    }

    /// The account.
    pub fn sub(&self) -> Sub {
        self.founded.founding.sub
    }

    /// The frame of a message.
    pub fn frame(&self, agree: &Agree) -> Option<Vec<u8>> {
        let message = Message::Agree {
            sub: self.sub(),
            agree: Box::new(agree.clone()),
        };
        message.to_frame().ok()
    }
}

impl Signed {
    fn once(place: &mut BTreeMap<u64, Hash>, height: u64, hash: Hash, what: &str) {
        let first = *place.entry(height).or_insert(hash);
        assert_eq!(first, hash, "{what} at height {height}");
    }

    /// Rule 1: one admit and one restrict signature per height, one sealed block.
    fn kept(&mut self, role: Role, record: &Record) {
        let (block, place, what) = match record {
            Record::DeviceLock(block) => (block, &mut self.admits, "the device locks two"),
            Record::BrokerLock(lock) => (&lock.block, &mut self.admits, "the broker locks two"),
            Record::RestrictLock(lock) => {
                if let Some(superseded) = &lock.superseded {
                    let hash = lock.block.hash();
                    self.superseded.insert(superseded.hash(), hash);
                }
                let what = "the broker signs two restrict blocks";
                (&lock.block, &mut self.restricts, what)
            }
            Record::Sealed(sealed) => {
                let next = self
                    .sealed
                    .last_key_value()
                    .map_or(0, |(height, _)| height + 1);
                let claims = sealed.block.claims();
                assert_eq!(claims.height, next, "the {role}'s chain has a gap");
                (&sealed.block, &mut self.sealed, "two are sealed")
            }
            _ => return,
        };
        Self::once(place, block.claims().height, block.hash(), what);
    }

    /// Durable before visible: what carries a signature was locked before it left.
    fn sent(&mut self, role: Role, agree: &Agree) {
        match agree {
            Agree::Assent { hash, .. } => {
                assert!(
                    self.admits.values().any(|locked| locked == hash),
                    "the device assents without a lock"
                );
            }
            Agree::Endorse { block, .. } => {
                let height = block.claims().height;
                assert_eq!(block.claims().kind.class(), Class::Admit);
                assert_eq!(
                    self.admits.get(&height),
                    Some(&block.hash()),
                    "the broker endorses without a lock"
                );
                assert!(
                    !self.superseded.contains_key(&block.hash()),
                    "the broker endorses what it superseded"
                );
            }
            Agree::Restrict { block, .. } => {
                let height = block.claims().height;
                assert_eq!(
                    self.restricts.get(&height),
                    Some(&block.hash()),
                    "the broker sends a restrict block without its lock"
                );
            }
            Agree::Blocks { sealed } => {
                for sealed in sealed {
                    let height = sealed.block.claims().height;
                    let kept = self.sealed.get(&height);
                    assert_eq!(
                        kept,
                        Some(&sealed.block.hash()),
                        "the {role} sends a block that it does not keep"
                    );
                }
            }
            _ => {}
        }
    }
}
