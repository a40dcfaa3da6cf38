//! The world: nodes with clocks and disks, lines between them, and one queue of events in virtual
//! time. Performs what the machines ask for, in order, and shows the auditor all of it.

mod duties;
mod lines;
mod nodes;
mod perform;
mod words;

use std::collections::BTreeMap;

use warifu_consensus::{
    agree::{Begin, Event, Input, LoginId, Outcome, Record, TrustOperatorOptions},
    encoding::Hash,
    enrol::{SixDigits, Ticket},
    party::{Role, Sub},
    time::Time,
    wire::Agree,
};

use super::{
    audit::Auditor,
    chance::Chance,
    decisions::{Decisions, What},
    disk::{Disk, Room},
    eyes,
    founded::{Founded, START_MS, operators},
    hostile::Hostile,
    network::{Item, Line, NodeId, Weather},
    party::{Seat, at},
    story::Story,
};
pub use words::brief;

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
    /// A line cannot be made for so many milliseconds.
    Partition(usize, u64),
    /// Nothing reaches this end of a line for so many milliseconds; the other way is open.
    Stall(usize, usize, u64),
    /// A machine's deadline.
    Tick(usize, Role),
    /// A node starts from its disk.
    Start(NodeId),
    /// A node stops for so many milliseconds.
    Stop(NodeId, u64),
    /// A node's clock is set to true time and so many milliseconds.
    SetClock(NodeId, i64),
    /// A disk has this much room.
    SetRoom(NodeId, Room),
    /// A bit of a node's disk rots, and the node stops.
    Rot(NodeId, u64),
    /// A node's disk is replaced by an older copy: so many of its last frames are gone, at most.
    SetBack(NodeId, u64),
    /// An input from outside.
    Feed(usize, Role, Box<Input>),
    /// A login service begins something.
    Begin(usize),
    /// A login service takes its login back.
    Cancel(usize, LoginId),
    /// The customer answers a prompt.
    Answer(usize, Hash, Answer),
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

/// What goes wrong inside nodes: once in so many moves, 0 = never.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trouble {
    /// A node stops between two outputs.
    pub crash_one_in: u64,
    /// A sync fails.
    pub sync_fails_one_in: u64,
    /// An idle account leaves RAM.
    pub retire_one_in: u64,
}

/// A running or stopped node.
#[derive(Debug, Default)]
pub struct Node {
    /// Whether it runs.
    pub up: bool,
    /// Its clock minus true time, in milliseconds.
    pub skew_ms: i64,
    /// Its disk.
    pub disk: Disk,
    /// What its operator puts in place when the disk went bad, and how many frames older it is.
    pub backup: Option<(Disk, u64)>,
}

/// One login as its page sees it.
#[derive(Debug)]
pub struct Login {
    /// What was asked.
    pub begin: Begin,
    /// The number on the page, once the broker told it.
    pub number: Option<u8>,
    /// How it ended, as told first.
    pub ended: Option<Outcome>,
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
    /// The login service's logins.
    pub logins: BTreeMap<LoginId, Login>,
}

/// What happened, in numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Events of the queue.
    pub steps: u64,
    /// Nodes stopped, by a fault of theirs or a pulled plug.
    pub crashes: u64,
    /// Disks replaced by older copies.
    pub restores: u64,
    /// Starts refused because a disk did not check.
    pub rotten: u64,
    /// Restrict blocks sealed while a disk was nearly full.
    pub sealed_nearly_full: u64,
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
    /// What goes wrong.
    pub decisions: Decisions,
    /// The machines' randomness.
    pub entropy: Chance,
    /// What must hold.
    pub audit: Auditor,
    /// The cheating parties.
    pub hostile: Vec<Hostile>,
    /// The network.
    pub weather: Weather,
    /// The nodes.
    pub trouble: Trouble,
    /// How customers answer.
    pub mood: Mood,
    /// The trust operator's policy.
    pub options: TrustOperatorOptions,
    /// Messages that the network loses with their line, by name: for scenarios by hand.
    pub lose: Option<(Role, &'static str)>,
    /// Everything sent, when a scenario listens.
    pub heard: Option<Vec<(Role, Role, Agree)>>,
    /// What happened.
    pub story: Story,
    /// In numbers.
    pub figures: Figures,
}

impl World {
    /// A world of these accounts, at rest: all nodes run, no line is up.
    #[must_use]
    pub fn new(seed: u64, founded: &[Founded], hostile: Vec<Hostile>) -> Self {
        let mut cheats = [false; 3];
        for cheat in &hostile {
            cheats[at(cheat.role)] = true;
        }
        let decisions = Decisions::new(seed, Default::default());
        let mut world = Self::empty(decisions, seed, founded.len(), cheats);
        world.hostile = hostile;
        for (account, f) in founded.iter().enumerate() {
            world.settle_founded(account, f);
        }
        world
    }

    /// A world with room for accounts.
    #[must_use]
    pub fn empty(decisions: Decisions, seed: u64, accounts: usize, cheats: [bool; 3]) -> Self {
        let mut lines = vec![Line::new([0, 1])];
        let mut nodes = vec![];
        for node in 0..2 + accounts {
            nodes.push(Node {
                up: true,
                ..Node::default()
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
            decisions,
            entropy: Chance::new(seed, 2),
            audit: Auditor::new(eyes::pins(operators()), accounts, cheats),
            hostile: vec![],
            weather: Weather::FAIR,
            trouble: Trouble::default(),
            mood: Mood::Willing,
            options: TrustOperatorOptions {
                unfreeze_delay_s: 0,
            },
            lose: None,
            heard: None,
            story: Story::new(false),
            figures: Figures::default(),
        }
    }

    /// Puts an account into the world with its journals.
    pub fn settle_founded(&mut self, account: usize, founded: &Founded) {
        let keys = Self::keys(founded.device.clone());
        let mut keys = keys.into_iter();
        let mut seats = Role::ALL.map(|role| Seat::new(role, keys.next().expect("three keys")));
        for seat in &mut seats {
            seat.share = Some(founded.shares[at(seat.role)].clone());
            if seat.role != Role::TrustOperator {
                seat.content_key = Some(founded.content_key);
            }
            seat.consumed = true;
        }
        self.places.push(Place::new(seats));
        self.places[account].sub = Some(founded.founding.sub);
        // As they came about: signatures before the seal, the trust operator's seal first.
        for sealed in [false, true] {
            for role in [Role::TrustOperator, Role::Broker, Role::Device] {
                let split = |r: &Record| matches!(r, Record::Sealed(_));
                let journal = &founded.journals[at(role)];
                let first = journal.iter().position(split).unwrap_or(journal.len());
                let (before, after) = journal.split_at(first);
                let part = if sealed { after } else { before };
                self.write_quietly(account, role, part);
            }
        }
        let options = self.options;
        for seat in &mut self.places[account].seats {
            seat.recover(options).expect("a journal of a calm run");
        }
    }

    /// Sets the trust operator's policy, before anything happened: its machines start anew with it.
    pub(super) fn set_options(&mut self, options: TrustOperatorOptions) {
        self.options = options;
        for place in &mut self.places {
            let seat = &mut place.seats[at(Role::TrustOperator)];
            if seat.machine.is_some() {
                seat.recover(options).expect("a journal of a calm run");
            }
        }
    }

    fn keys(
        device: std::sync::Arc<warifu_consensus::signature::IdentityKey>,
    ) -> [std::sync::Arc<warifu_consensus::signature::IdentityKey>; 3] {
        let operators = operators();
        [
            device,
            operators.broker.clone(),
            operators.trust_operator.clone(),
        ]
    }

    /// Adds an account that is not enrolled yet; its device node must exist.
    pub fn settle_stranger(
        &mut self,
        ticket: Ticket,
        device: std::sync::Arc<warifu_consensus::signature::IdentityKey>,
    ) {
        let mut keys = Self::keys(device).into_iter();
        let seats = Role::ALL.map(|role| Seat::new(role, keys.next().expect("three keys")));
        self.places.push(Place {
            ticket: Some(ticket),
            ..Place::new(seats)
        });
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
    pub fn tell_story(&mut self, line: &str) {
        self.story.tell(self.now - START_MS, line);
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
            if time > end || !self.audit.violations.is_empty() {
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
        self.figures.steps += 1;
        match deed {
            Deed::Arrive {
                line,
                end,
                session,
                item,
            } => self.arrive(line, end, session, item),
            Deed::Connect(line) => self.connect(line),
            Deed::DropLine(line) => self.drop_line(line),
            Deed::Partition(line, ms) => self.partition(line, ms),
            Deed::Stall(line, end, ms) => self.stall(line, end, ms),
            Deed::Tick(account, role) => self.tick(account, role),
            Deed::Start(node) => self.start(node),
            Deed::Stop(node, ms) => self.stop(node, ms),
            Deed::SetClock(node, skew_ms) => self.set_clock(node, skew_ms),
            Deed::SetRoom(node, room) => self.set_room(node, room),
            Deed::Rot(node, place) => self.rot(node, place),
            Deed::SetBack(node, frames) => self.set_back(node, frames),
            Deed::Feed(account, role, input) => self.feed(account, role, *input),
            Deed::Begin(account) => self.begin_something(account),
            Deed::Cancel(account, login) => {
                self.feed(account, Role::Broker, Input::Cancel { login });
            }
            Deed::Answer(account, hash, answer) => self.answer(account, hash, answer),
            Deed::Scan(account) => self.scan(account),
            Deed::TypeDigits(account, digits) => self.type_digits(account, digits),
        }
    }
}

impl Place {
    fn new(seats: [Seat; 3]) -> Self {
        Self {
            seats,
            sub: None,
            ticket: None,
            prompts: vec![],
            told: vec![],
            logins: BTreeMap::new(),
        }
    }
}
