//! What the rules themselves cost: logins agreed by the three real machines in one thread, every
//! message encoded and decoded as on the wire, nothing stored and nothing sent. Prints CPU time per
//! login, in all and by party; no assertion about time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use warifu_consensus::{
    agree::{Begin, Event, Input, LoginId, Outcome, Output, TrustOperatorOptions},
    block::Kind,
    body::Body,
    encoding::text_b64,
    party::Role,
    time::Time,
    wire::Message,
};
use warifu_tests::scenario::{
    chance::Chance,
    founded::{START_MS, found, operators},
    party::{Seat, at},
};

const WARM_UP: u32 = 50;
const LOGINS: u32 = 1_000;

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
        let began = Instant::now();
        let machine = self.seats[at(role)].machine.as_mut().expect("recovered");
        let outputs = machine.handle(self.now, input, &mut self.chance);
        let mut inputs = Vec::new();
        for output in outputs {
            match output {
                Output::Send { to, agree } => {
                    let sub = machine.base().sub();
                    let message = Message::Agree {
                        sub,
                        agree: Box::new(agree),
                    };
                    let frame = message.to_frame().expect("a frame");
                    self.mail.push_back((role, to, frame));
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
        self.spent[at(role)] += began.elapsed();
        for input in inputs {
            self.feed(role, input);
        }
    }

    fn settle(&mut self) {
        while let Some((from, to, frame)) = self.mail.pop_front() {
            let began = Instant::now();
            let message = Message::from_frame(&frame).expect("an honest frame");
            self.spent[at(to)] += began.elapsed();
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
    if let Some(super_machine) = table.seats[at(Role::Broker)].machine.as_mut()
        && let warifu_tests::scenario::party::Machine::Broker(broker) = super_machine
    {
        let outputs = broker.open_genesis(table.now, 90, &mut table.chance);
        for output in outputs {
            if let Output::Send { to, agree } = output {
                let sub = broker.base().sub();
                let message = Message::Agree {
                    sub,
                    agree: Box::new(agree),
                };
                let frame = message.to_frame().expect("a frame");
                table.mail.push_back((Role::Broker, to, frame));
            }
        }
    }
    table.settle();
    for _ in 0..WARM_UP {
        table.login();
    }
    table.spent = [Duration::ZERO; 3];
    let before = table.admitted;
    for _ in 0..LOGINS {
        table.login();
    }
    assert_eq!(table.admitted - before, LOGINS, "every login is admitted");
    let micros = |spent: Duration| spent.as_secs_f64() * 1e6 / f64::from(LOGINS);
    println!("party            us_per_login");
    for role in Role::ALL {
        println!("{:<16} {:>12.0}", role.to_string(), micros(table.spent[at(role)]));
    }
    println!("{:<16} {:>12.0}", "all", micros(table.spent.iter().sum()));
}
