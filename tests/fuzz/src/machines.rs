//! Lists of operations against the three machines.
//!
//! Any party may be a cheat in its mail: messages are lost, repeated, reordered, altered and invented
//! under its name. Clocks jump, lines break, processes stop between two outputs. What each party
//! signs and keeps is watched by [`Trio`] all the time.

use warifu_consensus::{
    agree::Input,
    block::Kind,
    party::Role,
    wire::{Agree, Message},
};

use crate::trio::{Trio, at, standing};

/// Operations of one story.
const OPERATIONS: usize = 200;

/// Bytes as choices.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    fn role(&mut self) -> Role {
        Role::ALL[self.below(3)]
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.below(200).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes.to_vec()
    }
}

/// What the operations' first bytes mean, for the makers of corpora.
pub mod op {
    /// The oldest message arrives.
    pub const NEXT: u8 = 0;
    /// All messages arrive, in order.
    pub const ALL: u8 = 1;
    /// A chosen message arrives, and stays too (byte: which).
    pub const AGAIN: u8 = 2;
    /// A chosen message is lost (byte: which).
    pub const LOST: u8 = 3;
    /// A chosen message arrives altered (bytes: which, how many edits, each two bytes of place and one mask).
    pub const ALTERED: u8 = 4;
    /// Something that was once sent arrives under a party's name (bytes: which, from, to).
    pub const REPLAYED: u8 = 5;
    /// A frame arrives (bytes: from, to, length, the frame).
    pub const FRAME: u8 = 6;
    /// A login service begins (byte: kind).
    pub const BEGIN: u8 = 7;
    /// The customer approves the last prompt (byte: 0 for the right number).
    pub const APPROVE: u8 = 8;
    /// The customer denies it (byte: odd for "it wasn't me").
    pub const DENY: u8 = 9;
    /// The customer freezes.
    pub const FREEZE: u8 = 10;
    /// The desk freezes.
    pub const DESK_FREEZE: u8 = 11;
    /// The login is taken back.
    pub const CANCEL: u8 = 12;
    /// A party stops and starts (byte: role).
    pub const RESTART: u8 = 13;
    /// A line is made or lost at one end (bytes: role, peer, odd for up).
    pub const LINE: u8 = 14;
    /// All clocks go on (byte: seconds).
    pub const WAIT: u8 = 15;
    /// One clock jumps (bytes: role, seconds times 4, odd for back).
    pub const JUMP: u8 = 16;
    /// A party's deadline comes (byte: role).
    pub const TICK: u8 = 17;
    /// The next message arrives, and its receiver stops after some outputs (byte: how many).
    pub const STOPPED: u8 = 18;
    /// Lines come up, all mail arrives.
    pub const CALM: u8 = 19;
    /// How many there are.
    pub const COUNT: u8 = 20;
}

/// See the module.
pub fn machines(data: &[u8]) {
    let standing = standing();
    let mut choices = Choices(data);
    // From the beginning, or from the account with a genesis and a login.
    let records = match choices.below(4) {
        0 => standing.records.clone().map(|mut records| {
            records.truncate(1);
            records
        }),
        _ => standing.records.clone(),
    };
    let mut trio = Trio::new(&standing.founded, records);
    let mut sent = Vec::new();
    trio.lines(true);
    if standing.records[0].len() > 1 && trio.records[0].len() == 1 {
        trio.open_genesis();
    }
    for _ in 0..OPERATIONS {
        if choices.0.is_empty() {
            break;
        }
        operate(&mut trio, &mut choices, &mut sent);
    }
    for role in Role::ALL {
        trio.restart(role);
    }
}

fn operate(trio: &mut Trio, choices: &mut Choices<'_>, sent: &mut Vec<(Role, Role, Agree)>) {
    match choices.byte() % op::COUNT {
        op::NEXT => deliver(trio, usize::MAX, sent),
        op::ALL => trio.settle(sent),
        op::AGAIN => {
            let which = choices.below(trio.mail.len());
            if let Some((from, to, agree)) = trio.mail.get(which).cloned() {
                trio.feed(to, Input::Message { from, agree });
            }
        }
        op::LOST => {
            let which = choices.below(trio.mail.len());
            drop(trio.mail.remove(which));
        }
        op::ALTERED => alter(trio, choices),
        op::REPLAYED => {
            let (which, from, to) = (choices.below(sent.len()), choices.role(), choices.role());
            let agree = sent.get(which).map(|(_, _, agree)| agree.clone());
            if let Some(agree) = agree.filter(|_| from != to) {
                trio.feed(to, Input::Message { from, agree });
            }
        }
        op::FRAME => {
            let (from, to, frame) = (choices.role(), choices.role(), choices.bytes());
            arrive(trio, from, to, &frame);
        }
        op::STOPPED => {
            let outputs = choices.below(6);
            deliver(trio, outputs, sent);
        }
        other => live(trio, choices, other, sent),
    }
}

/// What people, clocks and plugs do.
fn live(
    trio: &mut Trio,
    choices: &mut Choices<'_>,
    operation: u8,
    sent: &mut Vec<(Role, Role, Agree)>,
) {
    let last = trio.prompts.last().copied();
    match (operation, last) {
        (op::BEGIN, _) => {
            let kinds = [Kind::Login, Kind::Approve, Kind::Change, Kind::Unfreeze];
            trio.begin(kinds[choices.below(4)]);
        }
        (op::APPROVE, Some(hash)) => {
            let wrong = choices.byte();
            let number = trio.number.unwrap_or(0).wrapping_add(wrong) % 100;
            trio.feed(Role::Device, Input::Approve { hash, number });
        }
        (op::DENY, Some(hash)) => {
            let not_me = choices.byte() % 2 == 1;
            trio.feed(Role::Device, Input::Deny { hash, not_me });
        }
        (op::FREEZE, _) => trio.feed(Role::Device, Input::FreezeByCustomer),
        (op::DESK_FREEZE, _) => trio.feed(Role::Broker, Input::Freeze),
        (op::CANCEL, _) => {
            let login = trio.login;
            trio.feed(Role::Broker, Input::Cancel { login });
        }
        (op::RESTART, _) => {
            let role = choices.role();
            trio.restart(role);
        }
        (op::LINE, _) => {
            let (role, peer) = (choices.role(), choices.role());
            if role != peer {
                trio.line(role, peer, choices.byte() % 2 == 1);
            }
        }
        (op::WAIT, _) => {
            let ms = u64::from(choices.byte()) * 1000;
            trio.clocks.iter_mut().for_each(|clock| *clock += ms);
        }
        (op::JUMP, _) => {
            let (role, ms) = (choices.role(), u64::from(choices.byte()) * 4000);
            let clock = &mut trio.clocks[at(role)];
            *clock = match choices.byte() % 2 {
                0 => clock.saturating_add(ms),
                _ => clock.saturating_sub(ms),
            };
        }
        (op::TICK, _) => {
            let role = choices.role();
            if let Some(deadline) = trio.deadline(role) {
                let clock = &mut trio.clocks[at(role)];
                *clock = (*clock).max(deadline);
                trio.feed(role, Input::Tick);
            }
        }
        (op::CALM, _) => {
            trio.lines(true);
            trio.settle(sent);
        }
        _ => {}
    }
}

fn deliver(trio: &mut Trio, outputs: usize, sent: &mut Vec<(Role, Role, Agree)>) {
    if let Some((from, to, agree)) = trio.mail.pop_front() {
        sent.push((from, to, agree.clone()));
        trio.feed_until(to, Input::Message { from, agree }, outputs);
    }
}

fn alter(trio: &mut Trio, choices: &mut Choices<'_>) {
    let which = choices.below(trio.mail.len());
    let edits = choices.below(4) + 1;
    let Some((from, to, agree)) = trio.mail.get(which).cloned() else {
        return;
    };
    let Some(mut frame) = trio.frame(&agree) else {
        return;
    };
    for _ in 0..edits {
        let place = usize::from(choices.byte()) * 256 + usize::from(choices.byte());
        let place = place % frame.len();
        frame[place] ^= choices.byte();
    }
    arrive(trio, from, to, &frame);
}

fn arrive(trio: &mut Trio, from: Role, to: Role, frame: &[u8]) {
    if from == to {
        return;
    }
    if let Ok(Message::Agree { sub, agree }) = Message::from_frame(frame)
        && sub == trio.sub()
    {
        trio.feed(
            to,
            Input::Message {
                from,
                agree: *agree,
            },
        );
    }
}
