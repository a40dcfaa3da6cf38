//! Nodes that stop and start, their clocks, and disks that rot, fill up or are set back.

use super::*;
use crate::disk::{DiskError, Frame};

impl World {
    fn accounts_of(&self, node: NodeId) -> Vec<usize> {
        match node {
            0 | 1 => (0..self.places.len()).collect(),
            device => vec![device - 2],
        }
    }

    /// A node stops: RAM is gone, the disk stays; with the power goes what no sync made durable.
    pub fn stop(&mut self, node: NodeId, ms: u64) {
        if !std::mem::replace(&mut self.nodes[node].up, false) {
            return;
        }
        self.figures.crashes += 1;
        self.tell_story(&format!("node {node} stops for {ms} ms"));
        let unsynced = self.nodes[node].disk.unsynced() as u64;
        if unsynced > 0
            && let Some(mut chance) = self.decisions.fault(What::PowerLoss, node, 2)
        {
            self.tell_story(&format!("node {node} loses power"));
            let reached = chance.below(unsynced + 1) as usize;
            self.nodes[node].disk.lose_power(reached);
        }
        for line in 0..self.lines.len() {
            if let Some(end) = self.lines[line].end_of(node) {
                self.drop_line(line);
                self.lines[line].seen[end] = None;
            }
        }
        let role = Self::role_of(node);
        if role == Role::Broker {
            self.audit.broker_crashed = true;
        }
        for account in self.accounts_of(node) {
            if role == Role::Device {
                self.places[account].prompts.clear();
            }
            let seat = self.seat_mut(account, role);
            seat.machine = None;
            seat.enrolment = None;
            seat.tick_at = None;
        }
        self.after(ms, Deed::Start(node));
    }

    /// A node starts from its disk.
    pub fn start(&mut self, node: NodeId) {
        if self.nodes[node].up {
            return;
        }
        if self.nodes[node].disk.room == Room::Full {
            // Its operator makes room first.
            self.after(5_000, Deed::Start(node));
            return;
        }
        let frames = match self.nodes[node].disk.open() {
            Ok(frames) => frames,
            Err(error) => return self.refuse_start(node, &error),
        };
        self.nodes[node].up = true;
        self.tell_story(&format!("node {node} starts"));
        let (role, options) = (Self::role_of(node), self.options);
        for account in self.accounts_of(node) {
            let recovered = self
                .read_back(account, role, &frames)
                .and_then(|()| self.seat_mut(account, role).recover(options));
            if let Err(error) = recovered {
                self.audit
                    .failed(account, format!("the {role} does not start: {error}"));
                return;
            }
            self.schedule_tick(account, role);
        }
        for line in 0..self.lines.len() {
            if self.lines[line].end_of(node).is_some() {
                let delay = self.decisions.neutral(What::Pause, line).between(20, 2_000);
                self.after(delay, Deed::Connect(line));
            }
        }
    }

    /// What lies on the disk is what the seat has; the auditor looks whether something is missing.
    fn read_back(&mut self, account: usize, role: Role, frames: &[Frame]) -> Result<(), String> {
        let mine = frames.iter().filter(|f| f.account == account);
        let entries: Vec<&Vec<u8>> = mine.flat_map(|f| &f.entries).collect();
        let records: Result<Vec<Record>, String> = entries
            .iter()
            .map(|bytes| eyes::record_from(bytes))
            .collect();
        let records = records?;
        let lasting = entries
            .iter()
            .zip(&records)
            .filter(|(_, r)| !r.may_be_late());
        let lasting: Vec<(&[u8], &Record)> = lasting.map(|(b, r)| (b.as_slice(), r)).collect();
        let bytes: Vec<&[u8]> = lasting.iter().map(|(bytes, _)| *bytes).collect();
        let known = self.audit.found(account, eyes::party(role), &bytes);
        let clock = self.clock(account, role).0;
        self.audit.reads_back = true;
        for (bytes, record) in lasting.into_iter().skip(known) {
            self.tell_story(&format!(
                "a{account} {role} finds {} written before the stop",
                brief(record)
            ));
            let kept = eyes::kept(record);
            self.audit
                .kept(account, eyes::party(role), bytes, false, &kept, clock);
        }
        self.audit.reads_back = false;
        self.seat_mut(account, role).records = records;
        Ok(())
    }

    /// A node whose disk does not check says where and stays down, until its operator puts the last
    /// backup in place.
    fn refuse_start(&mut self, node: NodeId, error: &DiskError) {
        self.figures.rotten += 1;
        self.tell_story(&format!("node {node} does not start: {error}"));
        let Some((backup, frames)) = self.nodes[node].backup.take() else {
            self.audit
                .failed(0, format!("node {node}'s disk went bad by itself: {error}"));
            return;
        };
        self.nodes[node].disk = backup;
        self.set_back(node, frames);
        self.after(20_000, Deed::Start(node));
    }

    /// A bit of what was durable rots; its node, restarted, must find it.
    pub(super) fn rot(&mut self, node: NodeId, place: u64) {
        self.stop(node, 2_000);
        let disk = &self.nodes[node].disk;
        let Ok(frames) = disk.read() else { return };
        let durable = frames.last().map_or(0, |f| f.end) as u64 * 8;
        if durable == 0 {
            return;
        }
        let backup = (disk.clone(), place % 14);
        self.tell_story(&format!(
            "node {node}: bit {} of its disk rots",
            place % durable
        ));
        self.nodes[node].backup = Some(backup);
        self.nodes[node].disk.flip((place % durable) as usize);
        if self.nodes[node].disk.read().is_ok() {
            self.audit.failed(
                0,
                format!("node {node} takes a rotten disk for a sound one"),
            );
        }
    }

    /// A party comes back from an older copy of its disk, at most so many frames shorter. Accounts
    /// that are founded stay: a copy that is older knows nothing of them.
    pub fn set_back(&mut self, node: NodeId, frames_lost: u64) {
        self.stop(node, 1_000);
        let Ok(frames) = self.nodes[node].disk.read() else {
            return; // It rots already.
        };
        let accounts = self.accounts_of(node);
        let standing = accounts
            .iter()
            .filter_map(|account| first_block(&frames, *account));
        let keep = standing.max().unwrap_or(0);
        let cut = (frames_lost as usize).min(frames.len() - keep);
        let left = frames.len() - cut;
        self.figures.restores += 1;
        self.tell_story(&format!("node {node} is set back by {cut} writes"));
        self.nodes[node].disk.set_back(&frames, left);
        let role = Self::role_of(node);
        for account in accounts {
            let mine = frames.iter().take(left).filter(|f| f.account == account);
            let records = mine.flat_map(|f| &f.entries);
            let records = records.filter_map(|bytes| eyes::record_from(bytes).ok());
            let (mut lasting, mut blocks) = (0, 0);
            for record in records {
                lasting += usize::from(!record.may_be_late());
                blocks += usize::from(matches!(record, Record::Sealed(_)));
            }
            self.audit
                .set_back(account, eyes::party(role), lasting, blocks);
        }
    }

    /// Sets a node's clock. A node looks at what it waits for every half a minute; here, at once when
    /// its clock goes back.
    pub fn set_clock(&mut self, node: NodeId, skew_ms: i64) {
        let jump = skew_ms - self.nodes[node].skew_ms;
        self.tell_story(&format!("node {node}'s clock jumps by {jump} ms"));
        self.nodes[node].skew_ms = skew_ms;
        let role = Self::role_of(node);
        for account in self.accounts_of(node) {
            self.schedule_tick(account, role);
            if jump < 0 && self.seat(account, role).tick_at.is_some() {
                self.feed(account, role, Input::Tick);
            }
        }
    }

    pub(super) fn set_room(&mut self, node: NodeId, room: Room) {
        self.tell_story(&format!("node {node}'s disk: {room:?}"));
        self.nodes[node].disk.room = room;
    }
}

/// How many frames hold all that an account began with: its genesis, else its founding.
fn first_block(frames: &[Frame], account: usize) -> Option<usize> {
    let has = |wanted: fn(&Record) -> bool| {
        frames.iter().position(|f| {
            let mut records = f.entries.iter().filter_map(|b| eyes::record_from(b).ok());
            f.account == account && records.any(|r| wanted(&r))
        })
    };
    let genesis = has(|r| matches!(r, Record::Sealed(_)));
    let founding = has(|r| matches!(r, Record::Founding(_)));
    genesis.or(founding).map(|place| place + 1)
}
