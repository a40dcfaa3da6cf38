//! Moves machines and performs their outputs as a node's runtime does: in order, durable before
//! visible, what was decided lost with a stop in between.

use warifu_consensus::{
    agree::{Event, Input, Output, Refusal},
    block::Sealed,
    chain::Head,
    wire::{self, MAX_BLOCKS_BYTES, MAX_FRAME, Reason},
};

use super::{words::brief_event, *};
use crate::{disk::HeadMove, party::Machine};

/// The head of an account that is founded and has no genesis.
const FOUNDED: [u8; 32] = [0; 32];

fn head_move(record: &Record) -> Option<HeadMove> {
    match record {
        Record::Founding(_) => Some((None, FOUNDED)),
        Record::Sealed(s) => Some((Some(s.block.claims().prev.0), s.block.hash().0)),
        _ => None,
    }
}

/// What a node answers instead of its machine while its disk is nearly full: admits are refused,
/// all else is let in.
fn when_nearly_full(role: Role, input: &Input) -> Option<Output> {
    let refused = |to, block: &warifu_consensus::block::Block| Output::Send {
        to,
        agree: Agree::Refused {
            hash: block.hash(),
            reason: Reason::Rule("the disk is nearly full".into()),
        },
    };
    match (role, input) {
        (Role::Broker, Input::Begin(begin)) => Some(Output::Tell(Event::NotBegun {
            login: begin.login,
            refusal: Refusal::DiskNearlyFull,
        })),
        (
            _,
            Input::Message {
                from: Role::Broker,
                agree: Agree::Propose { block, .. } | Agree::Prepare { block },
            },
        ) => Some(refused(Role::Broker, block)),
        _ => None,
    }
}

impl World {
    pub(super) fn tick(&mut self, account: usize, role: Role) {
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
            let deadline = seat.machine.as_ref().and_then(Machine::deadline);
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
            self.audit.failed(account, what);
        }
    }

    pub(crate) fn schedule_tick(&mut self, account: usize, role: Role) {
        let skew = self.nodes[Self::node_of(account, role)].skew_ms;
        let now = self.now;
        let seat = self.seat_mut(account, role);
        let machine = seat.machine.as_ref().and_then(Machine::deadline);
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

    /// An idle account leaves RAM and is recovered by the next input.
    fn retire(&mut self, account: usize, role: Role, clock: Time) {
        let options = self.options;
        let seat = self.seat_mut(account, role);
        if !seat.machine.as_ref().is_some_and(|m| m.is_idle(clock)) {
            return;
        }
        let dropped = seat.machine.take();
        if let Err(error) = seat.recover(options) {
            let what = format!("the {role} does not come back into RAM: {error}");
            self.audit.failed(account, what);
            return;
        }
        let same = seat.machine.as_ref().zip(dropped.as_ref());
        if !same.is_some_and(|(now, then)| now.stands_as(then)) {
            let what = format!("the {role} comes back from idleness as another");
            self.audit.failed(account, what);
        }
        self.tell_story(&format!("a{account} {role} comes back from idleness"));
        self.introduce(account, role);
    }

    /// Looks up the block that a word rests on, as a node does in its own records.
    fn locate(&mut self, account: usize, role: Role, input: &Input) {
        let seat = self.seat_mut(account, role);
        let Some(machine) = &seat.machine else { return };
        let Some(hash) = machine.base().unlocated(input) else {
            return;
        };
        let found = seat.chain().find(|s| s.block.hash() == hash);
        let found = found.map(|s| s.block.claims().height);
        if let (Some(height), Some(machine)) = (found, &mut seat.machine) {
            machine.locate(Head { height, hash });
        }
    }

    /// Moves a machine, if its node runs, and performs what it asks for.
    pub fn feed(&mut self, account: usize, role: Role, input: Input) {
        if !self.nodes[Self::node_of(account, role)].up {
            return;
        }
        let place = account * 3 + at(role);
        let retires = self.trouble.retire_one_in;
        if self.decisions.fault(What::Retire, place, retires).is_some() {
            self.retire(account, role, self.clock(account, role));
        }
        self.feed_at_hand(account, role, input);
    }

    /// [`World::feed`] to the machine that is in RAM.
    pub(super) fn feed_at_hand(&mut self, account: usize, role: Role, input: Input) {
        let node = Self::node_of(account, role);
        let clock = self.clock(account, role);
        if !self.nodes[node].up || self.seat(account, role).machine.is_none() {
            return;
        }
        self.locate(account, role, &input);
        let said = match &input {
            Input::Message { agree, .. } => Some(eyes::said(agree)),
            _ => None,
        };
        let full = self.nodes[node].disk.room != Room::Plenty;
        let instead = when_nearly_full(role, &input).filter(|_| full);
        let Some(machine) = &mut self.places[account].seats[at(role)].machine else {
            return;
        };
        let outputs = match instead {
            Some(output) => vec![output],
            None => machine.handle(clock, input, &mut self.entropy),
        };
        if self.perform(account, role, outputs) {
            if let Some(said) = said {
                self.audit.took(account, eyes::party(role), &said);
            }
            self.schedule_tick(account, role);
            self.says_what_it_owes(account, role);
        }
    }

    /// Performs outputs in order; `false` when the node stopped on the way.
    pub fn perform(&mut self, account: usize, role: Role, outputs: Vec<Output>) -> bool {
        let node = Self::node_of(account, role);
        let length = outputs.len();
        let crash = match length {
            0 => None,
            _ => self
                .decisions
                .fault(What::Crash, node, self.trouble.crash_one_in),
        };
        let crash = crash.map(|mut chance| {
            let cut = chance.below(length as u64 + 1) as usize;
            (cut, chance.between(200, 20_000))
        });
        let mut pending = vec![];
        for (number, output) in outputs.into_iter().enumerate() {
            if crash.is_some_and(|(cut, _)| cut == number) {
                break;
            }
            match output {
                Output::Store(record) => pending.push(record),
                Output::KeepSalt { .. } => {}
                visible => {
                    if !self.settle(account, role, &mut pending) {
                        return false;
                    }
                    self.perform_visible(account, role, visible);
                }
            }
        }
        if let Some((cut, ms)) = crash {
            self.tell_story(&format!(
                "a{account} {role} stops after output {cut} of {length}"
            ));
            self.stop(node, ms);
            return false;
        }
        self.settle(account, role, &mut pending)
    }

    /// Makes records durable; `false` when the disk failed and the node stopped.
    pub(crate) fn settle(&mut self, account: usize, role: Role, pending: &mut Vec<Record>) -> bool {
        if pending.is_empty() {
            return true;
        }
        let records = std::mem::take(pending);
        let node = Self::node_of(account, role);
        let late = records.iter().rev().take_while(|r| r.may_be_late()).count();
        let (records, late) = records.split_at(records.len() - late);
        if !records.is_empty() {
            if let Err(error) = self.append(account, node, records) {
                return self.disk_failed(account, role, &error.to_string());
            }
            let fails = self.trouble.sync_fails_one_in;
            if let Some(mut chance) = self.decisions.fault(What::SyncFails, node, fails) {
                let unsynced = self.nodes[node].disk.unsynced() as u64;
                let (reached, how) = match chance.below(3) {
                    0 => (0, "and is lost"),
                    1 => (unsynced, "but persisted"),
                    _ => (chance.below(unsynced + 1), "and is torn"),
                };
                self.tell_story(&format!("a{account} {role}'s sync fails {how}"));
                self.nodes[node].disk.lose_power(reached as usize);
                self.stop(node, chance.between(500, 15_000));
                return false;
            }
            self.nodes[node].disk.sync();
            self.keep(account, role, records);
        }
        if !late.is_empty() {
            if let Err(error) = self.append(account, node, late) {
                return self.disk_failed(account, role, &error.to_string());
            }
            self.keep(account, role, late);
        }
        true
    }

    /// A sealed block and what stands behind it in one batch each, as a node's journal takes them.
    fn append(
        &mut self,
        account: usize,
        node: usize,
        records: &[Record],
    ) -> Result<(), crate::disk::DiskError> {
        let mut batches: Vec<(Option<HeadMove>, Vec<Vec<u8>>)> = vec![];
        for record in records {
            let bytes = eyes::record_bytes(record);
            self.story.bytes(&bytes);
            match batches.last_mut() {
                Some((head, entries)) if head.is_none() || record.is_behind_sealed() => {
                    entries.push(bytes);
                    *head = head_move(record).or(*head);
                }
                _ => batches.push((head_move(record), vec![bytes])),
            }
        }
        let disk = &mut self.nodes[node].disk;
        let appended = batches.iter();
        appended
            .into_iter()
            .try_for_each(|(head, entries)| disk.append(account, *head, entries))
    }

    fn disk_failed(&mut self, account: usize, role: Role, error: &str) -> bool {
        self.tell_story(&format!("a{account} {role}'s disk fails: {error}"));
        let node = Self::node_of(account, role);
        if self.nodes[node].disk.room != Room::Full {
            let what = format!("the {role}'s journal refused an append: {error}");
            self.audit.failed(account, what);
        }
        self.stop(node, 3_000);
        false
    }

    /// What a sync made durable, or what may be late, is the seat's from now on.
    fn keep(&mut self, account: usize, role: Role, records: &[Record]) {
        let clock = self.clock(account, role);
        self.audit.unfreeze_delay_s = self.options.unfreeze_delay_s;
        let nearly = self.nodes[Self::node_of(account, role)].disk.room == Room::NearlyFull;
        for record in records {
            self.tell_story(&format!("a{account} {role} stores {}", brief(record)));
            let (bytes, kept) = (eyes::record_bytes(record), eyes::kept(record));
            let party = eyes::party(role);
            self.audit
                .kept(account, party, &bytes, record.may_be_late(), &kept, clock.0);
            let restricts =
                matches!(record, Record::Sealed(s) if !s.block.claims().kind.is_asked());
            self.figures.sealed_nearly_full += u64::from(nearly && restricts);
            self.seat_mut(account, role).records.push(record.clone());
        }
    }

    /// Writes records that a world begins with.
    pub(super) fn write_quietly(&mut self, account: usize, role: Role, records: &[Record]) {
        let node = Self::node_of(account, role);
        self.append(account, node, records)
            .expect("an empty disk takes what a calm run wrote");
        self.nodes[node].disk.sync();
        self.audit.reads_back = true;
        self.keep(account, role, records);
        self.audit.reads_back = false;
    }

    fn perform_visible(&mut self, account: usize, role: Role, output: Output) {
        match output {
            Output::Store(_) | Output::KeepSalt { .. } => {}
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
                self.tell_story(&format!("a{account} {role} tells {}", brief_event(&event)));
                self.audit
                    .told(account, eyes::party(role), &eyes::told(&event), clock.0);
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
        let cheat = self.hostile.iter().position(|h| h.role == from);
        let sent = match cheat {
            Some(cheat) => {
                let mut hostile = self.hostile.remove(cheat);
                let mail = hostile.outgoing(self, account, to, agree);
                self.hostile.insert(cheat, hostile);
                mail
            }
            None => vec![(to, agree)],
        };
        for (to, agree) in sent {
            self.post(account, from, to, agree);
        }
    }
}
