//! What must hold, judged from outside: stored records, told events, messages. Nothing here asks a
//! machine whether it is right; signatures are verified against keys that the founding fixed.

mod admitted;
mod sealed;

use std::collections::{BTreeMap, BTreeSet};

use warifu_consensus::{
    agree::{Begin, Event, HeldWord, LoginId, Outcome, Record},
    block::{Block, Class, Kind, Proof, Sealed, Votes},
    encoding::Hash,
    party::{Parties, Role},
    signature::verify_strict,
    time::Time,
    vote::{Statement, Verb, Vote},
    wire::Agree,
};

use super::{founded::operators, party::at};

/// A login service's view of one login.
#[derive(Debug)]
pub struct Login {
    /// What was asked.
    pub begin: Begin,
    /// The number on the page, once the broker told it.
    pub number: Option<u8>,
    /// How it ended, as told first.
    pub ended: Option<Outcome>,
}

/// One account as an outsider with eyes everywhere sees it.
#[derive(Debug)]
pub struct View {
    parties: Option<(Parties, [u8; 32])>,
    /// The sealed blocks stored by each party, in role order.
    pub chains: [Vec<Sealed>; 3],
    /// Every validly proven block at a height, seen at an honest party.
    sealed: BTreeMap<u64, Vec<Block>>,
    device_locks: BTreeMap<u64, Hash>,
    broker_locks: BTreeMap<u64, Hash>,
    restricts: BTreeMap<u64, Block>,
    ever_locked: [BTreeSet<Hash>; 3],
    assented: BTreeSet<Hash>,
    approved: BTreeMap<Hash, u8>,
    refused: BTreeSet<Hash>,
    /// `exp` of every admit proposal that was endorsed or named as superseded.
    exps: BTreeMap<Hash, u64>,
    /// A freeze word or desk freeze that this party took in and that no freeze above it answers.
    freeze_above: [Option<u64>; 3],
    /// Hashes that the device denied, as each operator took it in.
    denied: [BTreeSet<Hash>; 3],
    /// What was told as admitted, in order.
    pub admitted: Vec<Hash>,
    /// All logins.
    pub logins: BTreeMap<LoginId, Login>,
    /// Whether the genesis was told dead, by party.
    pub dead: [bool; 3],
}

/// Judges a world. The first violation ends a run.
#[derive(Debug)]
pub struct Invariants {
    /// The cheating party, if any.
    pub hostile: Option<Role>,
    /// The party that was set back to an older copy of itself, if any.
    pub restored: Option<Role>,
    /// Set while the broker crashed since a login's end was told: it cannot remember.
    pub broker_crashed: bool,
    /// The accounts.
    pub views: Vec<View>,
    /// What did not hold.
    pub violations: Vec<String>,
    /// How many events were judged, by kind: a run that judged nothing proves nothing.
    pub judged: BTreeMap<&'static str, u64>,
}

impl View {
    fn new() -> Self {
        Self {
            parties: None,
            chains: [vec![], vec![], vec![]],
            sealed: BTreeMap::new(),
            device_locks: BTreeMap::new(),
            broker_locks: BTreeMap::new(),
            restricts: BTreeMap::new(),
            ever_locked: Default::default(),
            assented: BTreeSet::new(),
            approved: BTreeMap::new(),
            refused: BTreeSet::new(),
            exps: BTreeMap::new(),
            freeze_above: [None; 3],
            denied: Default::default(),
            admitted: vec![],
            logins: BTreeMap::new(),
            dead: [false; 3],
        }
    }

    /// Frozen or revoked, by the blocks that this party stored.
    #[must_use]
    pub fn status(&self, role: Role) -> (bool, bool) {
        let (mut frozen, mut revoked) = (false, false);
        for sealed in &self.chains[at(role)] {
            match sealed.block.claims().kind {
                Kind::Freeze => frozen = true,
                Kind::Unfreeze => frozen = false,
                Kind::Revoke => revoked = true,
                _ => {}
            }
        }
        (frozen, revoked)
    }

    fn position_since_unfreeze(&self, role: Role, hash: Hash) -> Option<u64> {
        let chain = &self.chains[at(role)];
        let since = chain
            .iter()
            .rposition(|s| s.block.claims().kind == Kind::Unfreeze)
            .unwrap_or(0);
        let place = chain.iter().skip(since).find(|s| s.block.hash() == hash)?;
        Some(place.block.claims().height)
    }

    /// The height above which this word asks for a freeze, if it counts for this party.
    fn freeze_asked(
        &self,
        role: Role,
        verb: Verb,
        hash: Hash,
        proposal: Option<&Block>,
    ) -> Option<u64> {
        let above = match (verb, proposal) {
            (Verb::Freeze, _) => self.position_since_unfreeze(role, hash)?,
            (Verb::Disown, Some(block)) => {
                self.position_since_unfreeze(role, block.claims().prev)?
            }
            _ => return None,
        };
        let answered = self.chains[at(role)].iter().any(|s| {
            let c = s.block.claims();
            c.kind == Kind::Revoke || (c.kind == Kind::Freeze && c.height > above)
        });
        (!answered).then_some(above)
    }
}

impl Invariants {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(accounts: usize, hostile: Option<Role>) -> Self {
        Self {
            hostile,
            restored: None,
            broker_crashed: false,
            views: (0..accounts).map(|_| View::new()).collect(),
            violations: vec![],
            judged: BTreeMap::new(),
        }
    }

    pub(super) fn honest(&self, role: Role) -> bool {
        self.hostile != Some(role)
    }

    pub(super) fn sound(&self, role: Role) -> bool {
        self.honest(role) && self.restored != Some(role)
    }

    pub(super) fn violated(&mut self, account: usize, what: String) {
        self.violations.push(format!("account {account}: {what}"));
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.judged.entry(what).or_default() += 1;
    }

    /// A record became durable at this time of the party's own clock.
    pub fn stored(&mut self, account: usize, role: Role, record: &Record, now: Time) {
        match record {
            Record::Founding(f) => {
                self.views[account].parties = Some((f.parties, f.account_key));
            }
            Record::Sealed(sealed) => {
                self.stored_sealed(account, role, sealed);
                if role == Role::TrustOperator && self.sound(role) {
                    self.supersedes_in_time(account, sealed, now);
                }
            }
            Record::DeviceLock(block) => {
                self.count("device lock");
                let (height, hash) = (block.claims().height, block.hash());
                self.views[account].ever_locked[0].insert(hash);
                let old = self.views[account].device_locks.insert(height, hash);
                if self.sound(Role::Device) && old.is_some_and(|h| h != hash) {
                    self.violated(account, format!("device locked twice at height {height}"));
                }
                if self.honest(Role::Device) && self.views[account].freeze_above[0].is_some() {
                    self.violated(account, "device locked after it asked for a freeze".into());
                }
            }
            Record::BrokerLock(lock) => self.stored_broker_lock(account, &lock.block),
            Record::RestrictLock(lock) => {
                self.count("restrict lock");
                let height = lock.block.claims().height;
                let old = self.views[account]
                    .restricts
                    .insert(height, lock.block.clone());
                if self.sound(Role::Broker) && old.is_some_and(|b| b.hash() != lock.block.hash()) {
                    let what = format!("broker signed two restrict blocks at height {height}");
                    self.violated(account, what);
                }
            }
            Record::Word(held) if role == Role::Device => self.device_said(account, held),
            Record::FreezeWanted { .. } => {
                let head = self.views[account].chains[1].len() as u64;
                self.views[account].freeze_above[1] = Some(head.saturating_sub(1));
            }
            Record::Conflict(_) => {
                // Only a cheating trust operator makes two sealed blocks at one height.
                if self.hostile != Some(Role::TrustOperator) && self.restored.is_none() {
                    let what = format!("the {role} recorded a conflict, nobody could make one");
                    self.violated(account, what);
                }
            }
            _ => {}
        }
    }

    fn device_said(&mut self, account: usize, held: &HeldWord) {
        let view = &mut self.views[account];
        match held.word.verb {
            Verb::Freeze | Verb::Disown => {
                let above = view.freeze_above[0].map_or(held.above, |a| a.max(held.above));
                view.freeze_above[0] = Some(above);
            }
            _ => {}
        }
        if held.word.verb != Verb::Freeze {
            view.refused.insert(held.word.hash);
        }
    }

    fn stored_broker_lock(&mut self, account: usize, block: &Block) {
        self.count("broker lock");
        let (height, hash) = (block.claims().height, block.hash());
        let view = &mut self.views[account];
        view.ever_locked[1].insert(hash);
        let old = view.broker_locks.insert(height, hash);
        let restrict = view.restricts.get(&height).cloned();
        let pending = view.freeze_above[1].is_some();
        let denied = view.denied[1].contains(&hash);
        if !self.sound(Role::Broker) {
            return;
        }
        if old.is_some_and(|h| h != hash) {
            self.violated(account, format!("broker locked twice at height {height}"));
        }
        if restrict.is_some() {
            let what = format!("broker locked at height {height} after its restrict block there");
            self.violated(account, what);
        }
        if pending {
            self.violated(account, "broker locked while a freeze is wanted".into());
        }
        if denied {
            self.violated(account, "broker locked what the device denied".into());
        }
    }

    /// The customer typed this number for this proposal.
    pub fn approved(&mut self, account: usize, hash: Hash, number: u8) {
        self.views[account].approved.insert(hash, number);
    }

    /// A party sent a message.
    pub fn sent(&mut self, account: usize, role: Role, to: Role, agree: &Agree) {
        if let Agree::Endorse { block, .. }
        | Agree::Restrict {
            superseded: Some(block),
            ..
        } = agree
        {
            let exps = &mut self.views[account].exps;
            exps.insert(block.hash(), block.claims().exp);
        }
        if !self.honest(role) {
            return;
        }
        match agree {
            Agree::Assent { hash, .. } => {
                self.count("assent");
                let view = &mut self.views[account];
                view.assented.insert(*hash);
                let latest = view.device_locks.values().any(|h| h == hash);
                let refused = view.refused.contains(hash);
                if !latest {
                    self.violated(account, format!("device assented to {hash} without a lock"));
                }
                if refused {
                    self.violated(
                        account,
                        format!("device assented to {hash}, which it denied"),
                    );
                }
            }
            Agree::Endorse { block, .. } => {
                self.count("endorse");
                let (height, hash) = (block.claims().height, block.hash());
                let view = &self.views[account];
                let locked = view.broker_locks.get(&height) == Some(&hash);
                let replaced = view.restricts.contains_key(&height);
                let unwanted = view.freeze_above[1].is_some();
                if unwanted && self.sound(Role::Broker) {
                    let what = format!("broker endorsed {hash} while a freeze is wanted");
                    self.violations.push(format!("account {account}: {what}"));
                }
                if !locked {
                    self.violated(account, format!("broker endorsed {hash} without a lock"));
                }
                if replaced && self.sound(Role::Broker) {
                    self.violated(
                        account,
                        format!("broker endorsed {hash} after its restrict block"),
                    );
                }
            }
            Agree::Restrict { block, .. } => {
                let height = block.claims().height;
                let locked = self.views[account].restricts.get(&height);
                if locked.is_none_or(|b| b.hash() != block.hash()) {
                    self.violated(
                        account,
                        "broker sent a restrict block before it was durable".into(),
                    );
                }
            }
            Agree::Blocks { sealed } => self.gave(account, role, to, sealed),
            _ => {}
        }
    }

    /// Durable before visible, and rule 8: nobody but the broker sees what it did not acknowledge.
    fn gave(&mut self, account: usize, role: Role, to: Role, sealed: &[Sealed]) {
        for block in sealed {
            let height = block.block.claims().height as usize;
            let hash = block.block.hash();
            let view = &self.views[account];
            let own = view.chains[at(role)].get(height);
            let broker_has = view.chains[1].len() > height;
            if own.is_none_or(|s| s.block.hash() != hash) {
                self.violated(
                    account,
                    format!("the {role} gave block {height} before it was durable"),
                );
            }
            if (role, to) == (Role::TrustOperator, Role::Device)
                && self.sound(Role::Broker)
                && !broker_has
            {
                let what = format!("the device got block {height} before the broker had it");
                self.violated(account, what);
            }
        }
    }

    /// A party took a message in completely: it did not crash while it answered.
    pub fn took(&mut self, account: usize, role: Role, agree: &Agree) {
        let Agree::Word { word, proposal } = agree else {
            return;
        };
        let Some((parties, _)) = self.views[account].parties else {
            return;
        };
        let Some(genesis) = self.views[account].chains[at(role)].first() else {
            return;
        };
        let statement = Statement {
            verb: word.verb,
            role: Role::Device,
            sub: genesis.block.claims().sub,
            hash: word.hash,
        };
        if role == Role::Device || word.vote.verify(&statement, &parties.device).is_err() {
            return;
        }
        self.count("word");
        let named = proposal.as_ref().is_none_or(|p| p.hash() == word.hash);
        let view = &mut self.views[account];
        if named
            && let Some(above) = view.freeze_asked(role, word.verb, word.hash, proposal.as_ref())
        {
            let slot = &mut view.freeze_above[at(role)];
            *slot = Some(slot.map_or(above, |a| a.max(above)));
        }
        if named && proposal.is_some() && word.verb != Verb::Freeze {
            view.denied[at(role)].insert(word.hash);
        }
    }

    /// A party told something at this time of its own clock.
    pub fn told(&mut self, account: usize, role: Role, event: &Event, now: Time) {
        match event {
            Event::Fault(fault) if self.honest(role) => {
                self.count("fault");
                let guilty = self.hostile == Some(fault.culprit);
                if !guilty {
                    let what = format!("the {role} blames the honest: {fault}");
                    self.violated(account, what);
                }
            }
            Event::Sealed(sealed) if self.honest(role) => {
                let stored = self.views[account].chains[at(role)].last();
                if stored.is_none_or(|s| s.block.hash() != sealed.block.hash()) {
                    self.violated(
                        account,
                        format!("the {role} told a block before it was durable"),
                    );
                }
            }
            Event::Began { login, number, .. } => {
                if let Some(login) = self.views[account].logins.get_mut(login) {
                    login.number = Some(*number);
                }
            }
            Event::NotBegun { login, .. } => {
                self.views[account].logins.remove(login);
            }
            Event::Dead => self.views[account].dead[at(role)] = true,
            Event::Ended { login, outcome } if self.honest(role) => {
                self.ended(account, *login, outcome, now);
            }
            _ => {}
        }
    }

    /// A party was set back to a copy that holds these blocks only.
    pub fn set_back(&mut self, account: usize, role: Role, blocks: usize) {
        self.restored = Some(role);
        let view = &mut self.views[account];
        view.chains[at(role)].truncate(blocks);
        view.freeze_above[at(role)] = None;
        view.denied[at(role)].clear();
        if role == Role::TrustOperator {
            // A block that only the lost copy held was never seen by anyone.
            let known = view.chains[0].len().max(view.chains[1].len()) as u64;
            view.sealed.retain(|height, _| *height < known);
        }
    }

    /// A failure that another part of the scenario found.
    pub fn failed(&mut self, account: usize, what: String) {
        self.violated(account, what);
    }
}
