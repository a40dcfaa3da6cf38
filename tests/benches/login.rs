//! What the rules themselves cost: logins agreed by the three real machines in one thread, every
//! message encoded and decoded as on the wire, nothing stored and nothing sent. Prints this thread's
//! CPU time per login, in all and by party, beside the library's floor measured in turns with it, so
//! that the ratio holds on a busy machine. Asserts no time.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench that can't go on has nothing to say"
)]

use std::{collections::VecDeque, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use warifu_consensus::{
    agree::{Begin, Event, Input, LoginId, Outcome, Output, TrustOperatorOptions},
    block::Kind,
    body::Body,
    encoding::text_b64,
    party::Role,
    share::floor::Floor,
    time::Time,
    wire::Message,
};
use warifu_simulator::{
    chance::Chance,
    founded::{START_MS, found, operators},
    party::{Machine, Seat, at},
};

const WARM_UP: u32 = 50;
const LOGINS: u32 = 1_000;

/// This thread's CPU time.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(now).expect("a thread's clock does not run backwards")
}

struct Table {
    seats: [Seat; 3],
    chance: Chance,
    now: Time,
    mail: VecDeque<(Role, Role, Vec<u8>)>,
    spent: [Duration; 3],
    number: Option<u8>,
    admitted: u32,
}

impl Table {
    fn new() -> Self {
        let founded = found(1);
        let operators = operators();
        let keys = [
            founded.device.clone(),
            operators.broker.clone(),
            operators.trust_operator.clone(),
        ];
        let mut shares = founded.shares.into_iter();
        let mut journals = founded.journals.into_iter();
        let mut keys = keys.into_iter();
        let seats = Role::ALL.map(|role| {
            let mut seat = Seat::new(role, keys.next().expect("three keys"));
            seat.share = shares.next();
            seat.records = journals.next().expect("three journals");
            seat.content_key = (role != Role::TrustOperator).then_some(founded.content_key);
            seat.recover(TrustOperatorOptions {
                unfreeze_delay_s: 0,
            })
            .expect("a founded seat");
            seat
        });
        Self {
            seats,
            chance: Chance::new(1, 1),
            now: Time(START_MS),
            mail: VecDeque::new(),
            spent: [Duration::ZERO; 3],
            number: None,
            admitted: 0,
        }
    }

    fn feed(&mut self, role: Role, input: Input) {
        let began = cpu();
        let machine = self.seats[at(role)].machine.as_mut().expect("recovered");
        let outputs = machine.handle(self.now, input, &mut self.chance);
        let inputs = self.perform(role, outputs);
        self.spent[at(role)] += cpu() - began;
        for input in inputs {
            self.feed(role, input);
        }
    }

    /// Encodes what is sent; answers what the page and the customer do about the rest.
    fn perform(&mut self, role: Role, outputs: Vec<Output>) -> Vec<Input> {
        let machine = self.seats[at(role)].machine.as_ref().expect("recovered");
        let sub = machine.base().sub();
        let mut inputs = Vec::new();
        for output in outputs {
            match output {
                Output::Send { to, agree } => {
                    let agree = Box::new(agree);
                    let frame = Message::Agree { sub, agree }.to_frame();
                    self.mail.push_back((role, to, frame.expect("a frame")));
                }
                Output::Tell(Event::Began { number, .. }) => self.number = Some(number),
                Output::Tell(Event::Prompt(prompt)) => inputs.push(Input::Approve {
                    hash: prompt.hash,
                    number: self.number.take().expect("a number on the page"),
                }),
                Output::Tell(Event::Ended { outcome, .. }) => {
                    assert!(matches!(outcome, Outcome::Admitted(_)), "{outcome:?}");
                    self.admitted += 1;
                }
                _ => {}
            }
        }
        inputs
    }

    fn settle(&mut self) {
        while let Some((from, to, frame)) = self.mail.pop_front() {
            let began = cpu();
            let message = Message::from_frame(&frame).expect("an honest frame");
            self.spent[at(to)] += cpu() - began;
            if let Message::Agree { agree, .. } = message {
                self.feed(
                    to,
                    Input::Message {
                        from,
                        agree: *agree,
                    },
                );
            }
        }
    }

    fn begin(&mut self) {
        let nonce: [u8; 16] = self.chance.bytes();
        let begin = Begin {
            login: LoginId(self.chance.bytes()),
            caller: "shop".into(),
            aud: "https://shop.example".into(),
            nonce: text_b64(&nonce),
            kind: Kind::Login,
            body: Body {
                channel: "web".into(),
                address: "192.0.2.7".into(),
                details: Vec::new(),
                reference: None,
            },
            lifetime_s: 90,
        };
        self.feed(Role::Broker, Input::Begin(Box::new(begin)));
    }

    fn open_genesis(&mut self) {
        let Some(Machine::Broker(broker)) = &mut self.seats[at(Role::Broker)].machine else {
            panic!("the broker's seat holds a broker");
        };
        let outputs = broker.open_genesis(self.now, 90, &mut self.chance);
        self.perform(Role::Broker, outputs);
        self.settle();
    }

    fn login(&mut self) {
        // Slowly enough for the trust operator's pace.
        self.now = Time(self.now.0 + 1_000);
        self.begin();
        self.settle();
    }
}

fn main() {
    let mut table = Table::new();
    for (one, other) in [
        (Role::Broker, Role::TrustOperator),
        (Role::TrustOperator, Role::Broker),
        (Role::Broker, Role::Device),
        (Role::Device, Role::Broker),
    ] {
        table.feed(one, Input::LineUp(other));
    }
    table.settle();
    table.open_genesis();
    table.settle();
    for _ in 0..WARM_UP {
        table.login();
    }
    table.spent = [Duration::ZERO; 3];
    let floor = Floor::new(&mut table.chance).expect("a key");
    let mut least = Duration::ZERO;
    let before = table.admitted;
    for _ in 0..LOGINS {
        table.login();
        let began = cpu();
        floor
            .login(b"header.claims", &mut table.chance)
            .expect("a signature");
        least += cpu() - began;
    }
    assert_eq!(table.admitted - before, LOGINS, "every login is admitted");
    let micros = |spent: Duration| spent.as_secs_f64() * 1e6 / f64::from(LOGINS);
    println!("{:<16} {:>12} {:>8}", "party", "us_per_login", "ratio");
    let all = table.spent.iter().sum();
    let parties = Role::ALL.map(|role| (role.to_string(), table.spent[at(role)]));
    for (name, spent) in parties
        .into_iter()
        .chain([("all".into(), all), ("floor".into(), least)])
    {
        let ratio = spent.as_secs_f64() / least.as_secs_f64();
        println!("{name:<16} {:>12.0} {ratio:>8.2}", micros(spent));
    }
}
