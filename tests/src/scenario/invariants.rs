//! What must hold, judged from outside: stored records, told events, messages. Nothing here asks a
//! machine whether it is right; signatures are verified against keys that the founding fixed.

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

    fn honest(&self, role: Role) -> bool {
        self.hostile != Some(role)
    }

    fn sound(&self, role: Role) -> bool {
        self.honest(role) && self.restored != Some(role)
    }

    fn violated(&mut self, account: usize, what: String) {
        self.violations.push(format!("account {account}: {what}"));
    }

    fn count(&mut self, what: &'static str) {
        *self.judged.entry(what).or_default() += 1;
    }

    /// A record became durable.
    pub fn stored(&mut self, account: usize, role: Role, record: &Record) {
        match record {
            Record::Founding(f) => {
                self.views[account].parties = Some((f.parties, f.account_key));
            }
            Record::Sealed(sealed) => self.stored_sealed(account, role, sealed),
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

    fn stored_sealed(&mut self, account: usize, role: Role, sealed: &Sealed) {
        self.count("sealed block");
        let claims = sealed.block.claims();
        let (height, kind, hash) = (claims.height, claims.kind, sealed.block.hash());
        let (frozen, revoked) = self.views[account].status(role);
        self.views[account].chains[at(role)].push(sealed.clone());
        if !self.honest(role) {
            return;
        }
        let length = self.views[account].chains[at(role)].len() as u64;
        if height + 1 != length {
            let what = format!("the {role} stored height {height} as block number {length}");
            self.violated(account, what);
        }
        self.witness(account, &sealed.block);
        let admit = kind.class() == Class::Admit && kind != Kind::Genesis;
        if admit && (revoked || frozen != (kind == Kind::Unfreeze)) {
            let what = format!(
                "the {role} took `{kind}` into an account frozen={frozen} revoked={revoked}"
            );
            self.violated(account, what);
        }
        if kind.class() == Class::Admit {
            self.check_signed_by_all(account, sealed, "stored block");
        }
        let slot = at(role);
        let pending = self.views[account].freeze_above[slot];
        if role == Role::TrustOperator && self.sound(role) {
            if admit && let Some(above) = pending {
                let what = format!(
                    "`{kind}` {hash} was sealed at {height} after a freeze above {above} was received"
                );
                self.violated(account, what);
            }
            if admit && self.views[account].denied[slot].contains(&hash) {
                self.violated(account, format!("denied block {hash} was sealed"));
            }
        }
        if (kind == Kind::Freeze && pending.is_some_and(|above| height > above))
            || kind == Kind::Revoke
        {
            self.views[account].freeze_above[slot] = None;
        }
        // Rule 3: the trust operator's chain is never behind the broker's.
        if role == Role::Broker && self.sound(Role::TrustOperator) {
            let theirs = self.views[account].chains[2].get(height as usize);
            if theirs.is_none_or(|s| s.block.hash() != hash) {
                let what = format!("broker holds block {height}, the trust operator does not");
                self.violated(account, what);
            }
        }
    }

    /// A sealed block reached an honest party.
    fn witness(&mut self, account: usize, block: &Block) {
        let height = block.claims().height;
        let rivals = self.views[account].sealed.entry(height).or_default();
        if rivals.iter().all(|b| b.hash() != block.hash()) {
            rivals.push(block.clone());
        }
        if rivals.len() < 2 {
            return;
        }
        let rivals = rivals.clone();
        if self.sound(Role::TrustOperator) {
            self.violated(account, format!("two sealed blocks at height {height}"));
            return;
        }
        // Without an honest trust operator: at most an admit and the restrict that supersedes it.
        let pair = rivals.len() == 2
            && rivals.iter().any(|r| {
                r.claims().supersedes.is_some_and(|named| {
                    rivals
                        .iter()
                        .any(|a| a.hash() == named && a.claims().kind.class() == Class::Admit)
                })
            });
        if !pair {
            let what = format!("rival sealed blocks at height {height} that one cheat cannot make");
            self.violated(account, what);
        }
    }

    /// The group signature and the three votes, checked here against the founding's keys, and the
    /// durable traces of each honest party.
    fn check_signed_by_all(&mut self, account: usize, sealed: &Sealed, what: &str) {
        let Some((parties, account_key)) = self.views[account].parties else {
            self.violated(account, format!("{what} of an account that nobody founded"));
            return;
        };
        let hash = sealed.block.hash();
        let message = sealed.block.input().as_bytes();
        let proven = matches!(&sealed.proof, Proof::Account(s) if verify_strict(&account_key, message, s).is_ok());
        if !proven {
            self.violated(
                account,
                format!("{what} {hash} is not signed by the account key"),
            );
        }
        let (Votes::Admit {
            assent,
            endorse,
            seal,
        }
        | Votes::Genesis {
            assent,
            endorse,
            seal,
            ..
        }) = &sealed.votes
        else {
            self.violated(account, format!("{what} {hash} lacks the three votes"));
            return;
        };
        let votes: [(&Vote, Verb, Role); 3] = [
            (assent, Verb::Assent, Role::Device),
            (endorse, Verb::Endorse, Role::Broker),
            (seal, Verb::Seal, Role::TrustOperator),
        ];
        for (vote, verb, role) in votes {
            let statement = Statement {
                verb,
                role,
                sub: sealed.block.claims().sub,
                hash,
            };
            if vote.verify(&statement, parties.key(role)).is_err() {
                self.violated(account, format!("{what} {hash} lacks the {role}'s vote"));
            }
        }
        for role in [Role::Device, Role::Broker] {
            if self.honest(role) && !self.views[account].ever_locked[at(role)].contains(&hash) {
                self.violated(
                    account,
                    format!("{what} {hash} was never locked by the {role}"),
                );
            }
        }
        let view = &self.views[account];
        let kind = sealed.block.claims().kind;
        if self.honest(Role::Device) && kind != Kind::Genesis && !view.approved.contains_key(&hash)
        {
            self.violated(
                account,
                format!("{what} {hash} was never approved by the customer"),
            );
        }
    }

    /// The customer typed this number for this proposal.
    pub fn approved(&mut self, account: usize, hash: Hash, number: u8) {
        self.views[account].approved.insert(hash, number);
    }

    /// A party sent a message.
    pub fn sent(&mut self, account: usize, role: Role, to: Role, agree: &Agree) {
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

    fn ended(&mut self, account: usize, id: LoginId, outcome: &Outcome, now: Time) {
        let before = match self.views[account].logins.get_mut(&id) {
            Some(login) => {
                let before = login.ended.clone();
                login.ended.get_or_insert_with(|| outcome.clone());
                before
            }
            None => None,
        };
        if before.is_some() && !self.broker_crashed {
            self.violated(
                account,
                format!("login {id:?} ended twice: {before:?}, then {outcome:?}"),
            );
        }
        if let Outcome::Admitted(sealed) = outcome {
            self.told_admitted(account, id, sealed, now);
        }
    }

    fn told_admitted(&mut self, account: usize, id: LoginId, sealed: &Sealed, now: Time) {
        self.count("admitted");
        let claims = sealed.block.claims().clone();
        let hash = sealed.block.hash();
        self.check_signed_by_all(account, sealed, "admitted block");
        let view = &self.views[account];
        let mut wrong = vec![];
        let stored = |role: Role| {
            let place = view.chains[at(role)].get(claims.height as usize);
            place.is_some_and(|s| s.block.hash() == hash)
        };
        if !stored(Role::Broker) {
            wrong.push("is not durable at the broker");
        }
        if self.honest(Role::TrustOperator) && !stored(Role::TrustOperator) {
            wrong.push("is not durable at the trust operator");
        }
        if now >= Time::from_seconds(claims.exp) {
            wrong.push("was told after its exp");
        }
        if view
            .restricts
            .get(&claims.height)
            .is_some_and(|r| r.claims().supersedes == Some(hash))
        {
            wrong.push("was told after the broker signed a superseding restrict block");
        }
        if view.freeze_above[1].is_some() {
            wrong.push("was told while the broker holds a wish to freeze");
        }
        if view.admitted.contains(&hash) {
            wrong.push("was told twice");
        }
        match view.logins.get(&id) {
            // A genesis has no login service.
            None if claims.kind == Kind::Genesis => {}
            None => wrong.push("belongs to no login that was begun"),
            Some(login) => {
                let b = &login.begin;
                if (&b.aud, &b.nonce, b.kind) != (&claims.aud, &claims.nonce, claims.kind) {
                    wrong.push("is not the act that was begun");
                }
                let typed = view.approved.get(&hash);
                if self.honest(Role::Device) && typed.is_none_or(|n| Some(*n) != login.number) {
                    wrong.push("was admitted without the page's number");
                }
            }
        }
        for what in wrong {
            self.violated(account, format!("admitted block {hash} {what}"));
        }
        self.views[account].admitted.push(hash);
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

    /// At rest: chains verify, are prefixes of one another, and hold all that was told.
    pub fn at_rest(&mut self) {
        for account in 0..self.views.len() {
            let honest: Vec<Role> = Role::ALL.into_iter().filter(|r| self.honest(*r)).collect();
            for role in &honest {
                let chain = self.views[account].chains[at(*role)].clone();
                if chain.is_empty() {
                    continue;
                }
                let verified =
                    warifu_consensus::chain::verify_chain(&operators().ledger, chain.iter());
                if let Err(error) = verified {
                    self.violated(
                        account,
                        format!("the {role}'s chain does not verify: {error}"),
                    );
                }
            }
            self.prefixes(account, &honest);
            for hash in self.views[account].admitted.clone() {
                for role in [Role::Broker, Role::TrustOperator] {
                    if !self.honest(role) {
                        continue;
                    }
                    let chain = &self.views[account].chains[at(role)];
                    let times = chain.iter().filter(|s| s.block.hash() == hash).count();
                    if times != 1 {
                        let what =
                            format!("admitted block {hash} is {times} times in the {role}'s chain");
                        self.violated(account, what);
                    }
                }
            }
        }
    }

    fn prefixes(&mut self, account: usize, honest: &[Role]) {
        let forgiven = self.hostile == Some(Role::TrustOperator);
        for pair in honest.windows(2) {
            let (one, two) = (at(pair[0]), at(pair[1]));
            let view = &self.views[account];
            let apart = view.chains[one]
                .iter()
                .zip(&view.chains[two])
                .position(|(a, b)| a.block.hash() != b.block.hash());
            // A cheating trust operator may show the two halves of a superseded pair, see `witness`.
            if let Some(height) = apart.filter(|_| !forgiven) {
                let what = format!(
                    "chains of the {} and the {} part at {height}",
                    pair[0], pair[1]
                );
                self.violated(account, what);
            }
        }
    }

    /// A failure that another part of the scenario found.
    pub fn failed(&mut self, account: usize, what: String) {
        self.violated(account, what);
    }
}
