//! The world: nodes with clocks and disks, lines between them, and one queue of events in virtual
//! time. Performs what the machines ask for, in order, and can stop a node between any two outputs.

mod lines;

use std::collections::{BTreeMap, VecDeque};

use warifu_consensus::{
    agree::{Event, Input, LoginId, Output, Record, TrustOperatorOptions},
    block::Sealed,
    encoding::Hash,
    enrol::{SixDigits, Ticket},
    party::{Role, Sub},
    time::Time,
    wire::{self, Agree, MAX_BLOCKS_BYTES, MAX_FRAME, Message},
};

use super::{
    chance::Chance,
    founded::{Founded, START_MS},
    hostile::Hostile,
    invariants::Invariants,
    network::{Item, Line, NodeId, Weather},
    party::{Seat, at},
};

/// Something that will happen.
#[derive(Debug, Clone)]
pub enum Deed {
    /// An item reaches an end of a line.
    Arrive {
        /// The line.
        line: usize,
        /// Which end.
        end: usize,
        /// The session that it was sent in.
        session: u64,
        /// What arrives.
        item: Item,
    },
    /// A line is made anew, if both nodes run.
    Connect(usize),
    /// A line is lost with all that is unread.
    DropLine(usize),
    /// A machine's deadline.
    Tick(usize, Role),
    /// A node starts from its disk.
    Start(NodeId),
    /// A node stops for so many milliseconds.
    Stop(NodeId, u64),
    /// An input from outside.
    Feed(usize, Role, Box<Input>),
    /// A login service begins something.
    Begin(usize),
    /// A login service takes its login back.
    Cancel(usize, LoginId),
    /// The customer answers a prompt.
    Answer(usize, Hash, Answer),
    /// A party is set back to an older copy of its disk.
    SetBack(Role),
    /// The customer scans the ticket.
    Scan(usize),
    /// The customer types the six digits.
    TypeDigits(usize, SixDigits),
}

/// What a customer does with a prompt.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// Types this number.
    Number(u8),
    /// Denies, with "it wasn't me" or without.
    Deny(bool),
    /// Freezes the account on the device.
    Freeze,
}

/// How customers behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// All kinds of answers.
    Human,
    /// Always the right number.
    Willing,
    /// Nobody answers: a scenario does it by hand.
    ByHand,
}

/// A running or stopped node.
#[derive(Debug)]
pub struct Node {
    /// Whether it runs.
    pub up: bool,
    /// Its clock minus true time, in milliseconds.
    pub skew_ms: i64,
}

/// One account of the world.
pub struct Place {
    /// The three seats in role order.
    pub seats: [Seat; 3],
    /// The account's name, once founded.
    pub sub: Option<Sub>,
    /// The enrolment's ticket.
    pub ticket: Option<Ticket>,
    /// Device prompts that stand, newest last.
    pub prompts: Vec<(Hash, String)>,
    /// Events told, newest last: role and event.
    pub told: Vec<(Role, Event)>,
}

/// See the module.
pub struct World {
    /// True time in milliseconds since the Unix epoch.
    pub now: u64,
    queue: BTreeMap<(u64, u64), Deed>,
    sequence: u64,
    /// Broker, trust operator, devices.
    pub nodes: Vec<Node>,
    /// All lines.
    pub lines: Vec<Line>,
    /// All accounts.
    pub places: Vec<Place>,
    /// Choices.
    pub chance: Chance,
    /// The machines' randomness.
    pub entropy: Chance,
    /// What must hold.
    pub invariants: Invariants,
    /// The cheating party.
    pub hostile: Option<Hostile>,
    /// The network.
    pub weather: Weather,
    /// A node stops during one in so many moves, between two outputs; 0 = never.
    pub crash_one_in: u64,
    /// How customers answer.
    pub mood: Mood,
    /// The trust operator's policy.
    pub options: TrustOperatorOptions,
    /// Messages that the network loses with their line, by name: for scenarios by hand.
    pub lose: Option<(Role, &'static str)>,
    /// Everything sent, when a scenario listens.
    pub heard: Option<Vec<(Role, Role, Agree)>>,
    /// The last things that happened.
    pub story: VecDeque<String>,
}

const STORY_LINES: usize = 90;

impl World {
    /// A world of these accounts, at rest: all nodes run, no line is up.
    #[must_use]
    pub fn new(seed: u64, founded: &[Founded], hostile: Option<Hostile>) -> Self {
        let role = hostile.as_ref().map(|h| h.role);
        let mut world = Self::empty(seed, founded.len(), role);
        world.hostile = hostile;
        for (account, f) in founded.iter().enumerate() {
            world.settle(account, f);
        }
        world
    }

    fn empty(seed: u64, accounts: usize, hostile: Option<Role>) -> Self {
        let mut lines = vec![Line::new([0, 1])];
        let mut nodes = vec![];
        for node in 0..2 + accounts {
            nodes.push(Node {
                up: true,
                skew_ms: 0,
            });
            if node >= 2 {
                lines.push(Line::new([node, 0]));
                lines.push(Line::new([node, 1]));
            }
        }
        Self {
            now: START_MS,
            queue: BTreeMap::new(),
            sequence: 0,
            nodes,
            lines,
            places: vec![],
            chance: Chance::new(seed, 1),
            entropy: Chance::new(seed, 2),
            invariants: Invariants::new(accounts, hostile),
            hostile: None,
            weather: Weather::FAIR,
            crash_one_in: 0,
            mood: Mood::Willing,
            options: TrustOperatorOptions {
                unfreeze_delay_s: 0,
            },
            lose: None,
            heard: None,
            story: VecDeque::new(),
        }
    }

    /// Puts an account into the world with its journals.
    fn settle(&mut self, account: usize, founded: &Founded) {
        let operators = super::founded::operators();
        let keys = [
            &founded.device,
            &operators.broker,
            &operators.trust_operator,
        ];
        let mut seats = Role::ALL.map(|role| Seat::new(role, keys[at(role)].clone()));
        for (seat, journal) in seats.iter_mut().zip(&founded.journals) {
            seat.share = Some(founded.shares[at(seat.role)].clone());
            if seat.role != Role::TrustOperator {
                seat.content_key = Some(founded.content_key);
            }
            seat.consumed = true;
            seat.records = journal.clone();
            seat.recover(self.options).expect("a journal of a calm run");
        }
        // As they came about: signatures before the seal, the trust operator's seal first.
        for sealed in [false, true] {
            for role in [Role::TrustOperator, Role::Broker, Role::Device] {
                let is = |r: &&Record| matches!(r, Record::Sealed(_)) == sealed;
                for record in founded.journals[at(role)].iter().filter(is) {
                    let now = Time(self.now);
                    self.invariants.stored(account, role, record, now);
                }
            }
        }
        self.places.push(Place {
            seats,
            sub: Some(founded.founding.sub),
            ticket: None,
            prompts: vec![],
            told: vec![],
        });
    }

    /// Adds an account that is not enrolled yet; its device node must exist.
    pub fn settle_stranger(
        &mut self,
        ticket: Ticket,
        device: std::sync::Arc<warifu_consensus::signature::IdentityKey>,
    ) {
        let operators = super::founded::operators();
        let keys = [
            device,
            operators.broker.clone(),
            operators.trust_operator.clone(),
        ];
        let mut keys = keys.into_iter();
        let seats = Role::ALL.map(|role| Seat::new(role, keys.next().expect("three keys")));
        self.places.push(Place {
            seats,
            sub: None,
            ticket: Some(ticket),
            prompts: vec![],
            told: vec![],
        });
    }

    /// A world with room for strangers.
    #[must_use]
    pub fn for_strangers(seed: u64, accounts: usize, hostile: Option<Role>) -> Self {
        Self::empty(seed, accounts, hostile)
    }

    /// The node of a party.
    #[must_use]
    pub fn node_of(account: usize, role: Role) -> NodeId {
        match role {
            Role::Broker => 0,
            Role::TrustOperator => 1,
            Role::Device => 2 + account,
        }
    }

    /// A party's own clock.
    #[must_use]
    pub fn clock(&self, account: usize, role: Role) -> Time {
        let skew = self.nodes[Self::node_of(account, role)].skew_ms;
        Time(self.now.saturating_add_signed(skew))
    }

    /// One party's place.
    #[must_use]
    pub fn seat(&self, account: usize, role: Role) -> &Seat {
        &self.places[account].seats[at(role)]
    }

    pub(super) fn seat_mut(&mut self, account: usize, role: Role) -> &mut Seat {
        &mut self.places[account].seats[at(role)]
    }

    /// Adds a line to the story.
    pub fn tell_story(&mut self, line: String) {
        if self.story.len() >= STORY_LINES {
            self.story.pop_front();
        }
        let t = (self.now - START_MS) as f64 / 1000.0;
        self.story.push_back(format!("{t:>10.3} {line}"));
    }

    /// Schedules a deed.
    pub fn after(&mut self, delay_ms: u64, deed: Deed) {
        self.at(self.now + delay_ms, deed);
    }

    fn at(&mut self, time: u64, deed: Deed) {
        self.sequence += 1;
        self.queue.insert((time, self.sequence), deed);
    }

    /// Lives until this true time, or until something does not hold.
    pub fn run_until(&mut self, end: u64) {
        while let Some(entry) = self.queue.first_entry() {
            let (time, _) = *entry.key();
            if time > end || !self.invariants.violations.is_empty() {
                break;
            }
            let deed = entry.remove();
            self.now = self.now.max(time);
            self.perform_deed(deed);
        }
        self.now = self.now.max(end);
    }

    /// Lives event by event until this is so, for at most so many seconds; whether it came about.
    pub fn run_to(&mut self, seconds: u64, so: impl Fn(&World) -> bool) -> bool {
        let end = self.now + seconds * 1000;
        loop {
            if so(self) {
                return true;
            }
            let next = self.queue.first_key_value().map(|((time, _), _)| *time);
            let Some(time) = next.filter(|t| *t <= end) else {
                self.now = self.now.max(end);
                return so(self);
            };
            let entry = self.queue.pop_first().expect("just seen");
            self.now = self.now.max(time);
            self.perform_deed(entry.1);
        }
    }

    /// Lives for so many seconds.
    pub fn run_for(&mut self, seconds: u64) {
        self.run_until(self.now + seconds * 1000);
    }

    fn perform_deed(&mut self, deed: Deed) {
        match deed {
            Deed::Arrive {
                line,
                end,
                session,
                item,
            } => self.arrive(line, end, session, item),
            Deed::Connect(line) => self.connect(line),
            Deed::DropLine(line) => self.drop_line(line),
            Deed::Tick(account, role) => self.tick(account, role),
            Deed::Start(node) => self.start(node),
            Deed::Stop(node, ms) => self.stop(node, ms),
            Deed::Feed(account, role, input) => self.feed(account, role, *input),
            Deed::Begin(account) => self.begin_something(account),
            Deed::Cancel(account, login) => {
                self.feed(account, Role::Broker, Input::Cancel { login });
            }
            Deed::Answer(account, hash, answer) => self.answer(account, hash, answer),
            Deed::SetBack(role) => self.set_back(role),
            Deed::Scan(account) => self.scan(account),
            Deed::TypeDigits(account, digits) => self.type_digits(account, digits),
        }
    }

    fn tick(&mut self, account: usize, role: Role) {
        let now = self.now;
        let seat = self.seat_mut(account, role);
        if seat.tick_at != Some(now) {
            return; // A newer deadline replaced this one.
        }
        seat.tick_at = None;
        let clock = self.clock(account, role);
        let seat = self.seat_mut(account, role);
        if let Some(enrolment) = &mut seat.enrolment {
            let outputs = enrolment.tick(clock);
            self.perform_enrolment(account, role, outputs);
        }
        let due = |seat: &Seat| {
            let deadline = seat
                .machine
                .as_ref()
                .and_then(super::party::Machine::deadline);
            deadline.is_some_and(|d| d <= clock)
        };
        if !due(self.seat(account, role)) {
            self.schedule_tick(account, role);
            return;
        }
        self.feed(account, role, Input::Tick);
        if self.seat(account, role).tick_at.is_some() && due(self.seat(account, role)) {
            let what = format!(
                "the {role}'s deadline stays in the past after a tick: its caller would spin"
            );
            self.invariants.failed(account, what);
        }
    }

    pub(super) fn schedule_tick(&mut self, account: usize, role: Role) {
        let skew = self.nodes[Self::node_of(account, role)].skew_ms;
        let now = self.now;
        let seat = self.seat_mut(account, role);
        let machine = seat
            .machine
            .as_ref()
            .and_then(super::party::Machine::deadline);
        let session = seat
            .enrolment
            .as_ref()
            .filter(|e| !e.is_over())
            .map(|e| e.deadline());
        let Some(deadline) = [machine, session].into_iter().flatten().min() else {
            seat.tick_at = None;
            return;
        };
        let at = deadline.0.saturating_add_signed(-skew).max(now);
        if seat.tick_at != Some(at) {
            seat.tick_at = Some(at);
            self.at(at, Deed::Tick(account, role));
        }
    }

    /// Moves a machine, if its node runs, and performs what it asks for.
    pub fn feed(&mut self, account: usize, role: Role, input: Input) {
        let node = Self::node_of(account, role);
        let clock = self.clock(account, role);
        if !self.nodes[node].up {
            return;
        }
        let taken = match &input {
            Input::Message { agree, .. } => Some(agree.clone()),
            _ => None,
        };
        let Some(machine) = &mut self.places[account].seats[at(role)].machine else {
            return;
        };
        let outputs = machine.handle(clock, input, &mut self.entropy);
        if self.perform(account, role, outputs) {
            if let Some(agree) = taken {
                self.invariants.took(account, role, &agree);
            }
            self.schedule_tick(account, role);
        }
    }

    /// Performs outputs in order; `false` when the node stopped on the way.
    pub fn perform(&mut self, account: usize, role: Role, outputs: Vec<Output>) -> bool {
        let stops =
            self.crash_one_in > 0 && !outputs.is_empty() && self.chance.one_in(self.crash_one_in);
        let cut = if stops {
            Some(self.chance.below(outputs.len() as u64 + 1) as usize)
        } else {
            None
        };
        let length = outputs.len();
        for (number, output) in outputs.into_iter().enumerate() {
            if cut == Some(number) {
                break;
            }
            self.perform_one(account, role, output);
        }
        if let Some(cut) = cut {
            self.tell_story(format!(
                "a{account} {role} stops after output {cut} of {length}"
            ));
            let ms = self.chance.between(200, 20_000);
            self.stop(Self::node_of(account, role), ms);
        }
        cut.is_none()
    }

    fn perform_one(&mut self, account: usize, role: Role, output: Output) {
        match output {
            Output::Store(record) => {
                self.tell_story(format!("a{account} {role} stores {}", brief(&record)));
                let clock = self.clock(account, role);
                self.invariants.stored(account, role, &record, clock);
                self.seat_mut(account, role).records.push(record);
            }
            Output::KeepSalt { .. } => {}
            Output::ForgetShare => self.seat_mut(account, role).share = None,
            Output::Send { to, agree } => self.send(account, role, to, agree),
            Output::SendBlocks { to, from, until } => {
                let sealed = self.stored_blocks(account, role, from, until);
                if !sealed.is_empty() {
                    self.send(account, role, to, Agree::Blocks { sealed });
                }
            }
            Output::Tell(event) => {
                let clock = self.clock(account, role);
                self.tell_story(format!("a{account} {role} tells {}", brief_event(&event)));
                self.invariants.told(account, role, &event, clock);
                self.react(account, role, &event);
                self.places[account].told.push((role, event));
            }
        }
    }

    fn stored_blocks(&self, account: usize, role: Role, from: u64, until: u64) -> Vec<Sealed> {
        let mut bytes = 0;
        let mut sealed = vec![];
        for block in self.seat(account, role).chain() {
            let height = block.block.claims().height;
            if height < from || height > until {
                continue;
            }
            bytes += wire::encode::<Sealed, MAX_FRAME>(block)
                .expect("a sealed block fits")
                .len();
            if bytes > MAX_BLOCKS_BYTES {
                break;
            }
            sealed.push(block.clone());
        }
        sealed
    }

    fn send(&mut self, account: usize, from: Role, to: Role, agree: Agree) {
        let sent = match self.hostile.take() {
            Some(mut hostile) if hostile.role == from => {
                let mail = hostile.outgoing(self, account, to, agree);
                self.hostile = Some(hostile);
                mail
            }
            hostile => {
                self.hostile = hostile;
                vec![(to, agree)]
            }
        };
        for (to, agree) in sent {
            self.post(account, from, to, agree);
        }
    }
}

/// A record in a few words.
#[must_use]
pub fn brief(record: &Record) -> String {
    match record {
        Record::Sealed(s) => format!(
            "sealed {} {}",
            s.block.claims().kind,
            s.block.claims().height
        ),
        Record::DeviceLock(b) => format!("its lock on {} {}", b.claims().kind, b.claims().height),
        Record::BrokerLock(l) => format!(
            "its lock on {} {}",
            l.block.claims().kind,
            l.block.claims().height
        ),
        Record::RestrictLock(l) => {
            let c = l.block.claims();
            let over = if c.supersedes.is_some() {
                " superseding"
            } else {
                ""
            };
            format!("its signature of {} {}{over}", c.kind, c.height)
        }
        Record::Word(w) => format!("word {} above {}", w.word.verb, w.above),
        Record::Founding(_) => "founding".into(),
        Record::Body { .. } => "body".into(),
        Record::Checkpoint(c) => format!("checkpoint at {}", c.head().height),
        Record::Settled => "nothing owed".into(),
        Record::Acked(h) => format!("ack of {}", h.height),
        Record::Conflict(s) => format!("conflict at {}", s.block.claims().height),
        other => format!("{other:?}"),
    }
}

fn brief_event(event: &Event) -> String {
    match event {
        Event::Prompt(p) => format!("prompt {} {}", p.claims.kind, p.claims.height),
        Event::Sealed(s) => format!(
            "sealed {} {}",
            s.block.claims().kind,
            s.block.claims().height
        ),
        Event::Ended { outcome, .. } => match outcome {
            warifu_consensus::agree::Outcome::Admitted(s) => {
                format!("admitted {}", s.block.claims().height)
            }
            other => format!("ended {other:?}"),
        },
        other => format!("{other:?}"),
    }
}
